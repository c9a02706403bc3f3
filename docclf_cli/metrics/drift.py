"""Whether pages have changed: tests of two sets of pages by counts and moments, and the mix of classes behind predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from docclf_cli.metrics.intervals import percentile_interval
from docclf_cli.results.metrics import Estimate

TABLES = 1999  # drawn for a p-value, whose least value is 1 / 2000
DRAWS = 500
_RIDGE = 1e-6


def table_test(first: Sequence[int], second: Sequence[int], seed: int = 0) -> float:
    """p-value of two rows of counts having the same shares; NaN where a row is empty.

    The test of chi-square with the distribution of all tables of the same margins, drawn at random (Patefield 1981), so
    that it holds for small counts too.

    Args:
        first: Counts, [columns].
        second: Counts of the same columns.
        seed: Moves the draws.
    """
    from scipy.stats import random_table

    table = np.array([first, second])
    table = table[:, table.sum(axis=0) > 0]
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    if not rows.all():
        return float("nan")
    if len(columns) < 2:
        return 1.0
    drawn = random_table(rows, columns).rvs(TABLES, random_state=np.random.default_rng(seed))
    expected = np.outer(rows, columns) / rows.sum()
    found = ((table - expected) ** 2 / expected).sum()
    others = ((drawn - expected) ** 2 / expected).sum(axis=(1, 2))
    return float((1 + (others >= found * (1 - 1e-9)).sum()) / (1 + TABLES))


@dataclass(frozen=True, eq=False)
class Moments:
    """Number of pages, mean [dimensions] and covariance [dimensions, dimensions] of their features."""

    count: int
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray) -> Moments:
        """Of points [n, dimensions]."""
        points = points.astype(np.float64)
        centred = points - points.mean(axis=0) if len(points) else points
        return cls(len(points), points.mean(axis=0), centred.T @ centred / max(1, len(points) - 1))

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets of pages together (Chan et al. 1979)."""
        total, gap = self.count + other.count, other.mean - self.mean
        squares = (self.count - 1) * self.covariance + (other.count - 1) * other.covariance
        squares = squares + self.count * other.count / total * np.outer(gap, gap)
        return Moments(total, self.mean + other.count / total * gap, squares / max(1, total - 1))


def mean_test(first: Moments, second: Moments) -> float:
    """p-value of two sets of pages having the same mean features (Hotelling 1931); NaN with too few pages."""
    from scipy.stats import f

    width, total = len(first.mean), first.count + second.count
    freedom = total - width - 1
    if not width or freedom < 1 or min(first.count, second.count) < 2:
        return float("nan")
    within = ((first.count - 1) * first.covariance + (second.count - 1) * second.covariance) / (total - 2)
    within = within + _RIDGE * np.trace(within) / width * np.eye(width)
    gap = first.mean - second.mean
    squared = first.count * second.count / total * gap @ np.linalg.solve(within, gap)
    return float(f.sf(squared * freedom / (width * (total - 2)), width, freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that all of them together err at most as often as one (Holm 1979); NaN stays."""
    values = np.array(p_values, dtype=np.float64)
    adjusted = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return [float(value) for value in adjusted]


@dataclass(frozen=True)
class ClassMix:
    """The classes behind predictions.

    Attributes:
        shares: Share of each class, by class index; None for a class without held-out pages.
        accuracy: Share of right predictions under this mix.
    """

    shares: tuple[Estimate | None, ...]
    accuracy: Estimate


def class_mix(confusion: np.ndarray, predicted: np.ndarray, seed: int = 0) -> ClassMix:
    """The mix of classes that explains predictions, with 95 % intervals (black-box shift estimation, Lipton et al. 2018).

    It assumes that pages of a class look as they did among the held-out pages, and that no page belongs to another class.
    Intervals draw the confusion of each class and the predictions from Dirichlet posteriors.

    Args:
        confusion: Held-out pages by true (rows) and predicted class, int [num_classes, num_classes].
        predicted: New pages by predicted class, int [num_classes].
        seed: Moves the draws.
    """
    present = np.flatnonzero(confusion.sum(axis=1) > 0)
    prior = 1 / confusion.shape[1]
    rng = np.random.default_rng(seed)
    rows, new = confusion[present] + prior, predicted + prior
    value = _explained(rows / rows.sum(axis=1, keepdims=True), new / new.sum())
    drawn, right = np.empty((DRAWS, len(present))), np.empty(DRAWS)
    places = np.arange(len(present)), present
    for number in range(DRAWS):
        likely = np.stack([rng.dirichlet(row) for row in rows])
        drawn[number] = _explained(likely, rng.dirichlet(new))
        right[number] = drawn[number] @ likely[places]
    shares: list[Estimate | None] = [None] * len(confusion)
    for place, target in enumerate(present):
        shares[target] = percentile_interval(value[place], drawn[:, place])
    accuracy = float(value @ (rows / rows.sum(axis=1, keepdims=True))[places])
    return ClassMix(tuple(shares), percentile_interval(accuracy, right))


def _explained(likely: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Shares of classes, not negative and with the sum 1, under which predictions are as near as can be to those seen.

    Args:
        likely: Probability of each predicted class given the class, [classes, num_classes].
        predicted: Share of each predicted class, [num_classes].
    """
    from scipy.optimize import nnls

    weight = 100.0  # of the row that makes them sum to 1
    found, _ = nnls(np.vstack([likely.T, np.full(len(likely), weight)]), np.append(predicted, weight))
    return np.asarray(found / found.sum())
