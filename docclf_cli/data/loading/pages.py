"""Where the pixels of an index come from: the cache where there is one, the files otherwise."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from docclf_cli.data.images.decode import UnreadablePage, read_page
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.loading.cache_file import CacheFile
from docclf_cli.data.loading.worker_pool import Read
from docclf_cli.page_ids import is_paged

if TYPE_CHECKING:
    from docclf_cli.data.images.preprocess import Preprocess
    from docclf_cli.data.index.file_list import FileList, PageList
    from docclf_cli.data.index.index import DocumentIndex
    from docclf_cli.profile.schema import DataConfig


PLAIN = "plain"  # the view that changes nothing


class NamedView(Protocol):
    """A way to look at pages; equal names mean equal pixels. `quick` ones take next to no time beside a forward pass."""

    quick: ClassVar[bool]

    @property
    def name(self) -> str:
        """Part of the fingerprint of predictions, and of the key of stored pages."""
        ...

    def __call__(self, page: np.ndarray, row: int) -> np.ndarray:
        """The page of a row as the model is to see it, uint8 [size, size, 3] in and out."""
        ...


@dataclass(frozen=True)
class PlainView:
    """The page as it is."""

    quick: ClassVar = True
    name: str = PLAIN

    def __call__(self, page: np.ndarray, row: int) -> np.ndarray:
        """The page itself."""
        return page


AS_IT_IS = PlainView()


class PageSource(Protocol):
    """Pages by number, all of one preprocessing."""

    @property
    def cached(self) -> bool:
        """Whether pages come from the page cache, so that reading one costs next to nothing."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> np.ndarray:
        """A page, uint8 [size, size, 3].

        Raises:
            UnreadablePage: It cannot be read.
        """
        ...


@dataclass(eq=False)
class PageCache:
    """Resized pages by row of an index.

    Attributes:
        cache_file: Where they are stored.
        slots: Slot of each row, int64 [n]; -1 for a row that is not here.
        read: How the page of a row is read again, should its stored pixels be damaged.
    """

    cache_file: CacheFile
    slots: np.ndarray
    read: Read

    def __post_init__(self) -> None:
        self._checked = np.zeros(len(self.slots), dtype=bool)

    def __len__(self) -> int:
        return len(self.slots)

    def checksums(self) -> np.ndarray:
        """CRC-32 of the pixels of each row, uint32 [n]; 0 where a page cannot be read."""
        return self.cache_file.checksums[self.slots]

    def reason(self, row: int) -> str:
        """Why the page of a row cannot be read; empty for one that can."""
        return self.cache_file.unreadable.get(int(self.slots[row]), "")

    def __getitem__(self, row: int) -> np.ndarray:
        """The page of a row, uint8 [size, size, 3]: the pixels that reading its file gives.

        Raises:
            UnreadablePage: It cannot be read.
        """
        if reason := self.reason(row):
            raise UnreadablePage(reason)
        slot = int(self.slots[row])
        page = self.cache_file.page(slot)
        if not self._checked[row]:
            if not self.cache_file.intact(slot, page):
                return self.read(row)
            self._checked[row] = True
        return page


@dataclass(frozen=True)
class Pages:
    """Resized pages by row of the index; with and without a cache the same pixels."""

    index: DocumentIndex
    preprocess: Preprocess
    config: DataConfig
    cache: PageCache | None = None

    @functools.cached_property
    def reader(self) -> PageReader:
        """What reads PDF and TIFF files."""
        return PageReader(self.config.max_pixels, self.config.allow_symlinks)

    @property
    def cached(self) -> bool:
        """Whether there is a page cache."""
        return self.cache is not None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> np.ndarray:
        """The page of a row, uint8 [size, size, 3].

        Raises:
            UnreadablePage: It cannot be read.
        """
        if self.cache is None:
            path = self.index.path(row)
            if is_paged(path.name):
                return self.reader.read(path, self.index.root, self.index.page(row), self.preprocess)
            return read_page(
                path,
                preprocess=self.preprocess,
                max_pixels=self.config.max_pixels,
                root=self.index.root,
                allow_symlinks=self.config.allow_symlinks,
            )
        if reason := self.cache.reason(row):
            raise UnreadablePage(reason)
        return self.cache[row]


@dataclass(frozen=True)
class FilePages:
    """Pages of a list of files by number, decoded each time; a PDF or TIFF has several."""

    pages: PageList
    reader: PageReader
    preprocess: Preprocess
    cached: ClassVar = False

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, number: int) -> np.ndarray:
        """A page, uint8 [size, size, 3].

        Raises:
            UnreadablePage: It cannot be read.
        """
        row, page = self.pages.place(number)
        path, root = self.pages.files.path(row)
        if not self.pages.counts[row]:
            self.reader.count(path, root)  # says again why it cannot be opened
            raise UnreadablePage("was changed while it was read")
        return self.reader.read(path, root, page, self.preprocess)


@dataclass(frozen=True)
class PageCounts:
    """(row, pages) of each file of a list; 0 pages where it cannot be opened."""

    files: FileList
    reader: PageReader

    def __getitem__(self, row: int) -> tuple[int, int]:
        try:
            return row, self.reader.count(*self.files.path(row))
        except UnreadablePage:
            return row, 0
