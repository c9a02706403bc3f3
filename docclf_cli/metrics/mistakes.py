"""Which classes are taken for which, and which pages show it."""

from __future__ import annotations

import numpy as np

from docclf_cli.metrics.confusion import confusion_of
from docclf_cli.results.metrics import ConfusedPair
from docclf_cli.results.predictions import Predictions


def most_confused(predictions: Predictions, most: int = 10, examples: int = 5) -> tuple[ConfusedPair, ...]:
    """The pairs of classes behind most mistakes, most pages first.

    Args:
        predictions: Labelled pages.
        most: At most so many pairs.
        examples: At most so many IDs a pair, the most confident mistakes first.

    Raises:
        InputError: No page is both readable and labelled.
    """
    scored = predictions.scored()
    assert scored.targets is not None
    predicted = scored.predicted()
    matrix = confusion_of(scored)
    support = matrix.sum(axis=1)
    np.fill_diagonal(matrix, 0)
    pairs = np.argsort(-matrix, axis=None, kind="stable")[:most]
    found = []
    for target, guess in zip(*np.unravel_index(pairs, matrix.shape), strict=True):
        rows = np.flatnonzero((scored.targets == target) & (predicted == guess))
        if matrix[target, guess]:
            shown = rows[np.argsort(-scored.log_probs[rows, guess], kind="stable")][:examples]
            names = scored.class_names[target], scored.class_names[guess]
            share = len(rows) / int(support[target])
            found.append(ConfusedPair(*names, len(rows), share, tuple(map(str, scored.ids[shown]))))
    return tuple(found)


def pages_to_show(predictions: Predictions, most: int = 300, first: int = 24) -> np.ndarray:
    """Pages that tell a person most, most useful first.

    The most confident mistakes of all; then mistakes, in turn from each pair of classes, the most confident of each
    pair first; then correct pages in the same manner, the least certain first.

    Args:
        predictions: Labelled pages.
        most: At most so many pages.
        first: How many mistakes lead, whatever their classes.

    Returns:
        Rows, int64 [at most `most`].

    Raises:
        InputError: No page is both readable and labelled.
    """
    rows = np.flatnonzero((predictions.labels >= 0) & ~np.isnan(predictions.log_probs).any(axis=1))
    scored = predictions.scored()
    predicted, sure = scored.predicted(), scored.log_probs.max(axis=1)
    wrong = predicted != scored.labels
    urgency = np.where(wrong, sure, -sure)
    pair = scored.labels * scored.num_classes + predicted
    order = np.lexsort((-urgency, pair))
    turn = np.empty(len(rows), dtype=np.int64)
    turn[order] = np.arange(len(rows)) - np.searchsorted(pair[order], pair[order])
    leading = np.flatnonzero(wrong)
    turn[leading[np.argsort(-sure[leading], kind="stable")[:first]]] = -1
    return rows[np.lexsort((-urgency, turn, ~wrong))[:most]]
