"""When not to trust a prediction: risk against coverage, and the confidence that reaches a precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from docclf_cli.metrics.calibration import confidences
from docclf_cli.metrics.clusters import dependence_of_share, share_of
from docclf_cli.metrics.confusion import confusion_of, counts_of
from docclf_cli.metrics.intervals import clusters_of, lower_bound
from docclf_cli.results.metrics import Threshold
from docclf_cli.results.predictions import Predictions

_ENOUGH = 1e4  # asking for more than so many times the pages is no advice
_STEPS = 200  # about so many thresholds are tested where pages are in groups; each takes a look at all groups


@dataclass(frozen=True, eq=False)
class ForeignPages:
    """Pages of no known class, as they are to be expected among the pages to predict.

    Attributes:
        confidence: Their confidence, [n]; minus infinity for those that are called unknown, and so never decided.
        units: Number of the group (or page) that each belongs to, int64 [n].
        expected: Share of all pages that they are, in (0, 1).
        max_lost: Share of the other pages that are called unknown, at most.
    """

    confidence: np.ndarray
    units: np.ndarray
    expected: float
    max_lost: float

    def least_precision(self, target: float, threshold: float, coverage: float, confidence: float) -> float:
        """The precision that decided known pages must have, so that all decided pages reach a target.

        A decided page of no known class is a mistake. With a share e of them, of which at most f are decided, and a
        share c of the known pages decided at precision p, all decided pages have the precision
        (1 - e) c p / ((1 - e) c + e f).

        Args:
            target: Precision of all decided pages.
            threshold: Pages of at least this confidence are decided.
            coverage: Share of the known pages that reaches it.
            confidence: One-sided level of the bound f. It is about these pages' kinds; other kinds may be told worse.
        """
        decided = self.confidence >= threshold
        unit = clusters_of(self.units)
        pages = float(len(decided))
        if unit is not None:
            pages = dependence_of_share(decided, unit).effective_pages(unit, 1 - confidence)
        most = 1 - float(lower_bound((1 - decided.mean()) * pages, pages, confidence))
        known = (1 - self.expected) * coverage * (1 - self.max_lost)
        return target * (known + self.expected * most) / known if known > 0 else np.inf


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What goes wrong when only the most confident pages are decided (El-Yaniv and Wiener 2010).

    Args:
        confidence: [n] probabilities of the predicted classes.
        correct: bool [n].

    Returns:
        Coverage, risk (share of the decided pages that is wrong) and threshold, each float64 [m], for every
        distinct confidence from the highest down.
    """
    values, pages, hits = _ranked(confidence, correct)
    return pages / len(confidence), 1 - hits / pages, values


def find_threshold(
    predictions: Predictions,
    target_precision: float,
    *,
    temperature: float = 1.0,
    confidence: float = 0.95,
    foreign: ForeignPages | None = None,
) -> Threshold:
    """The lowest confidence at which held-out pages show, at a one-sided level, the precision asked for.

    The bound is that of Clopper and Pearson: Wilson's promises too much where nearly all pages are right (268 pages
    without a mistake would do for 0.99; it takes 299). Simply taking the lowest threshold that passes tests very
    many of them, and names one that is not good enough in up to a third of the cases. So the thresholds form a
    fixed sequence from the most confident pages down, and the search ends at the first that fails: then the whole
    search errs at most as often as one test (Maurer et al. 1995; Angelopoulos et al. 2021). The steps depend on
    the confidences alone: the numbers of decided pages at which one more mistake is allowed.

    Pages of a group (and the copies of a page that `threshold_on` puts together) are no trials of their own. The
    bound takes their effective number (see `clusters`): without a mistake it is the number of groups with a decided
    page, and it nears the number of pages where mistakes fall on many groups. A group of which only some pages
    are confident enough counts with these.

    The coverage and precision returned are those on the same pages; other pages judge them (`apply_threshold`).

    Args:
        predictions: Held-out labelled pages.
        target_precision: In (0, 1).
        temperature: Divides the logits.
        confidence: One-sided level.
        foreign: Pages of no known class that are to be expected; half of the error that the level allows is spent on
            the bound of their share. None expects none.

    Raises:
        InputError: No page is both readable and labelled.
    """
    scored = predictions.scored()
    if foreign is not None:
        confidence = (1 + confidence) / 2
    ranking = _Ranking.of(scored, temperature, 1 - confidence)
    found = None
    for place in _sequence(ranking, target_precision, confidence):
        needed = target_precision
        if foreign is not None:
            value, coverage = float(ranking.values[place]), ranking.pages[place] / len(scored)
            needed = foreign.least_precision(target_precision, value, coverage, confidence)
        pages = ranking.effective_pages(place)
        if foreign is not None and lower_bound(pages, pages, confidence) < needed:
            continue  # too few pages to show it even without a mistake, so that nothing is tested here
        if lower_bound(ranking.precision[place] * pages, pages, confidence) < needed:
            break
        found = float(ranking.values[place])
    if found is not None:
        return apply_threshold(scored, found, target_precision, temperature=temperature)
    more = None if foreign is not None else _more_pages(ranking, target_precision, confidence)
    return _describe(scored, None, target_precision, temperature, more)


def apply_threshold(
    predictions: Predictions, value: float, target_precision: float, *, temperature: float = 1.0
) -> Threshold:
    """What a threshold found elsewhere does on these labelled pages.

    Raises:
        InputError: No page is both readable and labelled.
    """
    return _describe(predictions.scored(), value, target_precision, temperature, None)


