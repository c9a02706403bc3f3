"""What `train` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docclf_cli.results.metrics import Difference, Scores, SideScores


@dataclass(frozen=True)
class FoldRow:
    """One fold of a cross-validation.

    Attributes:
        fold: Counted from 0.
        best_epoch: The epoch with the best monitored metric.
        metrics: Its row of `metrics.csv`, on the held-out pages.
    """

    fold: int
    best_epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict on a run.

    Attributes:
        kind: `chance`, `too_few_pages`, `unsuited_recipe`, `never_predicted`, `under_fitted`, `over_fitted`, `still_learning` or `sound`.
        text: What was found.
        advice: What to do about it; empty where nothing is to be done.
    """

    kind: str
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Learned:
    """What added labels changed, against an earlier run, on pages that neither was trained on.

    Attributes:
        previous: The earlier run; None where there is none to compare with.
        added_pages: New pages that this run was trained on.
        corrected_labels: Pages of the data whose label was changed.
        held_out_pages: Added pages that are never trained on.
        new_classes: Classes that the data did not have.
        on_old_pages: Difference of macro-F1 on the held-out pages of the data; None without a comparison.
        on_new_pages: The same on the added held-out pages; None where they are too few.
        worse_classes: Classes that are significantly less often recognised on the held-out pages of the data.
        sentences: All of this in words.
    """

    previous: Path | None
    added_pages: int
    corrected_labels: int
    held_out_pages: int
    new_classes: tuple[str, ...]
    on_old_pages: Difference | None
    on_new_pages: Difference | None
    worse_classes: tuple[str, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class TextUse:
    """How a model uses the text of pages.

    Attributes:
        source: Where text comes from: `layer` (of a PDF), or `ocr` (also OCR of pages without a layer).
        alone: Whether text is all that the model looks at.
        documents: Held-out documents with text that the gain was measured on.
        gain: By how much the log loss of these documents is lower with text than by the image alone.
        gain_low: Its one-sided 95 % lower bound; above 0 the text is shown to help.
        fitted: Whether the weights of image and text were fitted, to fifty held-out documents or more; otherwise both count alike.
    """

    source: str
    alone: bool
    documents: int = 0
    gain: float = 0.0
    gain_low: float = 0.0
    fitted: bool = False


@dataclass(frozen=True)
class TrainResult:
    """The result of a training run.

    Attributes:
        run: The run folder.
        model: Architecture.
        best_epoch: The epoch with the best monitored metric (0 for folds).
        epochs: Epochs trained.
        monitor: The metric that chose the best epoch.
        val: Scores on held-out pages (of folds: pooled, out-of-fold).
        train: Scores on training pages without augmentation; None for folds.
        f1_macro_degraded: Macro-F1 of the best epoch on the degraded validation pages; None if it was not measured.
        temperature: Fitted on the held-out pages; of folds that of their mean, which new pages get.
        folds: One row per fold.
        files: What was written, most useful first.
        pushed: `s3://` address of the manifest, where the run was pushed to a bucket.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        notes: Caveats about the metrics.
        precision: Number format that the checkpoint predicts with (folds: all that occur).
        verdict: What the metrics say about the run, the gravest first.
        next_commands: Commands that go on from here: report, evaluate, predict.
        documents: Scores of held-out documents, where files have several pages (pooled log-probabilities of their pages).
        learned: What added labels changed; None without `data.add`.
        text: How the model uses the text of pages (of folds the first that does); None where it does not.
        sides: Image, text and both side by side on the held-out pages, for a model that looks and reads.
    """

    run: Path
    model: str
    best_epoch: int
    epochs: int
    monitor: str
    val: Scores
    train: Scores | None = None
    f1_macro_degraded: float | None = None
    temperature: float = 1.0
    folds: tuple[FoldRow, ...] = ()
    files: tuple[Path, ...] = ()
    pushed: str | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    precision: str = "fp32"
    verdict: tuple[Finding, ...] = ()
    next_commands: tuple[str, ...] = ()
    documents: Scores | None = None
    learned: Learned | None = None
    text: TextUse | None = None
    sides: tuple[SideScores, ...] = ()


@dataclass(frozen=True)
class TrainingPlan:
    """What a training run is going to do, before it does it.

    Attributes:
        run: The run folder; of a run without a name it holds the time of its start.
        profile: The fixed profile that it starts from.
        reason: Why that one, where docclf picked it.
        model: Architecture.
        weights: Where its first weights come from; empty where it learns from scratch.
        data: The data root.
        pages: Pages to train and validate on.
        train_pages: Training pages of a fit (of folds, the first).
        val_pages: Its held-out pages.
        split: How these were chosen.
        classes: How many classes there are.
        image_size: Side of the model input.
        epochs: Passes over the training pages.
        fits: How many models are trained.
        device: What computes.
        minutes: How long it takes: the minutes that were given, or a guess.
        fitted: What the given minutes came to, with the measured speed; empty where none were given.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
    """

    run: Path
    profile: str
    reason: str
    model: str
    weights: str
    data: str
    pages: int
    train_pages: int
    val_pages: int
    split: str
    classes: int
    image_size: int
    epochs: int
    fits: int
    device: str
    minutes: float
    left_out: Mapping[str, int] = field(default_factory=dict)
    fitted: str = ""


@dataclass(frozen=True)
class FinishedRun:
    """Printed by `train --resume` for a run that is already finished.

    Attributes:
        run: The run folder.
        time: When it finished (UTC, ISO 8601).
        best_epoch: The epoch with the best monitored metric; 0 for folds.
        f1_macro: Macro-F1 on held-out pages.
    """

    run: Path
    time: str
    best_epoch: int | None
    f1_macro: float | None


@dataclass(frozen=True)
class SchedulePreview:
    """The learning rate of a run before it starts.

    Attributes:
        scheduler: Its name.
        unit: What it is stepped by.
        steps_per_epoch: Optimizer steps of an epoch.
        epochs: Position of each rate, in epochs.
        rates: Learning rates of the last layer group.
        plot: The picture.
    """

    scheduler: str
    unit: str
    steps_per_epoch: int
    epochs: tuple[float, ...]
    rates: tuple[float, ...]
    plot: Path


@dataclass(frozen=True)
class RunRow:
    """One run of the list.

    Attributes:
        name: Name of its folder.
        data: Data root it was trained on; empty where the run does not say.
        model: Architecture, or how an ensemble combines its members.
        f1_macro: Macro-F1 on held-out pages, or None.
        f1_macro_low: Lower bound of its 95 % interval; None for runs that did not store it.
        f1_macro_high: Upper bound.
        degraded: Macro-F1 on the degraded held-out pages, where it was measured.
        minutes: Wall time of its epochs, or None.
        time: When its state was last written (UTC, ISO 8601).
        state: `running`, `stopped`, `failed`, `finished`, or `killed` where nobody writes a running run.
        no_better_than_chance: Whether shuffled labels would do as well; commands do not pick such a run by themselves.
    """

    name: str
    data: str
    model: str
    f1_macro: float | None
    f1_macro_low: float | None
    f1_macro_high: float | None
    degraded: float | None
    minutes: float | None
    time: str
    state: str
    no_better_than_chance: bool


@dataclass(frozen=True)
class RunList:
    """The runs below a folder.

    Attributes:
        folder: The folder.
        runs: One row a run.
    """

    folder: Path
    runs: tuple[RunRow, ...]
