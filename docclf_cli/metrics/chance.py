"""Whether predictions agree with labels more often than chance explains."""

from __future__ import annotations

import numpy as np

SHUFFLES = 999
SHUFFLES_PER_TRIAL = 200  # so that the least p-value of many trials stays below `SIGNIFICANCE`
SIGNIFICANCE = 0.01


def chance_agreement(given: np.ndarray, seems: np.ndarray) -> float:
    """Share of pages on which labels and predictions would agree if they knew nothing of each other.

    The expected agreement of Cohen, "A Coefficient of Agreement for Nominal Scales" (1960).

    Args:
        given: Class index of each label, int64 [n].
        seems: Class index of each prediction, int64 [n].
    """
    classes = int(max(given.max(), seems.max())) + 1
    counts = [np.bincount(side, minlength=classes) for side in (given, seems)]
    return float((counts[0] * counts[1]).sum()) / len(given) ** 2


def chance_p_value(
    given: np.ndarray, seems: np.ndarray, groups: np.ndarray | None = None, seed: int = 0, trials: int = 1
) -> float:
    """How often shuffled labels agree with predictions as well as the labels do: a permutation test.

    Pages of a group are no independent witnesses, so one page of each group takes part.

    Args:
        given: Class index of each label, int64 [n].
        seems: Class index of each prediction, made without the page: int64 [n].
        groups: Independent group of each page [n]; None where each page is one.
        seed: Moves the shuffles.
        trials: How many predictions these are the best of, such as one an epoch (Bonferroni's correction).

    Returns:
        (1 + shuffles that agree as well) / (1 + shuffles), so that no p-value is 0 (Phipson and Smyth 2010), times
        `trials`, at most 1.
    """
    if groups is not None:
        _, first = np.unique(groups.astype(np.str_), return_index=True)
        given, seems = given[first], seems[first]
    rng = np.random.default_rng(seed)
    found = int((given == seems).sum())
    shuffles = max(SHUFFLES, SHUFFLES_PER_TRIAL * trials)
    as_good = sum(int((rng.permutation(given) == seems).sum()) >= found for _ in range(shuffles))
    return min(1.0, trials * (1 + as_good) / (1 + shuffles))