def _describe(
    scored: Predictions, value: float | None, target: float, temperature: float, more_pages: int | None
) -> Threshold:
    confidence, correct = confidences(scored, temperature)
    decided = confidence >= (np.inf if value is None else value)
    reached = np.bincount(scored.predicted()[decided], minlength=scored.num_classes) > 0
    unit = clusters_of(scored.groups)
    missed = counts_of(confusion_of(scored)).present & ~reached
    return Threshold(
        target=target,
        value=value,
        coverage=share_of(decided, unit),
        precision=share_of(correct[decided], None if unit is None else unit[decided]),
        pages=len(scored),
        decided=int(decided.sum()),
        never=tuple(scored.class_names[index] for index in np.flatnonzero(missed)),
        more_pages=more_pages,
    )


def _ranked(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct confidences, descending, each with the pages and the right predictions at or above it."""
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
    return ranked[last], last + 1, np.cumsum(correct[order])[last]


@dataclass(frozen=True)
class _Ranking:
    """Pages from the most to the least confident one, and the distinct confidences to cut them at.

    Attributes:
        values: Distinct confidences, descending, [m].
        pages: How many pages are at or above each, [m].
        precision: The share of them that is right, [m].
        correct: Whether each page is right, in the order of the ranking, bool [n].
        unit: Which group each page belongs to, in that order, int [n]; None where pages are independent.
        tail: Probability beyond the bound.
    """

    values: np.ndarray
    pages: np.ndarray
    precision: np.ndarray
    correct: np.ndarray
    unit: np.ndarray | None
    tail: float

    @classmethod
    def of(cls, scored: Predictions, temperature: float, tail: float) -> _Ranking:
        confidence, correct = confidences(scored, temperature)
        values, pages, hits = _ranked(confidence, correct)
        order, unit = np.argsort(-confidence, kind="stable"), clusters_of(scored.groups)
        return cls(values, pages, hits / pages, correct[order], None if unit is None else unit[order], tail)

    def effective_pages(self, place: int) -> float:
        """How many independent pages say as much about the precision as those down to a place."""
        count = int(self.pages[place])
        if self.unit is None:
            return count
        return dependence_of_share(self.correct[:count], self.unit[:count]).effective_pages(
            self.unit[:count], self.tail
        )


def _sequence(ranking: _Ranking, target: float, confidence: float) -> np.ndarray:
    """Places in the ranking to test, in order: where one more mistake is allowed, and at last all pages.

    It starts at a tenth of the pages: the few most confident ones can prove little, and a single mistake among
    them would end the search. Pages in groups are counted as if those of a group always shared their fate
    (n² / Σ m², Kish 1965), and each further tenth of the pages is a step too: more pages need not be more groups.
    """
    total = int(ranking.pages[-1])
    counts = trials = np.arange(1, total + 1)
    if ranking.unit is not None:
        trials = np.maximum.accumulate(counts**2 // np.cumsum(2 * _earlier(ranking.unit) + 1))
    allowed = _allowed_mistakes(trials, target, confidence)
    steps = counts[np.diff(allowed, prepend=-1) > 0]
    if ranking.unit is not None:
        tenths = np.arange(1, 10) * total // 10
        steps = np.union1d(
            steps[np.linspace(0, len(steps) - 1, min(len(steps), _STEPS)).astype(int)], tenths[tenths > 0]
        )
    steps = np.append(steps[(allowed[steps - 1] >= 0) & (steps >= total / 10)], total)
    return np.unique(np.searchsorted(ranking.pages, steps))


def _earlier(unit: np.ndarray) -> np.ndarray:
    """How many pages before each one are of its group, int64 [n]."""
    order = np.argsort(unit, kind="stable")
    sizes = np.unique(unit, return_counts=True)[1]
    found = np.empty(len(unit), dtype=np.int64)
    found[order] = np.arange(len(unit)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return found


def _allowed_mistakes(pages: np.ndarray, target: float, confidence: float) -> np.ndarray:
    """The most mistakes among so many pages whose lower bound still reaches the target; -1 for none."""
    # The bound reaches the target when so few mistakes are improbable at exactly the target.
    from scipy.stats import binom  # takes half a second to import

    quantile = binom.ppf(1 - confidence, pages, 1 - target).astype(int)
    return np.where(binom.cdf(quantile, pages, 1 - target) <= 1 - confidence, quantile, quantile - 1)


def _more_pages(ranking: _Ranking, target: float, confidence: float) -> int | None:
    """How many more pages (in groups alike) would do, were the mistakes to stay as frequent as they are."""
    total = int(ranking.pages[-1])
    places = np.flatnonzero(ranking.pages >= total / 10)
    if ranking.unit is not None and len(places) > _STEPS:
        places = places[np.linspace(0, len(places) - 1, _STEPS).astype(int)]
    effective = np.array([ranking.effective_pages(int(place)) for place in places])
    hits = ranking.precision[places] * effective

    def enough(times: float) -> bool:
        return bool((lower_bound(hits * times, effective * times, confidence) >= target).any())

    if not enough(_ENOUGH):
        return None
    low, high = 1.0, _ENOUGH
    while high - low > 0.005 * low:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if enough(middle) else (middle, high)
    return max(1, int(np.ceil((high - 1) * total)))
