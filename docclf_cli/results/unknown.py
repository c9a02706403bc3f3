"""What is known about telling pages of no known class, and about the price of decisions."""

from __future__ import annotations

from dataclasses import dataclass

from docclf_cli.results.metrics import Estimate


@dataclass(frozen=True)
class LeftOutClass:
    """A class that was left out, so that its held-out pages stand for unknown ones.

    Attributes:
        name: The class.
        trials: Number of its held-out pages; pages of a group, and the degraded copy of a page, count once.
        caught: The share that is called unknown.
    """

    name: str
    trials: int
    caught: Estimate


@dataclass(frozen=True)
class ForeignReport:
    """Pages of the user's that belong to no class, against the held-out pages as they are.

    Attributes:
        source: What was named.
        pages: How many pages were scored.
        unreadable: How many could not be read.
        known_pages: Number of held-out pages.
        auroc: How often a foreign page looks more foreign than a held-out one.
        auroc_confidence: The same if confidence alone told them apart.
        caught: Share of the foreign pages that is called unknown.
        confident_before: Share of the foreign pages with a confidence of .95 or more.
        confident: The same without those that are called unknown.
        known_lost: Share of the held-out pages that is called unknown.
        known_confident_before: Share of the held-out pages with a confidence of .95 or more.
        known_confident: The same without those that are called unknown.
    """

    source: str
    pages: int
    unreadable: int
    known_pages: int
    auroc: float
    auroc_confidence: float
    caught: Estimate
    confident_before: Estimate
    confident: Estimate
    known_lost: Estimate
    known_confident_before: Estimate
    known_confident: Estimate


@dataclass(frozen=True)
class UnknownReport:
    """How well a model tells pages of no known class.

    Attributes:
        max_lost: Share of pages of known classes that may be called unknown.
        probability: A page is called unknown above this probability (if a tenth of all pages is); None where none is.
        lost: Share of the held-out pages that is called unknown, as they are and degraded.
        lost_degraded: The same of the degraded copies alone; None where there are none.
        auroc: How often a page whose class is left out looks more foreign than a page of a known class.
        classes: One row per class.
        foreign: Foreign pages, if some were named.
        notes: What must be known to judge these shares.
    """

    max_lost: float
    probability: float | None
    lost: Estimate | None
    auroc: float | None
    classes: tuple[LeftOutClass, ...]
    lost_degraded: Estimate | None = None
    foreign: ForeignReport | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CostReport:
    """What decisions by expected cost pay for 1,000 pages, in the unit of the table.

    Attributes:
        pages: Number of pages.
        decided: How many are decided; the others are reviewed.
        paid: Cost of 1,000 pages.
        expected: What the model's own probabilities expect it to be.
        all_reviewed: Cost of 1,000 pages if a person looks at each.
        saved: Cost of 1,000 pages if a person looks at each, minus `paid`, page by page.
        condition: When these prices hold.
    """

    pages: int
    decided: int
    paid: Estimate
    expected: float
    all_reviewed: Estimate
    saved: Estimate
    condition: str
