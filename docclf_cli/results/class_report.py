"""What `class-report` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docclf_cli.results.metrics import ClassGap, ClassRow, ConfusedPair, Scores


@dataclass(frozen=True)
class ClassReport:
    """A split class by class.

    Attributes:
        source: The run folder, or the file of predictions.
        split: Which pages.
        scores: Metrics with intervals; probabilities are taken at `temperature`, of validation pages cross-fitted.
        confused: The pairs of classes behind most mistakes, most pages first.
        gaps: Accuracy on training minus validation pages of each class; empty where one of the two is not stored.
        temperature: What divides the logits of these pages.
        files: What was written.
        notes: What else must be known to read the metrics.
        precision: Number format that the predictions were made in.
    """

    source: Path
    split: str
    scores: Scores
    confused: tuple[ConfusedPair, ...]
    gaps: tuple[ClassGap, ...]
    temperature: float
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    precision: str = "fp32"


@dataclass(frozen=True)
class OneClass:
    """One class of a split.

    Attributes:
        source: The run folder, or the file of predictions.
        split: Which pages.
        index: Place of the class along the class axis.
        row: Its metrics.
        gap: Accuracy on training minus validation pages, where both are stored.
        taken_for: What its pages were wrongly taken for.
        taken_from: Classes whose pages were wrongly taken for it.
    """

    source: Path
    split: str
    index: int
    row: ClassRow
    gap: ClassGap | None
    taken_for: tuple[ConfusedPair, ...]
    taken_from: tuple[ConfusedPair, ...]
