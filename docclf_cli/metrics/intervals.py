"""How sure a metric is: intervals for shares and for means over pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit

from docclf_cli.results.metrics import Estimate

CONFIDENCE = 0.95  # two-sided level of all intervals
DRAWS = 2000
_CHUNK = 4_000_000  # numbers held at once by a loop over draws


def wilson(hits: float, pages: float, effective: float | None = None) -> Estimate:
    """A share with its Wilson score interval (Wilson 1927; Brown, Cai and DasGupta 2001).

    Args:
        hits: How many of the pages count.
        pages: How many there are; with none, value and bounds are NaN.
        effective: How many independent pages say as much (Dean and Pagano 2015); None: as many as there are.
    """
    if not pages:
        return Estimate(np.nan, np.nan, np.nan)
    z = float(ndtri((1 + CONFIDENCE) / 2))
    share = float(hits / pages)
    pages = pages if effective is None else effective
    centre = (share + z**2 / (2 * pages)) / (1 + z**2 / pages)
    margin = z / (1 + z**2 / pages) * np.sqrt(share * (1 - share) / pages + z**2 / (4 * pages**2))
    # Rounding must not push a bound past the share of a perfect class.
    return Estimate(share, float(max(0.0, min(share, centre - margin))), float(min(1.0, max(share, centre + margin))))


def lower_bound(hits: Any, pages: Any, confidence: float = 0.95) -> np.ndarray:
    """One-sided lower bound of a share (Clopper and Pearson 1934), elementwise; 0 where nothing hits."""
    hits, pages = np.asarray(hits, dtype=float), np.asarray(pages, dtype=float)
    bound = betaincinv(np.maximum(hits, 1e-12), pages - hits + 1, 1 - confidence)
    return np.where(hits > 0, bound, 0.0)


def percentile_interval(value: float, draws: np.ndarray) -> Estimate:
    """A metric with the central interval of its draws, widened where it would leave the metric outside."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def bootstrap_weights(units: int, rng: np.random.Generator, draws: int = DRAWS) -> Iterator[np.ndarray]:
    """Weights of the Bayesian bootstrap (Rubin 1981), in chunks [some draws, units].

    Each unit weighs one on average and never nothing, so no resample loses a rare class.
    """
    for size in chunks(draws, units):
        yield rng.standard_exponential((size, units))


def mean_of(
    values: np.ndarray, groups: np.ndarray | None, *, lowest: float = -np.inf, highest: float = np.inf
) -> Estimate:
    """A mean over pages with its interval; pages of a group count together.

    Losses and costs are skewed: most pages cost little and a few cost much, and what was not seen costs more than what was.
    So Student's interval is corrected for the skewness of the pages (or groups), by the cubic of Hall (1992). Where
    groups are known, the variance is the jackknife's. Nothing corrects for mistakes so rare that none was seen;
    where all values are equal and bounds are given, the interval holds what a share of unseen pages could add.

    Args:
        values: float [n], n > 0.
        groups: Names [n]; None where pages are independent.
        lowest: No value can be less.
        highest: No value can be more.

    Returns:
        With a single page (or group) nothing is known about the spread, and the bounds are NaN.
    """
    unit = unit_of(len(values), groups)
    sizes = np.bincount(unit)
    count = len(sizes)
    mean = float(values.mean())
    if count == 1:
        return Estimate(mean, np.nan, np.nan)
    influence = np.bincount(unit, weights=values - mean) / sizes.mean()
    variance = float((influence**2).mean())
    if variance <= (1e-12 * abs(mean)) ** 2:
        unseen = wilson(0, count).high
        below = unseen * (mean - lowest) if np.isfinite(lowest) else 0.0
        above = unseen * (highest - mean) if np.isfinite(highest) else 0.0
        return Estimate(mean, mean - below, mean + above)
    skewness = float((influence**3).mean()) / variance**1.5 / np.sqrt(count)
    share = np.minimum(sizes / sizes.sum(), 0.5)
    error = np.sqrt(((influence / (1 - share)) ** 2).sum()) / count
    reach = -float(stdtrit(count - 1, (1 - CONFIDENCE) / 2)) * np.array([1.0, -1.0])
    if abs(skewness) > 1e-9:
        # The inverse of t + s t² / 3 + s² t³ / 27 + s / 6, which is nearly normal where t is Student's statistic.
        reach = 3 / skewness * (np.cbrt(1 + skewness * (reach - skewness / 6)) - 1)
    low, high = (float(mean - part * error) for part in reach)
    return Estimate(mean, max(lowest, min(low, mean)), min(highest, max(high, mean)))


def clusters_of(groups: np.ndarray | None) -> np.ndarray | None:
    """Which group each page belongs to, int64 [n]; None where groups are not known, or each is a single page."""
    if groups is None:
        return None
    names, unit = np.unique(groups, return_inverse=True)
    return None if len(names) == len(groups) else unit


def unit_of(pages: int, groups: np.ndarray | None) -> np.ndarray:
    """Which unit of the bootstrap each page belongs to: itself, or its group; int64 [pages]."""
    clusters = clusters_of(groups)
    return np.arange(pages) if clusters is None else clusters


def chunks(draws: int, width: int) -> Iterator[int]:
    """Sizes that add up to `draws`, each small enough for so many numbers a draw."""
    size = max(1, _CHUNK // max(1, width))
    for start in range(0, draws, size):
        yield min(size, draws - start)
