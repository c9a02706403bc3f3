"""How sure a metric of a confusion matrix is: tables drawn at rates of confusion that the matrix makes plausible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy.sparse import csr_array
from scipy.special import stdtrit

from docclf_cli.metrics.confusion import Counts, counts_of, f1_scores
from docclf_cli.metrics.intervals import CONFIDENCE, DRAWS, chunks
from docclf_cli.results.metrics import Estimate

# How many pages the prior adds to each confusion row. benchmarks/interval_coverage.py prints the coverage it brings:
# .93 and more, but about .90 for macro-F1 where classes of 1 and of 100 pages stand side by side in fifty.
PRIOR_PAGES = 4.0
_LEAST_CONCENTRATION = 0.05  # of a row of one page: nearly all of it falls into one cell


def posterior_rates(matrix: np.ndarray) -> np.ndarray:
    """The mean of the Dirichlet posterior of each confusion row.

    The prior weighs `PRIOR_PAGES` pages a row. Of these the pooled recall lies on the diagonal, the rest evenly
    over the wrong classes: a weak model is not made better by it, nor a strong one worse. The pooled recall is the
    mean over classes, each weighted by n / (n + `PRIOR_PAGES`) for its n pages, taken together with one more class
    that is half right, so that it is never 0 or 1 (empirical Bayes: Carlin and Louis 2000, chapter 3).

    Args:
        matrix: [num_classes, num_classes], rows are the truth; counts need not be whole.

    Returns:
        float64 [num_classes, num_classes]; rows sum to one, but where there is no other class to name.
    """
    counts = counts_of(matrix)
    weight = counts.support / (counts.support + PRIOR_PAGES)
    right = counts.hits / (counts.support + PRIOR_PAGES)
    pooled = (right.sum() + weight.max() / 2) / (weight.sum() + weight.max())
    prior = np.full(matrix.shape, (1 - pooled) / max(1, len(matrix) - 1))
    np.fill_diagonal(prior, pooled)
    return (matrix + PRIOR_PAGES * prior) / (counts.support + PRIOR_PAGES)[:, None]


def sampled_counts(matrix: np.ndarray, rng: np.random.Generator, draws: int = DRAWS) -> Counts:
    """What other confusion tables of as many pages would hold, were `posterior_rates` the true rates.

    A row of n pages is n times a draw from the Dirichlet distribution with those rates and a concentration of
    n - 1: it has the means and covariances of a multinomial row of n pages, and n need not be whole. The variance
    r (1 - r) of posterior rates is on average smaller than that of the true ones, were the classes alike by a
    factor of 1 - n / (n + `PRIOR_PAGES`)^2; the concentration makes up for it. The wrong classes that a row has
    never seen share so little mass that one of them takes nearly all of it: one at random takes all of it, and
    only cells with pages need a draw of their own.

    Args:
        matrix: [num_classes, num_classes], rows are the truth; counts need not be whole.
        rng: Source of the draws.
        draws: How many.

    Returns:
        Counts of shape [draws, num_classes].
    """
    num_classes, support = len(matrix), matrix.sum(axis=1)
    others = max(1, num_classes - 1)
    right = np.flatnonzero(support)
    wrong_row, wrong_column = np.nonzero(matrix * (1 - np.eye(num_classes)))
    alike = 1 - support / (support + PRIOR_PAGES) ** 2
    concentration = np.maximum(support * alike - 1, _LEAST_CONCENTRATION)
    shape = concentration[:, None] * posterior_rates(matrix)
    right_shape, wrong_shape = shape[right, right], shape[wrong_row, wrong_column]
    unseen_shape = concentration[right] - right_shape
    unseen_shape -= np.bincount(wrong_row, wrong_shape, minlength=num_classes)[right]
    unseen_shape = np.maximum(unseen_shape, 0.0)  # rounding
    from_row = _sum_into(np.searchsorted(right, wrong_row), len(right))
    into_column = _sum_into(wrong_column, num_classes)
    parts = []
    for size in chunks(draws, len(wrong_row) + 3 * num_classes):
        seen, unseen = rng.standard_gamma(wrong_shape, (size, len(wrong_row))), np.zeros((size, num_classes))
        hits, predicted = unseen.copy(), unseen.copy()
        hits[:, right] = rng.standard_gamma(right_shape, (size, len(right)))
        unseen[:, right] = rng.standard_gamma(unseen_shape, (size, len(right)))
        scale = np.zeros((size, num_classes))
        scale[:, right] = support[right] / (hits[:, right] + unseen[:, right] + seen @ from_row)
        hits *= scale
        taken = (np.arange(num_classes) + rng.integers(1, others + 1, (size, num_classes))) % num_classes
        np.add.at(predicted, (np.arange(size)[:, None], taken), unseen * scale)
        predicted += hits + (seen * scale[:, wrong_row]) @ into_column
        parts.append(Counts(hits, predicted, np.broadcast_to(support, hits.shape)))
    return Counts(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def metrics_of_classes(
    matrix: np.ndarray,
    functions: Mapping[str, Callable[[Counts], np.ndarray]],
    rng: np.random.Generator,
    draws: int = DRAWS,
    lowest: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Estimate]:
    """Metrics of a confusion matrix, with intervals from the same drawn tables (see `sampling_interval`).

    Args:
        matrix: [num_classes, num_classes], rows are the truth; counts need not be whole.
        functions: From counts to each metric, of at most 1.
        rng: Source of the draws.
        draws: How many tables are drawn.
        lowest: The smallest possible value of metrics that can be below 0.
    """
    counts, drawn, expected = _observed_drawn_expected(matrix, rng, draws)
    found = {}
    for name, function in functions.items():
        start = lowest.get(name, 0.0)
        # Intervals are those of shares: a metric from -1 to 1 is seen as one from 0 to 1.
        value, of_draws, truth = (
            (function(one.take(counts.present)) - start) / (1 - start) for one in (counts, drawn, expected)
        )
        parts = (value, *sampling_interval(value, of_draws, truth))
        found[name] = Estimate(*(float(part * (1 - start) + start) for part in parts))
    return found


def f1_of_classes(matrix: np.ndarray, rng: np.random.Generator, draws: int = DRAWS) -> tuple[Estimate, ...]:
    """F1 of each class with its interval; no bounds (NaN) for a class without pages, of which nothing is known.

    Args:
        matrix: [num_classes, num_classes], rows are the truth; counts need not be whole.
        rng: Source of the draws.
        draws: How many tables are drawn.
    """
    counts, drawn, expected = _observed_drawn_expected(matrix, rng, draws)
    has_pages = counts.support > 0
    value, bounds = f1_scores(counts), np.full((2, len(matrix)), np.nan)
    of_draws, truth = (f1_scores(one.take(has_pages)) for one in (drawn, expected))
    # The rates of one class lean on those of all others, so its spread is known as well as all pages tell.
    freedom = counts.support.sum()
    bounds[:, has_pages] = sampling_interval(value[has_pages], of_draws, truth, freedom)
    return tuple(Estimate(*(float(part) for part in parts)) for parts in zip(value, *bounds, strict=True))


def sampling_interval(
    value: np.ndarray,
    drawn: np.ndarray,
    truth: np.ndarray,
    freedom: np.ndarray | float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The interval of metrics between 0 and 1 from what tables drawn at a known truth show of them.

    The mean of the draws over their truth is the factor by which such tables bias a metric: macro-F1 of small classes
    comes out too low. The value and the spread are divided by it (parametric bootstrap: Efron and Tibshirani 1993,
    chapter 10). The spread says how many independent pages tell as much of a share (their effective
    number: Kish 1965). These go into the interval of Agresti and Coull (1998), with Student's t because the spread
    is an estimate (Korn and Graubard 1998). A perfect metric so has width, and no bound leaves 0 to 1.

    Args:
        value: Metrics observed, [...].
        drawn: The same metrics of drawn tables, [draws, ...].
        truth: The same metrics of the rates that the tables are drawn from, [...], above 0.
        freedom: Degrees of freedom of Student's t; None: the effective number of pages.

    Returns:
        Lower and upper bounds, each [...]; the value lies between them.
    """
    bias = drawn.mean(axis=0) / truth
    variance = np.maximum((drawn.std(axis=0) / bias) ** 2, np.finfo(float).tiny)
    pages = np.maximum(truth * (1 - truth) / variance, 1.0)
    quantile = stdtrit(np.maximum(pages if freedom is None else freedom, 1.0), (1 + CONFIDENCE) / 2)
    centre = np.minimum(value / bias, 1.0) * pages + quantile**2 / 2
    share = centre / (pages + quantile**2)
    margin = quantile * np.sqrt(share * (1 - share) / (pages + quantile**2))
    return np.clip(share - margin, 0.0, value), np.clip(share + margin, value, 1.0)


def _observed_drawn_expected(matrix: np.ndarray, rng: np.random.Generator, draws: int) -> tuple[Counts, Counts, Counts]:
    """The counts of a matrix, those of drawn tables, and those of the rates that the tables are drawn from."""
    counts, rates = counts_of(matrix), posterior_rates(matrix)
    expected = Counts(counts.support * np.diagonal(rates), counts.support @ rates, counts.support)
    return counts, sampled_counts(matrix, rng, draws), expected


def _sum_into(place: np.ndarray, places: int) -> csr_array:
    """A matrix that adds up columns: the k-th into `place[k]`."""
    return csr_array((np.ones(len(place)), (np.arange(len(place)), place)), shape=(len(place), places))
