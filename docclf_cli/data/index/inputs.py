"""The inputs of `predict`: files, folders, globs, lists, objects in S3, a list on stdin, or a split of a data root."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import IO

import numpy as np

from docclf_cli.data.images.page_files import PAGE_SUFFIXES, PDF_SUFFIX, require_pdf_support
from docclf_cli.data.images.remote import RemoteFiles, is_remote
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.file_list import Found
from docclf_cli.data.index.file_pages import named_pages
from docclf_cli.data.index.folders import ambiguous, locate, walk
from docclf_cli.data.index.left_out import FOLDER, LeftOut
from docclf_cli.data.index.tables import Table, read_parquet, read_table, row_number
from docclf_cli.errors import InputError
from docclf_cli.page_ids import is_paged, split_page_id
from docclf_cli.text import plural
from docclf_cli.user_folders import user_path

STDIN = "-"
LIST = ".txt"
LISTED = "listed"  # state of an object that is named in a list: asking the store for each would take too long
PAGE_COLUMN = "page"
PATH_COLUMNS = ("path", "file", "ID")  # of a CSV list; the first of them that it has
_BLOCK = 1 << 16
_CONTENTS = {
    b"%PDF-": "PDF", b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"PK\x03\x04": "ZIP",
}  # fmt: skip


TABLES = {".csv": read_table, ".parquet": read_parquet}


def find(
    inputs: Sequence[str],
    stdin: IO[bytes],
    allow_symlinks: bool = False,
    left_out: LeftOut | None = None,
    remote: RemoteFiles | None = None,
) -> Iterator[Found]:
    """The files that inputs name, in their order; folders are walked by name, all the way down.

    A folder that may not be read comes as a file: reading it as a page gives the reason.

    Args:
        inputs: Files, pages of files (`file.pdf#3`), folders, globs (`**` enters folders), CSV and Parquet files with
            a column of paths, lists (`.txt`, one path a line), `s3://bucket/prefix/`, `s3://bucket/key`, or `-`.
        stdin: Where `-` reads its list from: one path a line, or separated by NUL.
        allow_symlinks: Follow symbolic links that leave a folder.
        left_out: Counts what lies in the folders and is no page.
        remote: Lists what lies in S3.

    Raises:
        InputError: An input names nothing, a CSV has no column of paths or names no file that there is, or stdin holds a
            page in the place of a list.
        RemoteError: The store refuses or cannot be reached.
    """
    left_out = LeftOut() if left_out is None else left_out
    for text in inputs:
        of_store = is_remote(text) and remote is not None
        found = _of_store(text, remote, left_out) if of_store else _found(text, stdin, allow_symlinks, left_out)  # type: ignore[arg-type]
        for file in found:
            if file.name.lower().endswith(PDF_SUFFIX):
                require_pdf_support(file.shown)
            yield file


def of_index(index: DocumentIndex) -> Iterator[Found]:
    """The pages of a data root, under the names of their documents."""
    folder, root = str(index.root / index.below), str(index.root)
    for row, (name, shown) in enumerate(zip(index.paths.tolist(), index.documents.tolist(), strict=True)):
        yield Found(folder, name, shown, root, index.page(row) + 1 if is_paged(name) else 0)


def _found(text: str, stdin: IO[bytes], allow_symlinks: bool, left_out: LeftOut) -> Iterable[Found]:
    if text == STDIN:
        return _named(_listed(stdin))
    path = user_path(text)
    if os.path.isdir(path):  # noqa: PTH112  (unlike Path.is_dir, False where it may not be looked at)
        return _of_folder(path, allow_symlinks, left_out)
    if path.suffix.lower() in TABLES and os.path.isfile(path):  # noqa: PTH113
        return _of_table(TABLES[path.suffix.lower()](path))
    if path.suffix.lower() == LIST and os.path.isfile(path):  # noqa: PTH113
        return _of_list(path)
    if _is_there(path) or _is_there(Path(split_page_id(str(path))[0])):
        return _named([str(path)])
    if glob.has_magic(text):
        return _of_glob(str(path), left_out)
    raise InputError(
        f"{text}: there is no such file or folder",
        "name files, folders, globs in quotes, a CSV or .txt list, s3:// or -",
    )


def _of_store(text: str, remote: RemoteFiles, left_out: LeftOut) -> Iterator[Found]:
    """An object that an address names as a page, or all pages below it."""
    if PurePath(split_page_id(text)[0]).suffix.lower() in PAGE_SUFFIXES:
        yield _of_name(text)
        return
    empty = True
    for one in remote.list(text):
        if PurePath(one.uri).suffix.lower() not in PAGE_SUFFIXES:
            left_out.add_file(one.uri)
            continue
        empty = False
        folder, _, name = one.uri.rpartition("/")
        yield Found(folder, name, one.uri, state=one.state)
    if empty:
        raise InputError(f"{text}: no page below this prefix", f"known: {' '.join(sorted(PAGE_SUFFIXES))}")


def _of_list(path: Path) -> Iterator[Found]:
    """Files that a list names, one a line: beside the list, or else from the working folder."""
    with path.open("rb") as file:
        for name in _listed(file):
            beside = path.parent / name
            yield _of_name(name if is_remote(name) or not _is_there(beside) else str(beside))


def _is_there(path: Path) -> bool:
    """Whether there is something of this name, even if it may not be looked at."""
    try:
        path.lstat()
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EPERM)
    return True


def _named(paths: Iterable[str]) -> Iterator[Found]:
    return map(_of_name, paths)


def _of_name(path: str) -> Found:
    """A file; or, where there is none of this name, the page of a file that `file.pdf#3` means."""
    document, page = split_page_id(path)
    state = LISTED if is_remote(path) else ""
    if page and (state or not _is_there(Path(path))):
        return Found("", document, document, page=page, state=state)
    return Found("", path, path, state=state)


def _of_folder(folder: Path, allow_symlinks: bool, left_out: LeftOut) -> Iterator[Found]:
    empty, here = True, LeftOut()
    for name in walk(folder, PAGE_SUFFIXES, allow_symlinks, here):
        empty = False
        yield Found(str(folder), name, str(folder / name), str(folder))
    left_out.update(here)
    if empty:
        known = f"known: {' '.join(sorted(PAGE_SUFFIXES))}"
        there = f" ({here.sentence()})" if here else ""
        raise InputError(f"{folder}: no page in this folder, nor below it{there}", known)


def _of_glob(pattern: str, left_out: LeftOut) -> Iterator[Found]:
    # A pattern that names a suffix means it; one that does not means pages.
    chosen, pages = PurePath(pattern).suffix, []
    for path in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207
        if os.path.isdir(path):  # noqa: PTH112
            if "**" not in pattern:
                left_out.add(FOLDER)
        elif chosen or PurePath(path).suffix.lower() in PAGE_SUFFIXES:
            pages.append(path)
        else:
            left_out.add_file(path)
    if not pages:
        raise InputError(f"{pattern}: no file matches", "'**' enters folders: 'scans/**/*.pdf'")
    return _named(pages)


def _of_table(table: Table) -> Iterator[Found]:
    """Files beside a table, or in the folder of its stem; or, as `predict` lists them, from the working folder.

    Of PDF and TIFF files only the pages that it names, by `file.pdf#3` or in a column `page`; all where it names none.
    """
    shown, named = named_pages(table, table[_path_column(table)], PAGE_COLUMN)
    pages = np.zeros(len(shown), dtype=np.int64) if named is None else named
    folder = table.path.with_suffix("") if table.path.with_suffix("").is_dir() else table.path.parent
    remote = np.array([is_remote(name) for name in shown.tolist()], bool)
    if remote.all():
        files, missing = shown, list[int]()
    elif remote.any():
        raise InputError(
            f"{table.path}: some of its files are in S3, and others are not ({row_number(int(np.argmin(remote)))})",
            "make a list of each",
        )
    else:
        files, missing = locate(shown, folder)
    here, nowhere = locate(shown[missing], Path()) if missing else (shown[:0], [])
    _refuse_ambiguous(table, shown, [missing[place] for place in nowhere], folder)
    if len(nowhere) == len(shown) and not remote.any():
        raise InputError(
            f"{table.path}: none of its {plural(len(shown), 'file', 'files')} is in {folder}, nor in the working folder "
            f"{Path.cwd()}, such as {shown[0]!r}",
            "start the command in the folder that the paths start from, or move the table there",
        )
    elsewhere = {row: str(file) for row, file in zip(missing, here, strict=True)}
    for row, (file, name, page) in enumerate(zip(files.tolist(), shown.tolist(), pages.tolist(), strict=True)):
        if remote[row]:
            place = Found("", name, name, state=LISTED)
        elif elsewhere.get(row):
            place = Found("", elsewhere[row], name)
        else:
            place = Found(str(folder), name.strip() if row in elsewhere else file, name)
        yield replace(place, page=page if is_paged(place.name) else 0)


def _refuse_ambiguous(table: Table, names: np.ndarray, rows: Sequence[int], folder: Path) -> None:
    for row, files in ambiguous(names, rows, folder).items():
        raise InputError(
            f"{table.path}: {names[row]!r} (row {row_number(row)}) can be {' or '.join(files)}",
            "write it with its suffix",
        )


def _path_column(table: Table) -> str:
    columns = list(table.columns)
    found = next((name for name in PATH_COLUMNS if name in columns), columns[0] if len(columns) == 1 else None)
    if found is None:
        wanted = ", ".join(PATH_COLUMNS)
        raise InputError(f"{table.path}: no column of paths ({wanted})", f"it has: {', '.join(columns)}")
    return found


def _listed(stream: IO[bytes]) -> Iterator[str]:
    """Paths of a list, separated by NUL if there is one at its start, else one a line; blank ones are skipped."""
    rest, separator = b"", b""
    while block := stream.read(_BLOCK):
        if not separator:
            _refuse_content(block)
        separator = separator or (b"\0" if b"\0" in block else b"\n")
        *whole, rest = (rest + block).split(separator)
        yield from _texts(whole)
    yield from _texts([rest])


def _refuse_content(start: bytes) -> None:
    """Refuse a page in the place of a list of paths.

    Raises:
        InputError: It is one.
    """
    kind = next((kind for magic, kind in _CONTENTS.items() if start.startswith(magic)), None)
    if kind is not None:
        raise InputError(
            f"standard input holds a {kind} file, and '-' reads a list of paths from it",
            "write it to a file, and name that: `docclf predict page.pdf`",
        )


def _texts(names: Iterable[bytes]) -> Iterator[str]:
    return (os.fsdecode(name.rstrip(b"\r")) for name in names if name.strip())
