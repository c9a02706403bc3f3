"""What `evaluate` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docclf_cli.results.metrics import Difference, Estimate, Scores, Threshold


@dataclass(frozen=True)
class Comparison:
    """A model against another on the same pages.

    Attributes:
        other: What it is compared with.
        pages: How many pages both are compared on.
        left_out: Pages of the split that the other did not hold out.
        monitor: The metric that decides.
        differences: By metric, the one that decides first.
        sentences: The same in words.
        mcnemar: p-value of McNemar's exact test, which is about accuracy; of groups, that of its exact randomisation.
        by_group: Whether pages were taken group by group, in the test and in the intervals of the differences.
    """

    other: Path
    pages: int
    left_out: int
    monitor: str
    differences: tuple[Difference, ...]
    sentences: tuple[str, ...]
    mcnemar: float
    by_group: bool = False


@dataclass(frozen=True)
class Trust:
    """A confidence threshold: what it was found on, and what it does on the split asked for.

    Attributes:
        found: The threshold on the held-out pages that chose it.
        degraded: Whether these are the clean and the degraded copy of each page.
        checked: The same threshold on the split asked for; None where no threshold is known.
        chosen_here: Whether the split asked for is what chose it, so that the check is too good.
        for_a_person: Pages of the split that go to a person.
        queue: CSV that lists them, least certain first.
    """

    found: Threshold
    degraded: bool
    checked: Threshold | None
    chosen_here: bool
    for_a_person: int
    queue: Path


@dataclass(frozen=True)
class CorruptionRow:
    """What one kind and strength of damage costs.

    Attributes:
        kind: Name of the damage; `all` is a mixture as pages arrive in practice.
        severity: Its strength in words; empty for the mixture, whose `mirrored` and `not mirrored` pages are told apart.
        pages: How many pages were scored.
        accuracy: On the damaged pages.
        f1_macro: On the damaged pages.
        difference: Macro-F1 on damaged minus that on clean pages.
        recalls: Accuracy of each class (NaN without pages), in the order of the class axis.
    """

    kind: str
    severity: str
    pages: int
    accuracy: Estimate
    f1_macro: Estimate
    difference: Difference
    recalls: tuple[float, ...]


@dataclass(frozen=True)
class CorruptionReport:
    """What damage costs, kind by kind.

    Attributes:
        pages: How many pages were damaged.
        of: How many there are.
        rows: One per kind and strength.
        version: Of the damages; metrics are comparable between runs where it is the same.
    """

    pages: int
    of: int
    rows: tuple[CorruptionRow, ...]
    version: int


@dataclass(frozen=True)
class EvaluateResult:
    """A model's scores on one split.

    Attributes:
        checkpoint: The checkpoint file, or the run folder of a folds run.
        split: Which pages.
        scores: Metrics with intervals; probabilities are taken at `temperature`, of validation pages cross-fitted.
        temperature: Fitted on held-out pages; of folds that of their mean, which new pages get.
        uncalibrated_ece: Calibration error at temperature 1.
        comparison: With another model, where asked for.
        trust: The threshold of a precision, where asked for.
        corruptions: What damage costs, where asked for.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        files: What was written.
        notes: What else must be known to read the metrics.
        precision: Number format that the predictions were made in.
    """

    checkpoint: Path
    split: str
    scores: Scores
    temperature: float
    uncalibrated_ece: Estimate
    comparison: Comparison | None = None
    trust: Trust | None = None
    corruptions: CorruptionReport | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    precision: str = "fp32"
