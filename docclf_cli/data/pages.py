"""Where the pixels of an index come from: the cache where there is one, the files otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from docclf_cli.data.decode import UnreadablePage, read_page

if TYPE_CHECKING:
    import numpy as np

    from docclf_cli.data.cache import PageCache
    from docclf_cli.data.index import DocumentIndex
    from docclf_cli.data.preprocess import Preprocess
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
