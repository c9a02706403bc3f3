"""What a user names as input: files, folders, globs, CSV lists, a list on stdin, or a split of a data root."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import IO

import numpy as np

from docclf_cli.data.documents import DocumentIndex
from docclf_cli.data.file_list import Found
from docclf_cli.data.folders import locate, walk
from docclf_cli.data.page_files import PAGE_SUFFIXES
from docclf_cli.data.pdf import PDF_SUFFIX, require_pdf_support
from docclf_cli.data.tables import Table, read_table
from docclf_cli.errors import InputError

STDIN = "-"
PATH_COLUMNS = ("path", "file", "ID")  # of a CSV list; the first of them that it has
_BLOCK = 1 << 16


def find(inputs: Sequence[str], stdin: IO[bytes], allow_symlinks: bool = False) -> Iterator[Found]:
    """The files that inputs name, in their order; folders are walked by name, all the way down.

    Args:
        inputs: Files, folders, globs (`**` enters folders), CSV files with a column of paths, or `-`.
        stdin: Where `-` reads its list from: one path a line, or separated by NUL.
        allow_symlinks: Follow symbolic links that leave a folder.

    Raises:
        InputError: An input names nothing, or a CSV has no column of paths.
    """
    for text in inputs:
        for file in _found(text, stdin, allow_symlinks):
            if file.name.lower().endswith(PDF_SUFFIX):
                require_pdf_support(file.shown)
            yield file


def of_index(index: DocumentIndex) -> Iterator[Found]:
    """The pages of a data root, under their IDs."""
    folder, root = str(index.root / index.below), str(index.root)
    for name, shown in zip(index.paths, index.ids, strict=True):
        yield Found(folder, str(name), str(shown), root)


def _found(text: str, stdin: IO[bytes], allow_symlinks: bool) -> Iterable[Found]:
    if text == STDIN:
        return _named(_listed(stdin))
    path = Path(text).expanduser()
    if path.is_dir():
        return _of_folder(path, allow_symlinks)
    if path.suffix.lower() == ".csv" and path.is_file():
        return _of_table(read_table(path))
    if os.path.lexists(path):
        return _named([str(path)])
    if glob.has_magic(text):
        return _of_glob(str(path))
    raise InputError(f"{text}: there is no such file or folder", "name files, folders, globs in quotes, a CSV, or -")


def _named(paths: Iterable[str]) -> Iterator[Found]:
    return (Found("", path, path) for path in paths)


def _of_folder(folder: Path, allow_symlinks: bool) -> Iterator[Found]:
    empty = True
    for name in walk(folder, PAGE_SUFFIXES, allow_symlinks):
        empty = False
        yield Found(str(folder), name, str(folder / name), str(folder))
    if empty:
        raise InputError(f"{folder}: no page in this folder, nor below it", f"known: {' '.join(sorted(PAGE_SUFFIXES))}")


def _of_glob(pattern: str) -> Iterator[Found]:
    # A pattern that names a suffix means it; one that does not means pages.
    chosen = PurePath(pattern).suffix
    matches = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())  # noqa: PTH207
    pages = [path for path in matches if chosen or PurePath(path).suffix.lower() in PAGE_SUFFIXES]
    if not pages:
        raise InputError(f"{pattern}: no file matches", "'**' enters folders: 'scans/**/*.pdf'")
    return _named(pages)


def _of_table(table: Table) -> Iterator[Found]:
    names = table[_path_column(table)]
    folder = table.path.with_suffix("") if table.path.with_suffix("").is_dir() else table.path.parent
    files, missing = locate(names, folder)
    files[missing] = names[missing]
    for file, name in zip(_trimmed(files), names, strict=True):
        yield Found(str(folder), file, str(name))


def _path_column(table: Table) -> str:
    columns = list(table.columns)
    found = next((name for name in PATH_COLUMNS if name in columns), columns[0] if len(columns) == 1 else None)
    if found is None:
        wanted = ", ".join(PATH_COLUMNS)
        raise InputError(f"{table.path}: no column of paths ({wanted})", f"it has: {', '.join(columns)}")
    return found


def _trimmed(files: np.ndarray) -> Iterator[str]:
    return (str(file).strip() for file in files)


def _listed(stream: IO[bytes]) -> Iterator[str]:
    """Paths of a list, separated by NUL if there is one at its start, else one a line; blank ones are skipped."""
    rest, separator = b"", b""
    while block := stream.read(_BLOCK):
        separator = separator or (b"\0" if b"\0" in block else b"\n")
        *whole, rest = (rest + block).split(separator)
        yield from _texts(whole)
    yield from _texts([rest])


def _texts(names: Iterable[bytes]) -> Iterator[str]:
    return (os.fsdecode(name.rstrip(b"\r")) for name in names if name.strip())
