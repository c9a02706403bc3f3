"""What `train` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docclf_cli.results.figures import Scores


@dataclass(frozen=True)
class FoldRow:
    """One fold of a cross-validation.

    Attributes:
        fold: Counted from 0.
        best_epoch: The epoch that was kept.
        figures: Its row of `metrics.csv`, on the held-out pages.
    """

    fold: int
    best_epoch: int
    figures: Mapping[str, float]


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
class TrainResult:
    """What a training run ends with.

    Attributes:
        run: The run folder.
        model: Architecture.
        best_epoch: The epoch that was kept (of a single fit; 0 for folds).
        epochs: Epochs trained.
        monitor: The figure that chose the epoch.
        val: Scores on held-out pages (of folds: pooled, out-of-fold).
        train: Scores on training pages without augmentation; None for folds.
        degraded: Macro-F1 of the kept epoch on the degraded validation pages, where it was measured.
        temperature: Fitted on the held-out pages; of folds that of their mean, which new pages get.
        folds: One row per fold.
        files: What was written, most useful first.
        pushed: `s3://` address of the manifest, where the run was pushed to a bucket.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        notes: What else must be known to read the figures.
        precision: Number format that the checkpoint is to predict with (of folds: each, where they differ).
        verdict: What the figures say about the run, the gravest first.
        next_commands: Commands that go on from here: report, evaluate, predict.
    """

    run: Path
    model: str
    best_epoch: int
    epochs: int
    monitor: str
    val: Scores
    train: Scores | None = None
    degraded: float | None = None
    temperature: float = 1.0
    folds: tuple[FoldRow, ...] = ()
    files: tuple[Path, ...] = ()
    pushed: str | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    precision: str = "fp32"
    verdict: tuple[Finding, ...] = ()
    next_commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class FinishedRun:
    """A finished run that was asked to go on; for any other it is what `train` prints.

    Attributes:
        run: The run folder.
        time: When it finished (UTC, ISO 8601).
        best_epoch: The epoch that was kept; 0 for folds.
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
