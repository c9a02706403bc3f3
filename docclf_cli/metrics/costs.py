"""Decisions by expected cost: what a wrong class costs, and what a person's look at a page costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Costs:
    """Prices of decisions, in any unit.

    Attributes:
        prices: Of deciding a page of a class (row) as a class (column), float64 [num_classes, num_classes].
        review: Of sending a page of each class to a person, float64 [num_classes].
        unknown: Of deciding a page of no known class as each class, float64 [num_classes]; None where not given.
        review_unknown: Of sending such a page to a person.
    """

    prices: np.ndarray
    review: np.ndarray
    unknown: np.ndarray | None = None
    review_unknown: float = 0.0

    def expected(self, probs: np.ndarray, unknown: np.ndarray | None = None) -> np.ndarray:
        """Expected cost of each class as the decision, and last of a review, float64 [n, num_classes + 1].

        Args:
            probs: Calibrated probabilities, [n, num_classes].
            unknown: Probability of belonging to no class, [n]; None, or no price of such pages, leaves it out.
        """
        of_known = probs @ np.column_stack([self.prices, self.review])
        if self.unknown is None or unknown is None:
            return of_known
        of_unknown = np.append(self.unknown, self.review_unknown)
        return (1 - unknown)[:, None] * of_known + unknown[:, None] * of_unknown

    def decisions(self, probs: np.ndarray, unknown: np.ndarray | None = None) -> np.ndarray:
        """The cheapest decision for each page, int64 [n]; `num_classes` is a review, which wins a tie."""
        expected = self.expected(probs, unknown)
        cheapest = expected.argmin(axis=1)
        return np.where(expected[:, -1] <= expected.min(axis=1), probs.shape[1], cheapest)

    def decide(self, probs: np.ndarray, unknown: float | None = None) -> int | None:
        """The same for one page, [num_classes]; None is a review."""
        found = int(self.decisions(probs[None], None if unknown is None else np.array([unknown]))[0])
        return None if found == len(probs) else found

    def paid(self, targets: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """What decisions cost for pages of known classes, float64 [n]."""
        return np.column_stack([self.prices, self.review])[targets, decisions]
