"""Merge the predictions of several views, and drop the views that lower the score."""

from typing import Literal

import numpy as np

from docclf_cli.ensembling.pooling import Score, arithmetic, by_log_loss, geometric, maximum

Merge = Literal["mean", "gmean", "max"]
_MERGES = {"mean": arithmetic, "gmean": geometric, "max": maximum}


def merge(log_probs: np.ndarray, how: Merge = "mean") -> np.ndarray:
    """Merge views as probabilities.

    Args:
        log_probs: [views, n, num_classes]; a row of NaN (an unreadable page) stays one.
        how: Arithmetic mean, geometric mean, or the largest probability of each class, normalised.

    Returns:
        Log-probabilities, float64 [n, num_classes].
    """
    return _MERGES[how](log_probs)


def prune(
    log_probs: np.ndarray, targets: np.ndarray, how: Merge = "mean", score: Score = by_log_loss
) -> tuple[int, ...]:
    """The views to keep: as long as the merge without some view scores higher, the most harmful one is dropped.

    Backward elimination, because listed views are taken as useful until they lower the score. The choice
    fits these pages a little, so it is made on held-out pages and reported on others.

    Args:
        log_probs: [views, n, num_classes] of held-out pages.
        targets: int64 [n]; pages with an unknown label (-1) or a row of NaN are left out.
        how: As for `merge`.
        score: Function of merged log-probabilities and targets; larger is better.

    Returns:
        Positions of the views that stay, ascending; at least one.
    """
    rows = (targets >= 0) & ~np.isnan(log_probs).any(axis=(0, 2))
    log_probs, targets = log_probs[:, rows], targets[rows]
    views = list(range(len(log_probs)))
    best = score(merge(log_probs, how), targets)
    while len(views) > 1:
        rests = [[view for view in views if view != dropped] for dropped in views]
        scores = [score(merge(log_probs[rest], how), targets) for rest in rests]
        if max(scores) <= best:
            break
        best, views = max(scores), rests[int(np.argmax(scores))]
    return tuple(views)


def cross_pruned(
    log_probs: np.ndarray, targets: np.ndarray, part: np.ndarray, how: Merge = "mean", score: Score = by_log_loss
) -> np.ndarray:
    """Prune and merge views by cross-fitting: each page is merged in the views that other pages chose.

    Args:
        log_probs: [views, n, num_classes] of held-out pages.
        targets: int64 [n].
        part: int64 [n]: each part is merged in the views that `prune` keeps on the others; -1 is in no other's choice.
        how: As for `merge`.
        score: As for `prune`.

    Returns:
        Log-probabilities, [n, num_classes].
    """
    merged = np.empty(log_probs.shape[1:])
    for number in np.unique(part):
        rows, others = part == number, (part != number) & (part >= 0)
        views = prune(log_probs[:, others], targets[others], how, score)
        merged[rows] = merge(log_probs[list(views)][:, rows], how)
    return merged
