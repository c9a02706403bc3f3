"""Gradient-boosted trees for two classes, as plain arrays: fitted by scikit-learn, read and run without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

TREES, DEPTH, RATE, SHARE = 120, 3, 0.06, 0.7  # chosen on grouped folds of synthetic packets (docs/packets.md)
FEWEST_IN_LEAF = 3
_NAMES = ("feature", "threshold", "children", "value")


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """Trees whose leaves add up to log-odds (Friedman 2001).

    Attributes:
        feature: Which column each node looks at, int64 [trees, nodes]; -1 for a leaf.
        threshold: Rows with at most this value go to the first child, float64 [trees, nodes].
        children: Numbers of the children of each node, int64 [trees, nodes, 2]; a leaf's are itself.
        value: What a leaf adds, float64 [trees, nodes].
        start: Log-odds without any tree.
    """

    feature: np.ndarray
    threshold: np.ndarray
    children: np.ndarray
    value: np.ndarray
    start: float

    @classmethod
    def fit(cls, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, seed: int = 0) -> BoostedTrees:
        """Fit to rows [n, columns] with targets (bool [n], both values occur) and weights [n]."""
        from sklearn.ensemble import GradientBoostingClassifier

        found = GradientBoostingClassifier(
            n_estimators=TREES, max_depth=DEPTH, learning_rate=RATE, subsample=SHARE,
            min_samples_leaf=min(FEWEST_IN_LEAF, len(rows) // 4 + 1), random_state=seed,
        ).fit(rows.astype(np.float32), targets, sample_weight=weights)  # fmt: skip
        trees = [one.tree_ for one in found.estimators_[:, 0]]
        nodes = max(tree.node_count for tree in trees)
        feature = np.full((len(trees), nodes), -1, dtype=np.int64)
        threshold = np.zeros((len(trees), nodes))
        children = np.tile(np.arange(nodes)[:, None], (len(trees), 1, 2))
        value = np.zeros((len(trees), nodes))
        for number, tree in enumerate(trees):
            inner = np.flatnonzero(tree.children_left >= 0)
            feature[number, inner] = tree.feature[inner]
            threshold[number, inner] = tree.threshold[inner]
            children[number, inner, 0] = tree.children_left[inner]
            children[number, inner, 1] = tree.children_right[inner]
            value[number, : tree.node_count] = RATE * tree.value[:, 0, 0]
        share = np.average(targets, weights=weights)
        return cls(feature, threshold, children, value, float(np.log(share / (1 - share))))

    def log_odds(self, rows: np.ndarray) -> np.ndarray:
        """Log-odds of the positive class, float64 [n], of rows [n, columns]."""
        rows = rows.astype(np.float32)  # as they were when the thresholds were found
        number = np.arange(len(self.feature))
        place = np.zeros((len(rows), len(self.feature)), dtype=np.int64)
        for _ in range(DEPTH):
            column = self.feature[number, place]
            value = np.take_along_axis(rows, np.maximum(column, 0), axis=1)
            beyond = (value > self.threshold[number, place]).astype(np.int64)
            place = self.children[number, place, beyond]
        return self.start + self.value[number, place].sum(axis=1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name."""
        return {**{name: getattr(self, name) for name in _NAMES}, "start": np.array(self.start)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> BoostedTrees:
        """The inverse of `to_arrays`.

        Raises:
            KeyError: An array is missing.
            ValueError: Shapes or node numbers do not fit together.
        """
        feature, threshold, children, value = (np.asarray(arrays[name]) for name in _NAMES)
        fits = feature.ndim == 2 and threshold.shape == value.shape == feature.shape
        if not fits or children.shape != (*feature.shape, 2):
            raise ValueError("trees whose arrays do not fit together")
        if children.size and not (children.min() >= 0 and children.max() < feature.shape[1]):
            raise ValueError("trees with nodes that are not there")
        return cls(feature, threshold, children, value, float(arrays["start"]))
