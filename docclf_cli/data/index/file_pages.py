"""From files to pages: each page of a PDF or TIFF becomes a row of its own, and all pages of a file stay together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np

from docclf_cli.data.images.decode import SUFFIXES
from docclf_cli.data.images.page_counts import page_counts
from docclf_cli.data.images.page_files import PDF_SUFFIX, PageReader, require_pdf_support
from docclf_cli.data.index.documents import DocumentIndex, alone
from docclf_cli.data.index.tables import Table, row_number
from docclf_cli.errors import InputError
from docclf_cli.page_ids import PAGED_SUFFIXES, is_paged, page_id, split_page_id
from docclf_cli.profile.schema import DataConfig

_OF_ONE_PAGE = SUFFIXES - set(PAGED_SUFFIXES)
_PAGE_HINT = "pages count from 1; data.page_column names the column of the page, and null means that there is none"
_counted: dict[tuple[str, int, int], int] = {}  # pages by path, size and modification time, for one command


def pages_per_file(pages: str | int, count: int) -> int:
    """How many pages of a file with `count` pages are used, by `data.pages`; 0 stays 0."""
    return count if pages == "all" else min(count, 1 if pages == "first" else int(pages))


def with_pages(
    index: DocumentIndex, source: Path, config: DataConfig, named: np.ndarray | None = None
) -> tuple[DocumentIndex, np.ndarray]:
    """The index with a row for each page, and the row of its file.

    A file that cannot be opened is one page, which is unreadable. Pages of one file stand one after another.

    Args:
        index: One row a file, or a page of a file that a table names.
        source: The table or folder, for messages.
        config: `pages`, `max_pixels` and `allow_symlinks`.
        named: The page that a table names, counted from 1, int64 [n]; 0 for all that `pages` says.

    Raises:
        InputError: A table names a page that a file does not have, or a page twice; or PDFs cannot be read here.
    """
    paged = [row for row, name in enumerate(index.paths.tolist()) if is_paged(name)]
    every = np.arange(len(index))
    if not paged:
        return index, every
    pdf = next((row for row in paged if str(index.paths[row]).lower().endswith(PDF_SUFFIX)), None)
    if pdf is not None:
        require_pdf_support(str(index.path(pdf)))
    named = np.zeros(len(index), dtype=np.int64) if named is None else named
    counts = np.ones(len(index), dtype=np.int64)
    counts[paged] = _page_counts(index, paged, config)
    _refuse_pages_beyond(index, source, named, counts)
    wanted = np.array([pages_per_file(config.pages, count) for count in counts.tolist()], dtype=np.int64)
    wanted = np.where(named > 0, 1, np.maximum(wanted, 1))
    rows = np.repeat(every, wanted)
    numbers = np.concatenate([np.arange(count) for count in wanted.tolist()])
    numbers += np.maximum(named[rows] - 1, 0)
    found = index.take(rows)
    several = (counts[rows] > 1) | (named[rows] > 0)
    ids = found.ids.copy()
    for row in np.flatnonzero(several).tolist():
        ids[row] = page_id(_document(str(ids[row]), str(found.paths[row])), int(numbers[row]) + 1)
    found = replace(found, ids=ids, numbers=numbers)
    if (named > 0).any():
        order = files_together(found.paths.tolist())
        found, rows = found.take(order), rows[order]
        _refuse_twice(found, source)
    return found, rows


def named_pages(table: Table, ids: np.ndarray, column: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The file that each ID of a table names, and the page that it or the page column names.

    The page column says nothing about files that cannot have several pages.

    Returns:
        Object array of `str` [n]; and int64 [n], counted from 1, 0 for the whole file; None where no page is named.

    Raises:
        InputError: A page is no number, or ID and column name different pages.
    """
    cells = table.columns.get(column) if column else None
    if cells is None and not any("#" in name for name in ids.tolist()):
        return ids, None
    names, named = ids.copy(), np.zeros(len(ids), dtype=np.int64)
    for row, name in enumerate(ids.tolist()):
        names[row], named[row] = split_page_id(name)
        cell = "" if cells is None else cells[row].strip()
        if not cell or PurePath(names[row]).suffix.lower() in _OF_ONE_PAGE:
            continue
        page = int(cell) if cell.isdecimal() and cell.isascii() else 0
        if page < 1 or named[row] not in (0, page):
            raise InputError(
                f"{table.path}: {cell!r} in column '{column}' is not the page of {name!r} (row {row_number(row)})",
                _PAGE_HINT,
            )
        named[row] = page
    return names, named if named.any() else None


def kept_together(index: DocumentIndex) -> DocumentIndex:
    """The index with all pages of a file in one group; groups that a file is in are one, under the first one's name."""
    if index.numbers is None:
        return index
    files, file_of_row, pages = np.unique(index.paths.astype(np.str_), return_inverse=True, return_counts=True)
    if len(files) == len(index):
        return index
    if index.groups is None:
        names = index.documents
        groups = [names[row] if pages[file] > 1 else alone(index.ids[row]) for row, file in enumerate(file_of_row)]
        return replace(index, groups=np.array(groups, dtype=np.str_))
    first: dict[str, str] = {}  # from a group to the one it is joined with

    def root(group: str) -> str:
        while (above := first.get(group, group)) != group:
            group = above
        return group

    of_file: dict[int, str] = {}
    for file, group in zip(file_of_row.tolist(), index.groups.tolist(), strict=True):
        one, other = root(of_file.setdefault(file, group)), root(group)
        first[other] = one
    return replace(index, groups=np.array([root(group) for group in index.groups.tolist()], dtype=np.str_))


def _page_counts(index: DocumentIndex, rows: Sequence[int], config: DataConfig) -> list[int]:
    """Pages of the files of some rows; 0 where one cannot be opened."""
    keys = [_state(index.path(row)) for row in rows]
    new = {key: index.path(row) for row, key in zip(rows, keys, strict=True) if key not in _counted}
    reader = PageReader(config.max_pixels, config.allow_symlinks)
    _counted.update(zip(new, page_counts(list(new.values()), index.root, reader), strict=True))
    return [_counted[key] for key in keys]


def _state(path: Path) -> tuple[str, int, int]:
    """What a count is remembered by; a file that is not there has no size and no time."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return str(path.absolute()), -1, -1
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def _document(name: str, file: str) -> str:
    """The name of a document: what its table or folder calls it, with the suffix of its file."""
    return name if is_paged(name) else f"{name}{PurePath(file).suffix}"


def _refuse_pages_beyond(index: DocumentIndex, source: Path, named: np.ndarray, counts: np.ndarray) -> None:
    if len(beyond := np.flatnonzero((counts > 0) & (named > counts))):
        row = int(beyond[0])
        has = f"has {counts[row]} pages" if counts[row] > 1 else "has one page"
        raise InputError(
            f"{source}: {index.paths[row]} {has}, and page {named[row]} is named (row {row_number(row)})",
            _PAGE_HINT,
        )


def files_together(paths: Sequence[str]) -> np.ndarray:
    """An order in which rows of one file stand one after another, at the place of the first."""
    place: dict[str, int] = {}
    return np.argsort([place.setdefault(path, row) for row, path in enumerate(paths)], kind="stable")


def _refuse_twice(index: DocumentIndex, source: Path) -> None:
    seen: set[tuple[str, int]] = set()
    for row, path in enumerate(index.paths.tolist()):
        if (page := (path, index.page(row))) in seen:
            raise InputError(f"{source}: page {page[1] + 1} of {path} appears more than once", "name each page once")
        seen.add(page)
