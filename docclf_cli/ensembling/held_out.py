"""Predictions for pages that no member was trained on; fitted combiners learn from them and are scored on them."""

import warnings
from dataclasses import dataclass

import numpy as np

from docclf_cli.ensembling.alignment import Stack
from docclf_cli.errors import InputError

FEWEST = 50
TRAIN_MORE = (
    "train each member with the same split (or with `docclf train --folds 5`), so that all hold out the same pages"
)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Members' predictions for labelled pages that all of them hold out and could read.

    Attributes:
        log_probs: float64 [members, n, num_classes].
        targets: int64 [n].
        groups: Text [n]: pages that stay together when rows are cut into folds, or None.
        rows: Rows of these pages in the stack they come from, int64 [n].
    """

    log_probs: np.ndarray
    targets: np.ndarray
    groups: np.ndarray | None
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def of(cls, stack: Stack) -> "HeldOut":
        """The labelled rows of a stack that all members could read.

        Args:
            stack: Members aligned on `common_held_out_rows`.
        """
        if stack.targets is None:
            raise InputError("the held-out pages have no labels")
        rows = np.flatnonzero((stack.targets >= 0) & ~np.isnan(stack.log_probs).any(axis=(0, 2)))
        groups = None if stack.groups is None else stack.groups[rows]
        return cls(stack.log_probs[:, rows], stack.targets[rows], groups, rows)

    def take(self, rows: np.ndarray) -> "HeldOut":
        """The given rows (indices or a mask)."""
        groups = None if self.groups is None else self.groups[rows]
        return HeldOut(self.log_probs[:, rows], self.targets[rows], groups, self.rows[rows])

    def folds(self, count: int, seed: int = 0) -> np.ndarray:
        """A fold number for each row, int64 [n]: stratified by class, groups kept whole.

        Raises:
            InputError: No class has two pages, or all pages are of one group.
        """
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        units = len(self) if self.groups is None else len(np.unique(self.groups))
        count = min(count, units, int(np.bincount(self.targets).max()))
        if count < 2:
            raise InputError(
                "the held-out pages cannot be split for cross-validation: too few pages per class, or all in one group"
            )
        splitter = StratifiedKFold if self.groups is None else StratifiedGroupKFold
        fold = np.zeros(len(self), dtype=np.int64)
        with warnings.catch_warnings():
            # A class with fewer pages than folds is missing from some of them; fitted combiners cope with that.
            warnings.simplefilter("ignore", UserWarning)
            cut = splitter(count, shuffle=True, random_state=seed)
            for number, (_, rows) in enumerate(cut.split(self.targets, self.targets, self.groups)):
                fold[rows] = number
        return fold


def enough(held_out: HeldOut | None, method: str) -> HeldOut:
    """The same pages, if a combiner may be fitted on them.

    Raises:
        InputError: There are none, or fewer than `FEWEST`.
    """
    require(0 if held_out is None else len(held_out), method)
    assert held_out is not None
    return held_out


def require(pages: int, method: str) -> None:
    """Raise an `InputError` where a fitted combiner has too few held-out pages to learn from."""
    if not pages:
        raise InputError(f"{method} is fitted, and there is no page that all members hold out", TRAIN_MORE)
    if pages < FEWEST:
        raise InputError(
            f"{method} is fitted, and only {pages} pages are held out by all members (at least {FEWEST} are needed)",
            TRAIN_MORE,
        )
