"""Hold-out, folds and stratified samples; groups stay together, and a seed decides all draws.

Groups are never split. As in scikit-learn's `StratifiedGroupKFold`, each group goes where it brings the class
counts nearest to their share; the rules here are our own, so that a split stays what it is across versions.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from docclf_cli.data.index.cells import to_cell
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.tables import SHOWN, read_table
from docclf_cli.errors import InputError
from docclf_cli.files import write_text
from docclf_cli.text import and_more, composed, plural

logger = logging.getLogger("docclf")
ADDED = "added"  # the part of added pages that are never trained on
_HOLD_OUT, _FOLDS, _SAMPLE = 1, 2, 3  # keep the random streams of one seed apart


@dataclass(frozen=True, eq=False)
class Split:
    """The part (such as `train` or `val`) of each page by ID: `split.csv` of a run.

    Attributes:
        ids: Text [n].
        parts: Text [n]: `train`, `val`, or `fold-0` to `fold-(k-1)`.
    """

    ids: np.ndarray
    parts: np.ndarray

    @classmethod
    def of_rows(cls, index: DocumentIndex, parts: Mapping[str, np.ndarray]) -> Split:
        """The pages of the given rows by name of their part; rows in no part are left out."""
        names = np.repeat(list(parts), [len(rows) for rows in parts.values()])
        rows = np.concatenate(list(parts.values())).astype(np.int64)
        order = np.argsort(rows, kind="stable")
        return cls(index.ids[rows[order]], names[order])

    @classmethod
    def of_folds(
        cls, index: DocumentIndex, held_out: Sequence[np.ndarray], others: Mapping[str, np.ndarray] | None = None
    ) -> Split:
        """The held-out pages of each fold, and other parts by name."""
        return cls.of_rows(
            index, {**{f"fold-{number}": rows for number, rows in enumerate(held_out)}, **(others or {})}
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts, sorted."""
        return tuple(str(name) for name in np.unique(self.parts))

    def rows(self, index: DocumentIndex, part: str) -> np.ndarray:
        """Rows of an index that are in a part, sorted; pages that are new to the split are in none.

        Raises:
            InputError: The index lacks pages of that part.
        """
        wanted = self.ids[self.parts == part].tolist()
        if missing := [name for name in wanted if composed(name) not in index.row_of]:
            shown = and_more([repr(name) for name in missing[:SHOWN]], len(missing))
            raise InputError(
                f"the data lacks {plural(len(missing), 'page', 'pages')} of the run's split '{part}': {shown}",
                "evaluate on the data the run was trained on, or choose another split",
            )
        return np.array(sorted(index.row_of[composed(name)] for name in wanted), dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write a CSV `ID,split`, whole or not at all."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("ID", "split"))
        writer.writerows(zip(map(to_cell, self.ids.tolist()), self.parts.tolist(), strict=True))
        write_text(path, text.getvalue())

    @classmethod
    def load(cls, path: Path) -> Split:
        """Read a `split.csv`.

        Raises:
            InputError: The file is missing or damaged.
        """
        table = read_table(path)
        return cls(table["ID"], table["split"].astype(np.str_))


@dataclass(frozen=True, eq=False)
class _Groups:
    """Pages by group; all pages of a group are in the same part.

    Attributes:
        of_row: Group of each page, int64 [n].
        counts: Pages by group and class, int64 [groups, num_classes].
    """

    of_row: np.ndarray
    counts: np.ndarray


def hold_out(index: DocumentIndex, val_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a share of the pages of each class for validation.

    Every class keeps at least one page for training and, where it has two pages (or groups), gives at least one;
    classes that give none are named in the log.

    Args:
        index: Labelled pages.
        val_fraction: Share of validation pages, 0 for none.
        seed: `data.split_seed`.

    Returns:
        Rows for training and for validation, each sorted.

    Raises:
        InputError: Not one page can be held out.
    """
    if val_fraction == 0:
        return np.arange(len(index)), np.empty(0, dtype=np.int64)
    rng = np.random.default_rng((seed, _HOLD_OUT))
    if index.groups is None:
        val = _hold_out_by_class(index.labels, val_fraction, rng)
    else:
        groups = _grouped(index)
        val = share_of_groups(groups.counts, val_fraction, rng)[groups.of_row]
    if not val.any():
        raise InputError(
            "no class has two pages, so none can be held out", "add pages, or name a validation set: data.val"
        )
    _warn_not_held_out(index, val)
    return np.flatnonzero(~val), np.flatnonzero(val)


def folds(index: DocumentIndex, k: int, seed: int) -> list[np.ndarray]:
    """Cut the pages into `k` folds; each is held out once.

    Args:
        index: Labelled pages.
        k: Number of folds.
        seed: `data.fold_seed`.

    Returns:
        The held-out rows of each fold, sorted; every row is in exactly one.

    Raises:
        InputError: A class has fewer than `k` pages, or there are fewer than `k` groups.
    """
    _check_enough_pages(index, k)
    rng = np.random.default_rng((seed, _FOLDS))
    if index.groups is None:
        fold = _assign_folds(index.labels, k, rng)
    else:
        groups = _grouped(index)
        _check_enough_groups(index, groups, k)
        fold = placed(groups.counts, k, rng)[groups.of_row]
    return [np.flatnonzero(fold == number) for number in range(k)]


def stratified_sample(targets: np.ndarray, at_most: int, seed: int) -> np.ndarray:
    """Draw a stratified sample of positions, at least one of each class where that fits.

    Args:
        targets: Class indices, int64 [n].
        at_most: How many to draw; all where there are no more.
        seed: Moves the draw.

    Returns:
        Positions in `targets`, sorted.
    """
    if at_most >= len(targets):
        return np.arange(len(targets))
    rng = np.random.default_rng((seed, _SAMPLE))
    counts = np.bincount(targets)
    quota = _allocate(counts, at_most)
    return np.flatnonzero(_rank_within_class(targets, rng) < quota[targets])


def limit(rows: np.ndarray, targets: np.ndarray, at_most: int | None, seed: int) -> np.ndarray:
    """At most so many of `rows`, a stratified draw; all of them where `at_most` is None.

    Args:
        rows: Rows of an index.
        targets: Class indices of the whole index, int64 [n].
        at_most: `data.limit`.
        seed: Moves the draw.
    """
    return rows if at_most is None else rows[stratified_sample(targets[rows], at_most, seed)]


def _grouped(index: DocumentIndex) -> _Groups:
    assert index.groups is not None
    names, of_row = np.unique(index.groups, return_inverse=True)
    counts = np.zeros((len(names), len(index.class_names)), dtype=np.int64)
    np.add.at(counts, (of_row, index.labels), 1)
    return _Groups(of_row, counts)


def _rank_within_class(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # A random order inside each class: 0 for its first page, 1 for the next.
    shuffled = rng.permutation(len(targets))
    order = shuffled[np.argsort(targets[shuffled], kind="stable")]
    counts = np.bincount(targets)
    rank = np.empty(len(targets), dtype=np.int64)
    rank[order] = np.arange(len(targets)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


def _hold_out_by_class(targets: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    counts = np.bincount(targets)
    quota = np.clip(np.rint(counts * share), np.minimum(counts, 1), np.maximum(counts - 1, 0)).astype(np.int64)
    return _rank_within_class(targets, rng) < quota[targets]


def _assign_folds(targets: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    # Round robin over the classes: counts of a class and sizes of folds differ by one page at most.
    counts = np.bincount(targets)
    return (_rank_within_class(targets, rng) + (np.cumsum(counts) - counts)[targets]) % k


def _allocate(counts: np.ndarray, total: int) -> np.ndarray:
    # Largest-remainder method; classes that would get nothing take one from the largest, where that fits.
    exact = counts * (total / counts.sum())
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: total - quota.sum()]] += 1
    if total >= np.count_nonzero(counts):
        for label in np.flatnonzero((quota == 0) & (counts > 0)):
            quota[np.argmax(quota)] -= 1
            quota[label] = 1
    return quota


def _check_enough_pages(index: DocumentIndex, k: int) -> None:
    counts = index.counts()
    if short := [f"{name} ({count})" for name, count in zip(index.class_names, counts, strict=True) if 0 < count < k]:
        what = plural(len(short), "class has", "classes have")
        raise InputError(f"{what} fewer pages than {k} folds: {and_more(short[:SHOWN], len(short))}", "use fewer folds")


def _check_enough_groups(index: DocumentIndex, groups: _Groups, k: int) -> None:
    if len(groups.counts) < k:
        raise InputError(f"{plural(len(groups.counts), 'group', 'groups')} cannot fill {k} folds", "use fewer folds")
    of_class = (groups.counts > 0).sum(axis=0)
    short = [name for name, count in zip(index.class_names, of_class, strict=True) if 0 < count < k]
    if short:
        logger.warning("fewer groups than %d folds, so not in every fold: %s", k, and_more(short[:SHOWN], len(short)))


def _warn_not_held_out(index: DocumentIndex, val: np.ndarray) -> None:
    held = np.bincount(index.labels[val], minlength=len(index.class_names))
    without = [
        name for name, all_, out in zip(index.class_names, index.counts(), held, strict=True) if all_ and not out
    ]
    if without:
        logger.warning(
            "too few pages or groups to hold any out, all stay in training: %s", and_more(without[:SHOWN], len(without))
        )


def share_of_groups(counts: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Choose groups so that they hold a given share of the pages of each class.

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
    """Assign each group to one of `k` parts, uneven groups first, each to the part that lacks its classes most.

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
