"""Corrected labels and groups from separate files, applied to an index; the data itself is never edited."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
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
    """The index with the labels of a CSV `ID,target` in place of its own; the name of a document means all its pages.

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
    named = rows_named(table, index, splits, elsewhere)
    targets = index.targets.copy()
    for rows, target in zip(named, corrected.tolist(), strict=True):
        targets[rows] = target
    if outside := [record for record, rows in enumerate(named) if not rows]:
        what = plural(len(outside), "ID is", "IDs are")
        logger.warning("%s: %s not in this split, and left out: %s", path, what, examples(table["ID"], outside))
    return replace(index, targets=targets)


def grouped(index: DocumentIndex, path: Path, splits: Sequence[str]) -> DocumentIndex:
    """The index with the groups of a CSV `ID,group`; a page it does not name is on its own, with a warning.

    The name of a document means all its pages.

    Args:
        index: The pages.
        path: The CSV.
        splits: Which splits the index holds.

    Raises:
        InputError: The file is faulty, or names a page of several splits.
    """
    table = read_table(path)
    groups = np.full(len(index), "", dtype=object)
    for rows, group in zip(rows_named(table, index, splits), table.names("group").tolist(), strict=True):
        groups[rows] = group
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
) -> list[list[int]]:
    """The rows of an index that each ID of an overlay means; none where it is in none of its splits.

    A page is named by its ID, or with its split in front where its ID has none, or without it where no other split
    has a page of that name. The name of a document with several pages means all of them.

    Raises:
        InputError: Two IDs mean one page, or one ID may mean two.
    """
    ids = table.names("ID")
    found = [[] if name in elsewhere else _meant(name, index, splits) for name in ids.tolist()]
    if unclear := [record for record, meant in enumerate(found) if len(meant) > 1]:
        meant = ", ".join(repr(str(index.ids[rows[0]])) for rows in found[unclear[0]])
        what = plural(len(unclear), "ID appears", "IDs appear")
        raise InputError(
            f"{table.path}: {what} for pages of several splits: {examples(ids, unclear)}", f"say which: {meant}"
        )
    named = [meant[0] if meant else [] for meant in found]
    _refuse_named_twice(table.path, ids, named)
    return named


def _meant(name: str, index: DocumentIndex, splits: Sequence[str]) -> list[list[int]]:
    spelled = [f"{split}/{name}" for split in splits]
    spelled += [name.removeprefix(f"{split}/") for split in splits if name.startswith(f"{split}/")]
    for names in ([name], spelled):
        rows = [[index.row_of[text]] for text in names if text in index.row_of]
        rows += [index.rows_of_document[text] for text in names if text in index.rows_of_document]
        if rows:
            return rows
    return []


def with_groups(index: DocumentIndex, groups: np.ndarray) -> DocumentIndex:
    """The index with these group names; an empty one means that the page is on its own."""
    named = [group or alone(page) for group, page in zip(groups, index.ids, strict=True)]
    return replace(index, groups=np.array(named, dtype=np.str_))


def _refuse_named_twice(path: Path, ids: np.ndarray, named: Sequence[Sequence[int]]) -> None:
    first: dict[object, int] = {}
    twice = []
    for record, (name, rows) in enumerate(zip(ids, named, strict=True)):
        places = [first.setdefault(page, record) for page in (rows or [name])]
        if any(place != record for place in places):
            twice.append(record)
    if twice:
        what = plural(len(twice), "ID appears", "IDs appear")
        raise InputError(f"{path}: {what} more than once: {examples(ids, twice)}")
