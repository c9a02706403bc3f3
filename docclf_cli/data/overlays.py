"""Corrected labels and groups, laid over an index from files of their own; the data itself is never edited."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from docclf_cli.data.documents import DocumentIndex
from docclf_cli.data.labels import Classes
from docclf_cli.data.tables import SHOWN, and_more, examples, plural, read_table
from docclf_cli.errors import InputError

logger = logging.getLogger("docclf")


def relabelled(index: DocumentIndex, path: Path) -> DocumentIndex:
    """The index with the labels of a CSV `ID,target` (an index or a class name) in place of its own.

    IDs of other splits are left out, and said.

    Raises:
        InputError: The file is faulty, or names an unknown class.
    """
    if index.targets is None:
        return index
    table = read_table(path)
    classes = Classes.of_names(index.class_names)
    corrected = classes.encode(table["target"])
    if faults := classes.faults(table["target"], corrected):
        raise InputError(f"{path}: {'; '.join(faults)}", f"classes: {', '.join(index.class_names)}")
    row_of = {name: row for row, name in enumerate(index.ids.tolist())}
    rows = np.array([row_of.get(name, -1) for name in _unique_ids(path, table["ID"])], dtype=np.int64)
    targets = index.targets.copy()
    targets[rows[rows >= 0]] = corrected[rows >= 0]
    _say_left_out(path, table["ID"], np.flatnonzero(rows < 0))
    return replace(index, targets=targets)


def grouped(index: DocumentIndex, path: Path) -> DocumentIndex:
    """The index with the groups of a CSV `ID,group`; a page it does not name stands for itself, and that is said.

    Raises:
        InputError: The file is faulty.
    """
    table = read_table(path)
    group_of = dict(zip(_unique_ids(path, table["ID"]), table["group"], strict=True))
    groups = np.array([group_of.get(name, "") for name in index.ids.tolist()], dtype=object)
    alone = index.ids[groups == ""]
    if len(alone) == len(index):
        logger.warning("%s: names none of the %s of this split", path, plural(len(index), "page", "pages"))
        return index
    if len(alone):
        shown = and_more([repr(name) for name in alone[:SHOWN]], len(alone))
        logger.warning("%s: %s without a group, each on its own: %s", path, plural(len(alone), "page", "pages"), shown)
    return with_groups(index, groups)


def with_groups(index: DocumentIndex, groups: np.ndarray) -> DocumentIndex:
    """The index with these group names; an empty one means that the page stands for itself."""
    named = [group or f"page {page}" for group, page in zip(groups, index.ids, strict=True)]
    return replace(index, groups=np.array(named, dtype=np.str_))


def _unique_ids(path: Path, ids: np.ndarray) -> np.ndarray:
    first = {name: row for row, name in reversed(list(enumerate(ids)))}
    if twice := [row for row, name in enumerate(ids) if first[name] != row]:
        raise InputError(
            f"{path}: {plural(len(twice), 'ID stands', 'IDs stand')} more than once: {examples(ids, twice)}"
        )
    return ids


def _say_left_out(path: Path, ids: np.ndarray, rows: np.ndarray) -> None:
    if len(rows):
        what = plural(len(rows), "ID is", "IDs are")
        logger.warning("%s: %s not in this split, and left out: %s", path, what, examples(ids, rows))
