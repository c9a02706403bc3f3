"""Where the pixels of an index come from: the cache where there is one, the files otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from docclf_cli.data.images.decode import UnreadablePage, read_page
from docclf_cli.data.loading.cache_file import CacheFile
from docclf_cli.data.loading.worker_pool import Read

if TYPE_CHECKING:
    from docclf_cli.data.images.preprocess import Preprocess
    from docclf_cli.data.index.index import DocumentIndex
    from docclf_cli.profile.schema import DataConfig


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

    def __getitem__(self, row: int) -> np.ndarray:
        """The page of a row, uint8 [size, size, 3].

        Raises:
            UnreadablePage: It cannot be read.
        """
        if self.cache is None:
            return read_page(
                self.index.path(row),
                preprocess=self.preprocess,
                max_pixels=self.config.max_pixels,
                root=self.index.root,
                allow_symlinks=self.config.allow_symlinks,
            )
        if reason := self.cache.reason(row):
            raise UnreadablePage(reason)
        return self.cache[row]
