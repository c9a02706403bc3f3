"""Where groups of pages go so that every part has its share of every class; numbers only."""

import numpy as np


def share_of_groups(counts: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Choose groups that together hold a share of each class.

    Groups come in random order, and are taken where that brings the classes, each measured by its size, nearer to
    the share. A class never loses its last group; one that would give none gives its smallest.

    Args:
        counts: Pages by group and class, int64 [groups, num_classes].
        share: Between 0 and 1.
        rng: Moves the choice.

    Returns:
        Whether a group is chosen, bool [groups].
    """
    total = counts.sum(axis=0)
    weight = 1 / np.maximum(total, 1) ** 2
    held, chosen = np.zeros_like(total), np.zeros(len(counts), dtype=bool)
    for group in rng.permutation(len(counts)):
        pages = counts[group]
        # |held + pages - share * total|² < |held - share * total|²
        nearer = (weight * pages * (2 * (share * total - held) - pages)).sum() > 0
        if nearer and _leaves_some(pages, held, total):
            held, chosen[group] = held + pages, True
    return _with_every_class(counts, chosen, rng)


def placed(counts: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Place each group into one of `k` parts: uneven groups first, each where its classes are scarcest.

    Args:
        counts: Pages by group and class, int64 [groups, num_classes].
        k: Number of parts.
        rng: Moves the order of groups that are alike.

    Returns:
        Part of each group, int64 [groups].
    """
    total = np.maximum(counts.sum(axis=0), 1)
    order = _sorted_by(-counts.std(axis=1), rng)
    filled, sizes, part = np.zeros((k, counts.shape[1])), np.zeros(k), np.empty(len(counts), dtype=np.int64)
    for group in order:
        present = np.flatnonzero(counts[group])
        pages = counts[group, present]
        # Pages in part i raise the sum of squared shares by 2 filled[i] · pages + pages², each class by its size.
        crowded = np.round((filled[:, present] * (pages / total[present] ** 2)).sum(axis=1), 12)
        best = np.lexsort((sizes, crowded))[0]
        part[group] = best
        filled[best, present] += pages
        sizes[best] += pages.sum()
    return part


def _leaves_some(pages: np.ndarray, held: np.ndarray, total: np.ndarray) -> bool:
    return bool(((held + pages < total) | (pages == 0)).all())


def _with_every_class(counts: np.ndarray, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    total = counts.sum(axis=0)
    order = _sorted_by(counts.sum(axis=1), rng)
    for label in np.flatnonzero(total):
        held = counts[chosen].sum(axis=0)
        if held[label]:
            continue
        fitting = (group for group in order[counts[order, label] > 0] if _leaves_some(counts[group], held, total))
        if (group := next(fitting, None)) is not None:
            chosen[group] = True
    return chosen


def _sorted_by(key: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # Ties in random order.
    shuffled = rng.permutation(len(key))
    return shuffled[np.argsort(key[shuffled], kind="stable")]
