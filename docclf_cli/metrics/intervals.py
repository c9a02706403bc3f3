"""How sure a figure is: intervals for shares, for figures of a confusion matrix, and for means of losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import beta

from docclf_cli.metrics.confusion import FIGURES, Counts, counts_of
from docclf_cli.results import Estimate

DRAWS = 2000
DRAWN = ("balanced_accuracy", "f1_macro", "f1_weighted")  # figures whose interval comes from posterior draws
# Pages of error that the prior adds to each confusion row, settled by the coverage that
# benchmarks/interval_coverage.py prints. A figure of one class needs about a third of a page, or a class without
# a mistake would look certain. A figure over all classes shares one page among the rows: a third in each would
# add up to more mistakes than a good model makes.
PRIOR_ROW_MASS = 1.0
CLASS_PRIOR_ERRORS = 1 / 3
_CHUNK = 4_000_000  # numbers held at once by a loop over draws


def wilson(hits: float, pages: float, confidence: float = 0.95) -> Estimate:
    """A share with its Wilson score interval (Wilson 1927; Brown, Cai and DasGupta 2001).

    Args:
        hits: How many of the pages count.
        pages: How many there are; with none, value and bounds are NaN.
        confidence: Two-sided level.
    """
    if not pages:
        return Estimate(np.nan, np.nan, np.nan)
    z = float(ndtri((1 + confidence) / 2))
    share = float(hits / pages)
    centre = (share + z**2 / (2 * pages)) / (1 + z**2 / pages)
    margin = z / (1 + z**2 / pages) * np.sqrt(share * (1 - share) / pages + z**2 / (4 * pages**2))
    # Rounding must not push a bound past the share of a perfect class.
    return Estimate(share, float(max(0.0, min(share, centre - margin))), float(min(1.0, max(share, centre + margin))))


def lower_bound(hits: Any, pages: Any, confidence: float = 0.95) -> np.ndarray:
    """One-sided lower bound of a share (Clopper and Pearson 1934), elementwise; 0 where nothing hits."""
    hits, pages = np.asarray(hits, dtype=float), np.asarray(pages, dtype=float)
    bound = beta.ppf(1 - confidence, np.maximum(hits, 1e-12), pages - hits + 1)
    return np.where(hits > 0, bound, 0.0)


def around(value: float, draws: np.ndarray, confidence: float = 0.95) -> Estimate:
    """A figure with the central interval of its draws, widened where it would leave the figure outside."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def posterior_counts(matrix: np.ndarray, prior_errors: float, rng: np.random.Generator, draws: int = DRAWS) -> Counts:
    """What confusion tables of as many pages would hold on average, were the true rates known.

    Each row of rates is drawn from its Dirichlet posterior; the prior weighs `PRIOR_ROW_MASS` pages a row, of
    which `prior_errors` lie spread evenly over the wrong classes.

    Args:
        matrix: int64 [num_classes, num_classes], rows are the truth.
        prior_errors: Pages of error the prior adds to a row.
        rng: Source of the draws.
        draws: How many.

    Returns:
        Counts of shape [draws, num_classes].
    """
    num_classes = len(matrix)
    rows = np.flatnonzero(matrix.sum(axis=1))
    support = matrix[rows].sum(axis=1)
    shape = matrix[rows] + prior_errors / max(1, num_classes - 1)
    shape[np.arange(len(rows)), rows] = matrix[rows, rows] + PRIOR_ROW_MASS - prior_errors
    parts = []
    for size in _chunks(draws, shape.size):
        gammas = rng.standard_gamma(shape, size=(size, *shape.shape))
        tables = np.zeros((size, num_classes, num_classes))
        tables[:, rows] = gammas * (support / gammas.sum(axis=2))[:, :, None]
        parts.append(counts_of(tables))
    return Counts(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def figures_of_classes(
    matrix: np.ndarray, rng: np.random.Generator, confidence: float = 0.95, draws: int = DRAWS
) -> dict[str, Estimate]:
    """Balanced accuracy, macro-F1 and weighted F1 of a confusion matrix, with intervals."""
    counts = counts_of(matrix)
    drawn = posterior_counts(matrix, 1 / np.count_nonzero(counts.support), rng, draws).take(counts.present)
    return {name: around(float(FIGURES[name](counts)), FIGURES[name](drawn), confidence) for name in DRAWN}


def bootstrap_weights(units: int, rng: np.random.Generator, draws: int = DRAWS) -> Iterator[np.ndarray]:
    """Weights of the Bayesian bootstrap (Rubin 1981), in chunks [some draws, units].

    Each unit weighs one on average and never nothing, so no resample loses a rare class.
    """
    for size in _chunks(draws, units):
        yield rng.standard_exponential((size, units))


def bootstrap_mean(
    values: np.ndarray, groups: np.ndarray | None, rng: np.random.Generator, confidence: float = 0.95
) -> Estimate:
    """A mean over pages with its bootstrap interval; pages of a group are drawn together.

    With a single page (or group) nothing is known about the spread, and the bounds are NaN.
    """
    unit = unit_of(len(values), groups)
    sums, pages = np.bincount(unit, weights=values), np.bincount(unit)
    mean = float(values.mean())
    if len(pages) == 1:
        return Estimate(mean, np.nan, np.nan)
    draws = [(weights @ sums) / (weights @ pages) for weights in bootstrap_weights(len(pages), rng)]
    return around(mean, np.concatenate(draws), confidence)


def unit_of(pages: int, groups: np.ndarray | None) -> np.ndarray:
    """Which unit of the bootstrap each page belongs to: itself, or its group; int64 [pages]."""
    return np.arange(pages) if groups is None else np.unique(groups, return_inverse=True)[1]


def _chunks(draws: int, width: int) -> Iterator[int]:
    size = max(1, _CHUNK // max(1, width))
    for start in range(0, draws, size):
        yield min(size, draws - start)
