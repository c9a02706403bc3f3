"""A memory-saving list of millions of input files: each path once, as bytes, in the order of the input."""

from __future__ import annotations

import copy
import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.index.file_pages import files_together, pages_per_file
from docclf_cli.page_ids import is_paged

PAGES_ASSUMED = 8  # of a PDF or TIFF that was not opened yet


@dataclass(frozen=True)
class Found:
    """A file that was named as input.

    Attributes:
        folder: What `name` is relative to; empty where it stands for itself.
        name: The file.
        shown: Its name in tables.
        root: Folder that the file may not leave; empty where the user named the file itself.
        page: The only page that is meant, counted from 1; 0 for all.
        state: Of an object in a store: changes when its content does.
    """

    folder: str
    name: str
    shown: str
    root: str = ""
    page: int = 0
    state: str = ""


class _Texts:
    """A list of many short texts in one byte buffer."""

    def __init__(self) -> None:
        self._bytes, self._ends = bytearray(), array("q", [0])

    def append(self, text: str) -> None:
        self._bytes += os.fsencode(text)
        self._ends.append(len(self._bytes))

    def __getitem__(self, row: int) -> str:
        return os.fsdecode(bytes(self._bytes[self._ends[row] : self._ends[row + 1]]))

    def __len__(self) -> int:
        return len(self._ends) - 1


class FileList:
    """Files in the order of the input, each once; or pages of files, those of a file one after another.

    Args:
        found: The files; files and pages named again are dropped, and `repeated` counts them.
    """

    def __init__(self, found: Iterable[Found]) -> None:
        self._place, self._pages, self._names, self._shown = array("i"), array("i"), _Texts(), _Texts()
        places: dict[tuple[str, str], int] = {}
        hashes, digest = array("q"), hashlib.sha256()
        for file in found:
            path = _path(file)
            self._place.append(places.setdefault((file.folder, file.root), len(places)))
            self._pages.append(file.page)
            self._names.append(file.name)
            self._shown.append("" if file.shown == _usual(file) else file.shown)
            hashes.append(hash((path, file.page)))
            named = f"{file.shown}\0{file.page}" if file.page else file.shown
            digest.update(f"{path}\0{named}\0{file.state or _state(path)}\0".encode("utf-8", "surrogateescape"))
        self._places = tuple(places)
        self._hexdigest = digest.hexdigest()
        self._rows = np.arange(len(self._names))
        again = self._named_again(np.frombuffer(hashes, np.int64))
        self.repeated = len(again)
        if len(again):
            self._rows = np.delete(self._rows, again)
        if any(self._pages):
            self._rows = self._rows[files_together([_path(self[row]) for row in range(len(self))])]

    def _named_again(self, hashes: np.ndarray) -> np.ndarray:
        # By sorted hashes, which takes a tenth of the memory of a set; equal hashes are only a suspicion.
        order = np.argsort(hashes, kind="stable")
        equal = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        pairs = zip(order[equal].tolist(), order[equal + 1].tolist(), strict=True)
        return np.array([later for earlier, later in pairs if _page(self[earlier]) == _page(self[later])], np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Found:
        at = int(self._rows[row])
        folder, root = self._places[self._place[at]]
        file = Found(folder, self._names[at], self._shown[at], root, self._pages[at])
        return file if file.shown else replace(file, shown=_usual(file))

    def first_page(self, row: int) -> int:
        """The first page of the file that is meant, counted from 0."""
        return max(0, self._pages[int(self._rows[row])] - 1)

    def path(self, row: int) -> tuple[Path, Path | None]:
        """The file, and the folder that it may not leave."""
        file = self[row]
        return Path(file.folder, file.name), Path(file.root) if file.root else None

    def first_of_document(self) -> Iterator[bool]:
        """Whether each is another file than the one before it."""
        before: tuple[int, str] | None = None
        for at in self._rows.tolist():
            here = (self._place[at], self._names[at]) if self._pages[at] else None  # only pages can share a file
            yield here is None or here != before
            before = here

    def blocks(self, size: int) -> np.ndarray:
        """Row at which each block of about `size` pages begins, and last the number of rows, int64 [blocks + 1].

        Documents stay whole. Blocks are a function of the names alone, so no file is opened to find them: one that can
        have several pages counts as `PAGES_ASSUMED`.
        """
        starts, pages = [0], 0
        for row, is_first in enumerate(self.first_of_document()):
            if is_first and pages >= size:
                starts.append(row)
                pages = 0
            at = int(self._rows[row])
            pages += PAGES_ASSUMED if is_paged(self._names[at]) and not self._pages[at] else 1
        return np.array([*starts[: len(self)], len(self)], np.int64)

    def share(self, start: int, stop: int) -> FileList:
        """The files of some rows; the fingerprint stays that of the whole list."""
        found = copy.copy(self)
        found._rows, found.repeated = self._rows[start:stop], 0
        return found

    def fingerprint(self) -> str:
        """SHA-256 of the paths in their order, the sizes and the modification times."""
        return self._hexdigest


def _path(file: Found) -> str:
    return os.path.normpath(_usual(file))


def _page(file: Found) -> tuple[str, int]:
    return _path(file), file.page


def _usual(file: Found) -> str:
    return os.path.join(file.folder, file.name)  # noqa: PTH118  (of millions, pathlib takes five times as long)


def _state(path: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


@dataclass(frozen=True, eq=False)
class PageList:
    """The pages of a list of files, numbered file by file.

    Attributes:
        files: The files, or pages of files.
        counts: int32 [files]: pages of each; 0 where a file could not be opened; it takes one number as well.
        starts: int64 [files + 1]: number of each file's first page.
        first_of_document: bool [files]: False for a page of the file before it in the list.
    """

    files: FileList
    counts: np.ndarray
    starts: np.ndarray
    first_of_document: np.ndarray

    @classmethod
    def of(cls, files: FileList, counts: np.ndarray) -> PageList:
        """Build the list from the page counts of the files."""
        starts = np.concatenate([[0], np.cumsum(np.maximum(counts, 1), dtype=np.int64)])
        return cls(files, counts, starts, np.fromiter(files.first_of_document(), bool, len(files)))

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def has_documents(self) -> bool:
        """Whether any file has several of the pages."""
        return bool((self.counts > 1).any()) or not self.first_of_document.all()

    def place(self, number: int) -> tuple[int, int]:
        """Row in the list, and page in the file (both counted from 0) of a number."""
        row = int(np.searchsorted(self.starts, number, side="right")) - 1
        return row, number - int(self.starts[row]) + self.files.first_page(row)


def listed_pages(files: FileList, reader: PageReader, pages: str | int) -> PageList:
    """The pages of a list of files, by `data.pages`; files that can have several are opened."""

    def count(row: int) -> int:
        if files[row].page or not is_paged(files[row].name):
            return 1
        try:
            return pages_per_file(pages, reader.count(*files.path(row)))
        except UnreadablePage:
            return 0

    return PageList.of(files, np.array([count(row) for row in range(len(files))], np.int32))
