"""Labels that people added later (`data.add`, as `docclf review` writes them): corrected pages, and new ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from docclf_cli.data.index.copies import copies_of
from docclf_cli.data.index.documents import DocumentIndex, alone
from docclf_cli.data.index.tables import examples, read_table
from docclf_cli.errors import InputError
from docclf_cli.text import composed, normalised

HELD_OUT_SHARE = 0.2  # of the added pages


@dataclass(frozen=True)
class _Row:
    """One row of such a table."""

    id: str
    label: str
    path: str
    group: str


def with_added(index: DocumentIndex, own_val: int, files: Sequence[Path], *, may_add_classes: bool) -> DocumentIndex:
    """An index with the labels of tables `ID,target,path,group` in place of its own, and their new pages behind its own.

    A row is about a page of the index if it has its ID and names its file, no file, or one that is not there any more;
    every other row is a new page. New pages come before a validation set of one's own, which stays at the end. Later
    tables and rows win. A class that the index lacks is added to its class axis.

    Args:
        index: The pages.
        own_val: How many of them, at the end, are a validation set of their own.
        files: The tables.
        may_add_classes: Whether the class axis may grow; that of a trained model may not.

    Raises:
        InputError: A table is faulty, names a file that is not there, or a class that may not be added.
    """
    corrected: dict[int, str] = {}
    new: dict[str, _Row] = {}
    for path in files:
        for row in _rows(path):
            known = index.row_of.get(composed(row.id), -1)
            if known >= 0 and _is_same_file(row.path, index.path(known)):
                corrected[known] = row.label
            else:
                new[row.path] = row
    labels = list(dict.fromkeys((*corrected.values(), *(row.label for row in new.values()))))
    extra = tuple(sorted(set(labels) - set(index.class_names)))
    if extra and not may_add_classes:
        raise InputError(
            f"{files[0]}: {extra[0]!r} is no class of the model", f"classes: {', '.join(index.class_names)}"
        )
    names = (*index.class_names, *extra)
    targets = index.labels.copy()
    for place, label in corrected.items():
        targets[place] = names.index(label)
    index = replace(index, targets=targets, class_names=names)
    return _joined(index, own_val, list(new.values()), names) if new else index


def added_rows(base: DocumentIndex, own_val: int, index: DocumentIndex) -> np.ndarray:
    """The rows of the new pages in what `with_added` made of an index, int64 [n]."""
    return np.arange(len(base) - own_val, len(index) - own_val)


def draw_held_out(index: DocumentIndex, rows: np.ndarray, seed: int, sets: np.ndarray) -> np.ndarray:
    """The added pages that are never trained on: about a fifth, by set, and the same ones in every later round.

    Whether a set of pages is drawn depends on the group of its first page and the seed alone, so that adding more labels
    moves none. Copies of pages of the data are not drawn, since these are trained on.

    Args:
        index: All pages.
        rows: The added ones.
        seed: `data.split_seed`.
        sets: For each of the added pages the number of the pages that stay together with it, int64 [n].
    """
    files = index.files()
    own = np.zeros(len(index), dtype=bool)
    own[rows] = True
    copies = copies_of([files[row] for row in rows], [files[row] for row in np.flatnonzero(~own)]) >= 0
    groups = index.groups if index.groups is not None else np.array([alone(name) for name in index.ids], np.str_)
    first: dict[int, str] = {}
    for one, row in zip(sets.tolist(), rows.tolist(), strict=True):
        first.setdefault(one, str(groups[row]))
    drawn = {one for one, group in first.items() if _is_drawn(group, seed)} - set(sets[copies].tolist())
    return rows[np.isin(sets, list(drawn))]


def _is_drawn(group: str, seed: int) -> bool:
    digest = hashlib.sha256(f"{seed} {composed(group)}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < HELD_OUT_SHARE


def _rows(path: Path) -> list[_Row]:
    table = read_table(path)
    blank = [row for row, label in enumerate(table["target"].tolist()) if not label.strip()]
    if blank:
        raise InputError(f"{path}: a label is blank: {examples(table['ID'], blank)}")

    def column(name: str) -> list[str]:
        return table[name].tolist() if name in table.columns else [""] * len(table)

    there = zip(table["ID"].tolist(), table["target"].tolist(), column("path"), column("group"), strict=True)
    return [_Row(name, normalised(label), file, group.strip()) for name, label, file, group in there]


def _is_same_file(named: str, own: Path) -> bool:
    return not named or not os.path.exists(named) or os.path.realpath(named) == os.path.realpath(own)  # noqa: PTH110


def _joined(index: DocumentIndex, own_val: int, new: Sequence[_Row], names: tuple[str, ...]) -> DocumentIndex:
    missing = [place for place, row in enumerate(new) if not row.path or not Path(row.path).is_file()]
    if missing:
        ids = [row.id for row in new]
        raise InputError(
            f"data.add: there is no file for {len(missing)} of its pages: {examples(ids, missing)}",
            "the column `path` says where each page is; pages of the data need none",
        )
    root = Path(os.path.commonpath([index.root.absolute(), *(Path(row.path).absolute().parent for row in new)]))
    own = [os.path.relpath(file, root) for file in index.files()]
    paths = [os.path.relpath(Path(row.path).absolute(), root) for row in new]
    ids = [row.id if composed(row.id) not in index.row_of else f"added/{row.id}" for row in new]
    if len(set(ids)) < len(ids) or any(composed(name) in index.row_of for name in ids):
        ids = [f"added/{row.path}" for row in new]
    groups = None
    if index.groups is not None or any(row.group for row in new):
        before = [alone(name) for name in index.ids] if index.groups is None else index.groups.tolist()
        groups = np.array([*before, *(row.group or alone(name) for row, name in zip(new, ids, strict=True))], np.str_)
    joined = DocumentIndex(
        root,
        np.array([*index.ids.tolist(), *ids], dtype=object),
        np.array([*own, *paths], dtype=object),
        np.concatenate([index.labels, [names.index(row.label) for row in new]]),
        names,
        groups,
        left_out=index.left_out,
    )
    first = len(index) - own_val
    order = [*range(first), *range(len(index), len(joined)), *range(first, len(index))]
    return joined.take(order)
