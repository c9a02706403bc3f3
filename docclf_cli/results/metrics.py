"""Metrics with intervals, as the metrics return them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval.

    Attributes:
        value: The metric.
        low: Lower bound.
        high: Upper bound.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassRow:
    """One class of a class-wise report.

    Attributes:
        name: Class name.
        support: Pages of the class.
        accuracy: Recall: the share of its pages that were recognised (called accuracy as in the seed framework).
        precision: Share of the pages taken for this class that belong to it.
        f1: Harmonic mean of the two.
        loss: Mean cross entropy of its pages.
    """

    name: str
    support: int
    accuracy: Estimate
    precision: Estimate
    f1: Estimate
    loss: float


@dataclass(frozen=True)
class Scores:
    """The metrics of one set of predictions.

    Attributes:
        metrics: By name: `accuracy`, `balanced_accuracy`, `f1_macro`, `f1_weighted`, `log_loss`, `top3_accuracy`, `ece`.
        classes: One row per class, in the order of the class axis.
        support: How many pages were scored.
        unreadable: How many pages were left out because they could not be read.
    """

    metrics: Mapping[str, Estimate]
    classes: tuple[ClassRow, ...]
    support: int
    unreadable: int = 0


@dataclass(frozen=True)
class Difference:
    """A paired difference `a - b` of one metric on the same pages, with its 95 % interval.

    Attributes:
        metric: Name of the metric.
        value: By how much it is larger.
        low: Lower bound.
        high: Upper bound.
        pages: How many pages it is about.
        p_value: Of McNemar's exact test, by group where groups are known; accuracy alone has one.
    """

    metric: str
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
        pages: How many pages these metrics are about; a page and its degraded copy are two.
        decided: How many of them are decided.
        never: Classes with pages or predictions of which none is decided: no page is predicted as one of them with
            enough confidence.
        more_pages: About how many further held-out pages (in groups alike, without their degraded copies) would make a threshold known, where `value` is None;
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
    """Pages of one class taken for another.

    Attributes:
        target: The class they belong to.
        predicted: The class they were taken for.
        pages: How many there are.
        share: Their share of the pages of the class they belong to.
        examples: IDs of some, the most confident mistakes first.
    """

    target: str
    predicted: str
    pages: int
    share: float
    examples: tuple[str, ...]


@dataclass(frozen=True)
class ClassGap:
    """How much better a class does on training pages than on held-out pages.

    Attributes:
        name: Class name.
        metric: Which metric is compared.
        gap: Training minus held-out pages.
        overfits: Whether the interval of the gap is above zero.
    """

    name: str
    metric: str
    gap: Estimate
    overfits: bool


@dataclass(frozen=True)
class SideScores:
    """What the image, the text, or both of them say about the pages of a split.

    Attributes:
        side: `image`, `text` or `both`.
        pages: How many pages were scored; for the text only those that have some.
        accuracy: Of these pages.
        f1_macro: Of these pages.
        documents: How many documents were scored, each by all its pages.
        document_accuracy: Of these documents.
        document_f1_macro: Of these documents.
    """

    side: str
    pages: int
    accuracy: Estimate
    f1_macro: Estimate
    documents: int
    document_accuracy: Estimate
    document_f1_macro: Estimate
