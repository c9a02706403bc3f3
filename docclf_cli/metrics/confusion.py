"""The confusion matrix, and the metrics that follow from it alone.

The formulas take counts along a last axis of classes, so that the same lines serve one table of pages, many
posterior draws of it, and bootstrap weights. As in scikit-learn, recall averages over classes that have pages,
F1 over classes that have pages or predictions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from docclf_cli.results.predictions import Predictions


class Counts(NamedTuple):
    """Per class, each [..., num_classes]: pages recognised, pages predicted as the class, pages of the class."""

    hits: np.ndarray
    predicted: np.ndarray
    support: np.ndarray

    def take(self, classes: np.ndarray) -> Counts:
        """The given classes (indices or a boolean mask) only."""
        return Counts(*(column[..., classes] for column in self))

    @property
    def present(self) -> np.ndarray:
        """Which classes have pages or predictions, bool [..., num_classes]."""
        return (self.support > 0) | (self.predicted > 0)


def confusion(targets: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pages by true class (rows) and predicted class (columns).

    Args:
        targets: int [n], -1 where unknown.
        predicted: int [n], -1 where the page could not be read.
        num_classes: Length of both axes.

    Returns:
        int64 [num_classes, num_classes]; pages with an unknown side are left out.
    """
    known = (targets >= 0) & (predicted >= 0)
    cells = targets[known].astype(np.int64) * num_classes + predicted[known]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def confusion_of(scored: Predictions) -> np.ndarray:
    """The confusion matrix of labelled predictions, int64 [num_classes, num_classes]."""
    assert scored.targets is not None
    return confusion(scored.targets, scored.predicted(), scored.num_classes)


def counts_of(matrix: np.ndarray) -> Counts:
    """The counts of a confusion matrix [..., num_classes, num_classes]."""
    return Counts(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-2), matrix.sum(axis=-1))


def recalls(counts: Counts) -> np.ndarray:
    """Share of each class's pages that were recognised; NaN for a class without pages."""
    return ratio(counts.hits, counts.support)


def precisions(counts: Counts) -> np.ndarray:
    """Share of the pages predicted as a class that belong to it; NaN for a class never predicted."""
    return ratio(counts.hits, counts.predicted)


def f1_scores(counts: Counts) -> np.ndarray:
    """Harmonic mean of precision and recall; NaN for a class with neither pages nor predictions."""
    return ratio(2 * counts.hits, counts.predicted + counts.support)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part / whole`, NaN where there is nothing to divide by."""
    undefined = np.full(np.shape(whole), np.nan)
    return np.divide(part, whole, out=undefined, where=np.asarray(whole) > 0)
