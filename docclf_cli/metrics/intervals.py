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


def bootstrap_mean(values: np.ndarray, groups: np.ndarray | None, rng: np.random.Generator) -> Estimate:
    """A mean over pages with its bootstrap interval; pages of a group are drawn together.

    Where pages are in groups, the interval is that of Student's distribution with one less than the groups.
    With a single page (or group) nothing is known about the spread, and the bounds are NaN.
    """
    unit = unit_of(len(values), groups)
    sums, pages = np.bincount(unit, weights=values), np.bincount(unit)
    mean = float(values.mean())
    if len(pages) == 1:
        return Estimate(mean, np.nan, np.nan)
    drawn = [(weights @ sums) / (weights @ pages) for weights in bootstrap_weights(len(pages), rng)]
    draws = np.concatenate(drawn)
    if len(pages) < len(values):
        # Few groups: the bootstrap takes their spread for known, and a little smaller than it is.
        tail, count = (1 - CONFIDENCE) / 2, len(pages)
        draws = mean + (draws - mean) * stdtrit(count - 1, tail) / ndtri(tail) * np.sqrt((count + 1) / (count - 1))
    return percentile_interval(mean, draws)


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
