"""What `class-report` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docclf_cli.results.metrics import ClassGap, ClassRow, ConfusedPair, Scores, SideScores


@dataclass(frozen=True)
class ClassReport:
    """The metrics of a split by class.

    Attributes:
        source: The run folder, or the file of predictions.
        split: Which pages.
        scores: Metrics with intervals; probabilities are taken at `temperature`, of validation pages cross-fitted.
        confused: The most confused pairs of classes, most pages first.
        gaps: Accuracy on training minus validation pages of each class; empty where one of the two is not stored.
        temperature: Temperature of these predictions; it divides the logits.
        files: What was written.
        notes: Caveats about the metrics.
        precision: Number format of the predictions (fp32, bf16 or fp16).
        sides: Image, text and both side by side, for a model that looks and reads.
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
    sides: tuple[SideScores, ...] = ()


@dataclass(frozen=True)
class OneClass:
    """One class of a split.

    Attributes:
        source: The run folder, or the file of predictions.
        split: Which pages.
        index: Place of the class along the class axis.
        row: Its metrics.
        gap: Accuracy on training minus validation pages, where both are stored.
        false_negatives: Its pages that were predicted as another class, by that class.
        false_positives: Pages of other classes that were predicted as this class, by their class.
    """

    source: Path
    split: str
    index: int
    row: ClassRow
    gap: ClassGap | None
    false_negatives: tuple[ConfusedPair, ...]
    false_positives: tuple[ConfusedPair, ...]
