"""What commands and the engine return: frozen values that metrics, reports and files are made from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docclf_cli.errors import InputError
from docclf_cli.files import save_with

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

READABLE = ""  # the status of a page that was read


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says about pages; the only thing metrics, plots and ensembling accept.

    Attributes:
        ids: Page IDs, text of shape [n], in the order of the input, each once.
        log_probs: float32 [n, num_classes]: natural logarithms of uncalibrated probabilities; a row of NaN
            belongs to a page that could not be read.
        class_names: Names along the class axis.
        targets: int64 [n] class indices, -1 where a label is unknown; None for unlabelled pages.
        groups: Text [n]: pages that belong together (bootstrap draws them together), or None.
        status: Text [n]: empty for a page that was read, otherwise the reason why not.
        fingerprint: What made them: checkpoint, data, preprocess, view, precision.
    """

    ids: np.ndarray
    log_probs: np.ndarray
    class_names: tuple[str, ...]
    targets: np.ndarray | None = None
    groups: np.ndarray | None = None
    status: np.ndarray | None = None
    fingerprint: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.ids)
        if self.log_probs.shape != (rows, len(self.class_names)):
            raise ValueError(f"log_probs has shape {self.log_probs.shape}, not {(rows, len(self.class_names))}")
        for name in ("targets", "groups", "status"):
            column = getattr(self, name)
            if column is not None and column.shape != (rows,):
                raise ValueError(f"{name} has shape {column.shape}, not {(rows,)}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> np.ndarray:
        """The targets of labelled pages.

        Raises:
            InputError: The pages have none.
        """
        if self.targets is None:
            raise InputError("these pages have no labels", "`docclf predict` needs none")
        return self.targets

    @property
    def num_classes(self) -> int:
        """Length of the class axis."""
        return len(self.class_names)

    def probs(self, temperature: float = 1.0) -> np.ndarray:
        """Probabilities, float64 [n, num_classes], after dividing the logits by `temperature`."""
        from scipy.special import softmax

        return softmax(self.log_probs.astype("float64") / temperature, axis=1)

    def predicted(self) -> np.ndarray:
        """The most probable class of each page, int64 [n] (-1 where a page could not be read)."""
        import numpy as np

        readable = ~np.isnan(self.log_probs).any(axis=1)
        return np.where(readable, np.where(readable[:, None], self.log_probs, 0.0).argmax(axis=1), -1)

    def take(self, rows: np.ndarray | Sequence[int]) -> Predictions:
        """The given rows (indices or a boolean mask), in that order."""
        import numpy as np

        index = np.asarray(rows)
        pick: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else column[index]
            for name in ("ids", "log_probs", "targets", "groups", "status")
        }
        return replace(self, **pick)

    def scored(self) -> Predictions:
        """The rows that can be scored: read, and with a known label.

        Raises:
            InputError: There is none.
        """
        import numpy as np

        rows = (self.labels >= 0) & ~np.isnan(self.log_probs).any(axis=1)
        if not rows.any():
            raise InputError("no page is both readable and labelled")
        return self.take(rows)

    def save(self, path: Path) -> None:
        """Write an `.npz` that holds no pickled object, whole or not at all."""
        import numpy as np

        arrays: dict[str, np.ndarray] = {
            "ids": self.ids.astype(np.str_),
            "log_probs": self.log_probs.astype(np.float32),
            "class_names": np.asarray(self.class_names, dtype=np.str_),
            "fingerprint": np.asarray(json.dumps(dict(self.fingerprint), sort_keys=True)),
        }
        for name in ("targets", "groups", "status"):
            if (column := getattr(self, name)) is not None:
                arrays[name] = column
        save_with(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what `save` wrote.

        Raises:
            InputError: The file is missing, damaged or not of this kind.
        """
        import zipfile
        import zlib

        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as archive:
                columns: dict[str, Any] = {name: archive[name] for name in archive.files}
            columns["class_names"] = tuple(str(name) for name in columns["class_names"])
            columns["fingerprint"] = json.loads(str(columns["fingerprint"]))
            return cls(**columns)
        except FileNotFoundError as error:
            raise InputError(f"{path}: there is no such file of predictions") from error
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path}: damaged, or not predictions of docclf", "delete it; it is made again") from error


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class ClassRow:
    """One class of a class-wise report; `accuracy` is recall, as in the seed framework."""

    name: str
    support: int
    accuracy: Estimate
    precision: Estimate
    f1: Estimate
    loss: float


@dataclass(frozen=True)
class Scores:
    """The figures of one set of predictions.

    Attributes:
        figures: By name `accuracy`, `balanced_accuracy`, `f1_macro`, `f1_weighted`, `log_loss`, `top3_accuracy`, `ece`.
        classes: One row per class, in the order of the class axis.
        support: How many pages were scored.
        unreadable: How many pages were left out because they could not be read.
    """

    figures: Mapping[str, Estimate]
    classes: tuple[ClassRow, ...]
    support: int
    unreadable: int = 0


@dataclass(frozen=True)
class Difference:
    """A paired difference `a - b` of one figure on the same pages, with its 95 % interval.

    `p_value` is McNemar's exact test and belongs to accuracy alone.
    """

    figure: str
    value: float
    low: float
    high: float
    pages: int
    p_value: float | None = None


@dataclass(frozen=True)
class ReliabilityBin:
    """Pages of about equal confidence: how many, their mean confidence, and the share that is right."""

    pages: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True)
class Threshold:
    """A confidence from which on predictions are trusted, and what that means on some pages.

    Attributes:
        target: The precision asked for.
        value: Decided are pages of at least this confidence; None where no threshold is known to be good enough.
        coverage: Share of the pages that is decided.
        precision: Share of the decided pages that is right; NaN where none is decided.
        pages: How many pages these figures are about.
        decided: How many of them are decided.
        never: Classes with pages or predictions of which none is decided: no page is predicted as one of them with
            enough confidence.
        more_pages: About how many further held-out pages would make a threshold known, where `value` is None;
            None there too if on these pages no threshold is precise enough, however many there were.
    """

    target: float
    value: float | None
    coverage: Estimate
    precision: Estimate
    pages: int
    decided: int
    never: tuple[str, ...] = ()
    more_pages: int | None = None


@dataclass(frozen=True)
class ConfusedPair:
    """Pages of one class taken for another: how many, their share of the true class, the most confident IDs."""

    target: str
    predicted: str
    pages: int
    share: float
    examples: tuple[str, ...]


@dataclass(frozen=True)
class ClassGap:
    """Training minus held-out pages of one class, with an interval; `overfits` where the interval is above zero."""

    name: str
    figure: str
    gap: Estimate
    overfits: bool


@dataclass(frozen=True)
class FoldRow:
    """One fold of a cross-validation: its best epoch and the figures on its held-out pages."""

    fold: int
    best_epoch: int
    figures: Mapping[str, float]


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
        temperature: Fitted on the held-out pages.
        folds: One row per fold.
        files: What was written, most useful first.
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


@dataclass(frozen=True)
class PushedFile:
    """A file of a pushed model: its path in it, bytes, hexadecimal SHA-256, and whether it had to be sent."""

    path: str
    size: int
    sha256: str
    sent: bool


@dataclass(frozen=True)
class PushResult:
    """What `s3-push` did.

    Attributes:
        name: Name of the stored model, for `s3-pull`.
        manifest: `s3://` address of its manifest.
        files: What belongs to it.
        bytes_sent: Bytes of what was missing.
        seconds: Wall time, reading the files included.
        dry_run: Nothing was sent.
    """

    name: str
    manifest: str
    files: tuple[PushedFile, ...]
    bytes_sent: int
    seconds: float
    dry_run: bool = False


@dataclass(frozen=True)
class PulledFile:
    """A file of a pulled model: where it is, bytes, hexadecimal SHA-256, and whether it had to be fetched."""

    path: Path
    size: int
    sha256: str
    fetched: bool


@dataclass(frozen=True)
class PullResult:
    """What `s3-pull` restored: every file is there, and its SHA-256 is that of the manifest."""

    name: str
    folder: Path
    files: tuple[PulledFile, ...]
    bytes_fetched: int
    seconds: float


@dataclass(frozen=True)
class CheckRow:
    """One line of `env-check`.

    Attributes:
        name: What was looked at.
        status: `ok`, `warning`, `failure` or `skipped`.
        detail: What was found; never the value of a variable.
        fix: What to do, where there is something to do.
    """

    name: str
    status: str
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class EnvReport:
    """What `env-check` found; `status` is the worst of its rows."""

    status: str
    rows: tuple[CheckRow, ...]
    docclf: str
    seconds: float


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
class EvaluateResult:
    """A checkpoint's scores on one split.

    Attributes:
        checkpoint: The file.
        split: Which pages.
        scores: Figures with intervals, probabilities taken at `temperature`.
        temperature: The checkpoint's own.
        files: What was written.
    """

    checkpoint: Path
    split: str
    scores: Scores
    temperature: float
    files: tuple[Path, ...] = ()
