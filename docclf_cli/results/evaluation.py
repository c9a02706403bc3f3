"""What `evaluate` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docclf_cli.results.metrics import Difference, Estimate, Scores, SideScores, Threshold
from docclf_cli.results.unknown import CostReport, UnknownReport


@dataclass(frozen=True)
class Comparison:
    """The paired comparison of a model with another one on the same pages.

    Attributes:
        other: What it is compared with.
        pages: How many pages both are compared on.
        left_out: Pages of the split that the other did not hold out.
        monitor: The metric that decides.
        differences: One for each metric, the deciding metric first.
        sentences: The same in words.
        mcnemar: p-value of McNemar's exact test, which is about accuracy; with groups, of its exact randomisation by group.
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
class ThresholdReport:
    """A confidence threshold, the pages that chose it, and its effect on the evaluated split.

    Attributes:
        held_out: The threshold on the held-out pages that were used to choose it.
        includes_degraded: Whether these include a degraded copy of each page.
        on_split: The same threshold on the evaluated split; None without a threshold.
        chosen_on_split: Whether the evaluated split chose the threshold, so that its precision is optimistic.
        needs_review: Number of pages of the split that need review.
        review_queue: CSV that lists them, least confident first.
        condition: When the precision holds.
        expect_unknown: Share of pages of no known class that it holds among; None is none.
    """

    held_out: Threshold
    includes_degraded: bool
    on_split: Threshold | None
    chosen_on_split: bool
    needs_review: int
    review_queue: Path
    condition: str = ""
    expect_unknown: float | None = None


@dataclass(frozen=True)
class CorruptionRow:
    """Metrics under one corruption at one severity.

    Attributes:
        kind: Name of the corruption; `all` is a mixture of corruptions as in production.
        severity: Its severity in words. The mixture has an empty one, and `mirrored` and `not mirrored` for its two parts.
        pages: How many pages were scored.
        accuracy: On the corrupted pages.
        f1_macro: On the corrupted pages.
        difference: Macro-F1 on corrupted pages minus macro-F1 on clean pages.
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
    """Metrics by corruption and severity.

    Attributes:
        pages: Number of corrupted pages.
        total_pages: Number of scored pages of the split.
        rows: One per corruption and severity.
        version: Version of the corruptions; metrics can be compared between runs with the same version.
    """

    pages: int
    total_pages: int
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
        comparison: With another model, if requested.
        confidence_threshold: The threshold for a precision, if requested.
        corruptions: Metrics on corrupted pages, if requested.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        files: What was written.
        notes: Caveats about the metrics.
        precision: Number format of the predictions (fp32, bf16 or fp16).
        documents: The same metrics of documents, where files have several pages: of each the pooled log-probabilities of
            its pages; `support` and `unreadable` count documents.
        unknown: How well pages of no known class are recognised.
        costs: What decisions by expected cost pay, if prices were given.
        sides: Image, text and both side by side, for a model that looks and reads.
        max_unreadable: Share of the pages that may be unreadable; above it the exit code of test pages is 3.
    """

    checkpoint: Path
    split: str
    scores: Scores
    temperature: float
    uncalibrated_ece: Estimate
    comparison: Comparison | None = None
    confidence_threshold: ThresholdReport | None = None
    corruptions: CorruptionReport | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    precision: str = "fp32"
    documents: Scores | None = None
    unknown: UnknownReport | None = None
    costs: CostReport | None = None
    sides: tuple[SideScores, ...] = ()
    max_unreadable: float = 0.01
