"""Pages that belong together: how many independent pages say as much about a metric as they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from docclf_cli.metrics.confusion import Counts, confusion_of, counts_of
from docclf_cli.metrics.intervals import CONFIDENCE, chunks, wilson
from docclf_cli.results.metrics import Estimate
from docclf_cli.results.predictions import Predictions


@dataclass(frozen=True)
class Dependence:
    """How much pages of a group repeat each other, where one metric is concerned.

    Attributes:
        correlation: Intraclass correlation (Kish 1965) of what the pages add to the metric; at least 0.
        inputs: How far it is believed, from 0 to 1. Where no page is wrong, nothing shows whether pages of a group
            share their fate; at 0, a group counts as one page.
        freedom: Degrees of freedom of the variance between groups: few groups, or few that differ, show it badly.
    """

    correlation: float
    inputs: float
    freedom: float

    def effective_pages(self, unit: np.ndarray, tail: float = 0.025) -> float:
        """How many independent pages say as much as these about the metric.

        As in Korn and Graubard (1998): pages by their design effect, and by (Student's / the normal quantile)²
        because the design effect is an estimate.

        Args:
            unit: Which group each page belongs to, int [n], n > 0.
            tail: Probability beyond a bound of the interval that the number is for.
        """
        sizes = np.unique(unit, return_counts=True)[1].astype(float)
        pages = sizes.sum()
        seen = 1 + self.correlation * ((sizes**2).sum() / pages - 1)
        effect = self.inputs * seen + (1 - self.inputs) * pages / len(sizes)
        doubt = (stdtrit(self.freedom, 1 - tail) / ndtri(1 - tail)) ** 2
        return float(pages / effect / (1 + self.inputs * (doubt - 1)))


def dependence(
    influence: np.ndarray, mistakes: float, unit: np.ndarray, classes: np.ndarray | None = None
) -> Dependence:
    """Estimate how much pages of a group repeat each other from what each page adds to a metric.

    The variance between groups is that of the jackknife, linearised: what a group adds is divided by 1 - h, where h
    is its share of the pages (of a class). Its degrees of freedom follow from the kurtosis of these sums
    (Satterthwaite 1946).

    Args:
        influence: float [n]: how each page moves the metric, on any scale; sums to 0. Of a share: hit minus share.
        mistakes: How many mistakes show whether pages of a group share their fate; of a share, n · share · (1 - share).
        unit: Which group each page belongs to, int [n].
        classes: int [n], where the metric is made of the means of classes.
    """
    unit = np.unique(unit, return_inverse=True)[1]
    within = 1 - _share_of_group(unit, np.zeros_like(unit) if classes is None else classes)
    sizes, sums = np.bincount(unit), np.bincount(unit, weights=influence / within)
    alone, excess = float((influence**2).sum()), float((sizes**2).sum() / sizes.sum() - 1)
    if len(sizes) == 1 or alone == 0 or excess == 0:
        return Dependence(0.0, 0.0, 1.0)
    squares = sums**2
    together = float(squares.sum())
    spread = float((squares**2).sum()) - together**2 / len(squares)
    freedom = 2 * together**2 / spread if spread > 0 else np.inf
    correlation = max(0.0, together / alone - 1) / excess
    return Dependence(correlation, mistakes / (mistakes + 1), float(np.clip(freedom, 1, len(sizes) - 1)))


def dependence_of_share(hits: np.ndarray, unit: np.ndarray) -> Dependence:
    """The dependence of pages where a share is concerned: `hits` says which of the pages count, bool [n]."""
    rate = float(hits.mean())
    return dependence(hits - rate, len(hits) * rate * (1 - rate), unit)


def share_of(hits: np.ndarray, unit: np.ndarray | None) -> Estimate:
    """A share of pages with its Wilson interval, on their effective number where they are in groups.

    Args:
        hits: Which of the pages count, bool [n].
        unit: Which group each page belongs to, int [n]; None: pages are independent.
    """
    effective = None
    if unit is not None and len(hits):
        effective = dependence_of_share(hits, unit).effective_pages(unit, (1 - CONFIDENCE) / 2)
    return wilson(int(hits.sum()), len(hits), effective)


def dependence_of_metric(scored: Predictions, function: Callable[[Counts], np.ndarray], unit: np.ndarray) -> Dependence:
    """The dependence of pages where a metric of the confusion matrix is concerned, by its linearisation.

    Args:
        scored: Predictions whose rows are all scored.
        function: From counts to the metric.
        unit: Which group each page belongs to, int [n].
    """
    counts = counts_of(confusion_of(scored))
    place = np.cumsum(counts.present) - 1
    hits, predicted, support = _gradient(counts.take(counts.present), function)
    true, named = place[scored.labels], place[scored.predicted()]
    influence = np.where(true == named, hits[true], 0.0) + predicted[named] + support[true]
    rate = float((true == named).mean())
    return dependence(influence, len(scored) * rate * (1 - rate), unit, scored.labels)


def dependence_within_classes(scored: Predictions, unit: np.ndarray) -> Dependence:
    """The dependence of pages of one group where the recall of their classes is concerned, as if alike for all.

    A single class has too few groups to show its own.
    """
    labels, right = scored.labels, scored.predicted() == scored.labels
    rate = (np.bincount(labels, weights=right) / np.maximum(1, np.bincount(labels)))[labels]
    return dependence(right - rate, float((rate * (1 - rate)).sum()), unit, labels)


def _cells(unit: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return np.unique(unit * (int(classes.max()) + 1) + classes, return_inverse=True)[1]


def _share_of_group(unit: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Which share of the pages of its class a page's group holds, [n]; a group alone in its class counts as half."""
    cells = _cells(unit, classes)
    return np.minimum(np.bincount(cells)[cells] / np.bincount(classes)[classes], 0.5)


def _gradient(counts: Counts, function: Callable[[Counts], np.ndarray]) -> Counts:
    """How a metric moves with each of the counts it is made of, numerically; three times [num_classes]."""
    step = 1e-6
    base = np.concatenate([column.astype(float) for column in counts])
    value, moved, start = function(Counts(*np.split(base, 3))), [], 0
    for size in chunks(len(base), len(base)):
        change = np.zeros((size, len(base)))
        change[np.arange(size), np.arange(start, start + size)] = step
        moved.append(function(Counts(*np.split(base + change, 3, axis=-1))))
        start += size
    return Counts(*np.split((np.concatenate(moved) - value) / step, 3))
