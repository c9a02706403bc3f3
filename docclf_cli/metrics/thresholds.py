"""When not to trust a prediction: risk against coverage, and the confidence that reaches a precision."""

from __future__ import annotations

import numpy as np

from docclf_cli.metrics.calibration import confidences
from docclf_cli.metrics.confusion import confusion_of, counts_of
from docclf_cli.metrics.intervals import lower_bound, wilson
from docclf_cli.results.figures import Threshold
from docclf_cli.results.predictions import Predictions

_ENOUGH = 1e4  # asking for more than so many times the pages is no advice


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
    predictions: Predictions, target_precision: float, *, temperature: float = 1.0, confidence: float = 0.95
) -> Threshold:
    """The lowest confidence at which held-out pages show, at a one-sided level, the precision asked for.

    The bound is that of Clopper and Pearson: Wilson's promises too much where nearly all pages are right (268 pages
    without a mistake would do for 0.99; it takes 299). Simply taking the lowest threshold that passes tests very
    many of them, and names one that is not good enough in up to a third of the cases. So the thresholds form a
    fixed sequence from the most confident pages down, and the search ends at the first that fails: then the whole
    search errs at most as often as one test (Maurer et al. 1995; Angelopoulos et al. 2021). The steps depend on
    the confidences alone: the numbers of decided pages at which one more mistake is allowed.

    The coverage and precision returned are those on the same pages; other pages judge them (`apply_threshold`).
    Pages are taken as independent.

    Args:
        predictions: Held-out labelled pages.
        target_precision: In (0, 1).
        temperature: Divides the logits.
        confidence: One-sided level.

    Raises:
        InputError: No page is both readable and labelled.
    """
    scored = predictions.scored()
    values, pages, hits = _ranked(*confidences(scored, temperature))
    found = None
    for place in _sequence(pages, target_precision, confidence):
        if lower_bound(hits[place], pages[place], confidence) < target_precision:
            break
        found = float(values[place])
    if found is not None:
        return apply_threshold(scored, found, target_precision, temperature=temperature)
    more = _more_pages(pages, hits, target_precision, confidence)
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
    missed = counts_of(confusion_of(scored)).present & ~reached
    return Threshold(
        target=target,
        value=value,
        coverage=wilson(int(decided.sum()), len(scored)),
        precision=wilson(int(correct[decided].sum()), int(decided.sum())),
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


def _sequence(pages: np.ndarray, target: float, confidence: float) -> np.ndarray:
    """Places in the ranking to test, in order: where one more mistake is allowed, and at last all pages.

    It starts at a tenth of the pages: the few most confident ones can prove little, and a single mistake among
    them would end the search.
    """
    total = int(pages[-1])
    counts = np.arange(1, total + 1)
    allowed = _allowed_mistakes(counts, target, confidence)
    steps = counts[np.diff(allowed, prepend=-1) > 0]
    steps = np.append(steps[(allowed[steps - 1] >= 0) & (steps >= total / 10)], total)
    return np.unique(np.searchsorted(pages, steps))


def _allowed_mistakes(pages: np.ndarray, target: float, confidence: float) -> np.ndarray:
    """The most mistakes among so many pages whose lower bound still reaches the target; -1 for none."""
    # The bound reaches the target when so few mistakes are improbable at exactly the target.
    from scipy.stats import binom  # takes half a second to import

    quantile = binom.ppf(1 - confidence, pages, 1 - target).astype(int)
    return np.where(binom.cdf(quantile, pages, 1 - target) <= 1 - confidence, quantile, quantile - 1)


def _more_pages(pages: np.ndarray, hits: np.ndarray, target: float, confidence: float) -> int | None:
    """How many more pages of the same kind would do, were the mistakes to stay as frequent as they are."""
    total = int(pages[-1])
    pages, hits = pages[pages >= total / 10], hits[pages >= total / 10]

    def enough(times: float) -> bool:
        return bool((lower_bound(hits * times, pages * times, confidence) >= target).any())

    if not enough(_ENOUGH):
        return None
    low, high = 1.0, _ENOUGH
    while high - low > 0.005 * low:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if enough(middle) else (middle, high)
    return max(1, int(np.ceil((high - 1) * total)))
