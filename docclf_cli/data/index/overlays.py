"""Corrected labels and groups from separate files, applied to an index; the data itself is never edited."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from docclf_cli.data.index.documents import DocumentIndex, alone
from docclf_cli.data.index.labels import Classes
from docclf_cli.data.index.tables import SHOWN, Table, examples, read_table
from docclf_cli.errors import InputError
from docclf_cli.text import and_more, plural

logger = logging.getLogger("docclf")


def relabelled(
    index: DocumentIndex, path: Path, classes: Classes, splits: Sequence[str], elsewhere: Collection[str] = ()
) -> DocumentIndex:
    """The index with the labels of a CSV `ID,target` in place of its own.

    IDs of other splits are left out with a warning.

    Args:
        index: The pages.
        path: The CSV.
        classes: The class of each target text, on the class axis of the index.
        splits: Which splits the index holds.
        elsewhere: IDs that mean pages of other splits unless the split stands in front.

    Raises:
        InputError: The file is faulty, names an unknown class, or a page of several splits.
    """
    if index.targets is None:
        return index
    table = read_table(path)
    corrected = classes.encode(table["target"])
    if faults := classes.faults(table["target"], corrected):
        raise InputError(f"{path}: {'; '.join(faults)}", classes.hint(table["target"], corrected))
    rows = rows_named(table, index, splits, elsewhere)
    targets = index.targets.copy()
    targets[rows[rows >= 0]] = corrected[rows >= 0]
    if len(outside := np.flatnonzero(rows < 0)):
        what = plural(len(outside), "ID is", "IDs are")
        logger.warning("%s: %s not in this split, and left out: %s", path, what, examples(table["ID"], outside))
    return replace(index, targets=targets)


def grouped(index: DocumentIndex, path: Path, splits: Sequence[str]) -> DocumentIndex:
    """The index with the groups of a CSV `ID,group`; a page it does not name is on its own, with a warning.

    Args:
        index: The pages.
        path: The CSV.
        splits: Which splits the index holds.

    Raises:
        InputError: The file is faulty, or names a page of several splits.
    """
    table = read_table(path)
    rows = rows_named(table, index, splits)
    groups = np.full(len(index), "", dtype=object)
    groups[rows[rows >= 0]] = table.names("group")[rows >= 0]
    without = index.ids[groups == ""]
    if len(without) == len(index):
        logger.warning("%s: names none of the %s of this split", path, plural(len(index), "page", "pages"))
        return index
    if len(without):
        shown = and_more([repr(name) for name in without[:SHOWN]], len(without))
        logger.warning(
            "%s: %s without a group, each on its own: %s", path, plural(len(without), "page", "pages"), shown
        )
    return with_groups(index, groups)


def rows_named(
    table: Table, index: DocumentIndex, splits: Sequence[str], elsewhere: Collection[str] = ()
) -> np.ndarray:
    """The row of an index that each ID of an overlay means, int64 [n]; -1 where it is in none of its splits.

    A page is named by its ID, or with its split in front where its ID has none, or without it where no other split
    has a page of that name.

    Raises:
        InputError: Two IDs mean one page, or one ID may mean two.
    """
    ids = table.names("ID")
    found = [[] if name in elsewhere else _meant(name, index.row_of, splits) for name in ids.tolist()]
    if unclear := [row for row, meant in enumerate(found) if len(meant) > 1]:
        meant = ", ".join(repr(str(index.ids[row])) for row in found[unclear[0]])
        what = plural(len(unclear), "ID appears", "IDs appear")
        raise InputError(
            f"{table.path}: {what} for pages of several splits: {examples(ids, unclear)}", f"say which: {meant}"
        )
    rows = np.array([meant[0] if meant else -1 for meant in found], dtype=np.int64)
    _refuse_named_twice(table.path, ids, rows)
    return rows


def _meant(name: str, row_of: Mapping[str, int], splits: Sequence[str]) -> list[int]:
    if name in row_of:
        return [row_of[name]]
    spelled = [f"{split}/{name}" for split in splits]
    spelled += [name.removeprefix(f"{split}/") for split in splits if name.startswith(f"{split}/")]
    return [row_of[text] for text in spelled if text in row_of]


def with_groups(index: DocumentIndex, groups: np.ndarray) -> DocumentIndex:
    """The index with these group names; an empty one means that the page is on its own."""
    named = [group or alone(page) for group, page in zip(groups, index.ids, strict=True)]
    return replace(index, groups=np.array(named, dtype=np.str_))


def _refuse_named_twice(path: Path, ids: np.ndarray, rows: np.ndarray) -> None:
    first: dict[object, int] = {}
    meant = [int(row) if row >= 0 else name for row, name in zip(rows, ids, strict=True)]
    if twice := [place for place, page in enumerate(meant) if first.setdefault(page, place) != place]:
        what = plural(len(twice), "ID appears", "IDs appear")
        raise InputError(f"{path}: {what} more than once: {examples(ids, twice)}")
