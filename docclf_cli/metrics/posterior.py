"""How sure a figure of a confusion matrix is: draws from the posterior of the rates of confusion."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from docclf_cli.metrics.confusion import FIGURES, Counts, counts_of
from docclf_cli.metrics.intervals import DRAWS, around, chunks
from docclf_cli.results.figures import Estimate

DRAWN = ("balanced_accuracy", "f1_macro", "f1_weighted")  # figures over all classes whose intervals are drawn here
# Pages of error that the prior adds to each confusion row, settled by the coverage that
# benchmarks/interval_coverage.py prints. A figure of one class needs about a third of a page, or a class without
# a mistake would look certain. A figure over all classes shares one page among the rows: a third in each would
# add up to more mistakes than a good model makes.
PRIOR_ROW_MASS = 1.0
CLASS_PRIOR_ERRORS = 1 / 3


def posterior_counts(matrix: np.ndarray, prior_errors: float, rng: np.random.Generator, draws: int = DRAWS) -> Counts:
    """What confusion tables of as many pages would hold on average, were the true rates known.

    Each row of rates is drawn from its Dirichlet posterior; the prior weighs `PRIOR_ROW_MASS` pages a row, of
    which `prior_errors` lie spread evenly over the wrong classes. The wrong classes that a row has never seen
    share so little mass that one of them takes nearly all of it: one at random takes all of it, and only cells
    with pages need a draw of their own.

    Args:
        matrix: int64 [num_classes, num_classes], rows are the truth.
        prior_errors: Pages of error the prior adds to a row.
        rng: Source of the draws.
        draws: How many.

    Returns:
        Counts of shape [draws, num_classes].
    """
    num_classes, others = len(matrix), max(1, len(matrix) - 1)
    support = matrix.sum(axis=1)
    right = np.flatnonzero(support)
    wrong_row, wrong_column = np.nonzero(matrix * (1 - np.eye(num_classes, dtype=np.int64)))
    right_shape = matrix[right, right] + PRIOR_ROW_MASS - prior_errors
    wrong_shape = matrix[wrong_row, wrong_column] + prior_errors / others
    unseen_shape = prior_errors * (1 - np.bincount(wrong_row, minlength=num_classes)[right] / others)
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


def figures_of_classes(
    matrix: np.ndarray, rng: np.random.Generator, confidence: float = 0.95, draws: int = DRAWS
) -> dict[str, Estimate]:
    """Balanced accuracy, macro-F1 and weighted F1 of a confusion matrix, with intervals."""
    counts = counts_of(matrix)
    drawn = posterior_counts(matrix, 1 / np.count_nonzero(counts.support), rng, draws).take(counts.present)
    return {name: around(float(FIGURES[name](counts)), FIGURES[name](drawn), confidence) for name in DRAWN}


def _sum_into(place: np.ndarray, places: int) -> csr_array:
    """A matrix that adds up columns: the k-th into `place[k]`."""
    return csr_array((np.ones(len(place)), (np.arange(len(place)), place)), shape=(len(place), places))
