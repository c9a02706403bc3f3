"""Files with one page or many: PDF and TIFF page by page, every other image as one page."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Protocol

from docclf_cli.data.images.decode import SUFFIXES, UnreadablePage, decoding, fitted, open_image, open_page
from docclf_cli.data.images.pdf import PDF_SUFFIX, PdfPages

if TYPE_CHECKING:
    import numpy as np
    from PIL import ImageFile

    from docclf_cli.data.images.preprocess import Preprocess

PAGE_SUFFIXES = SUFFIXES | {PDF_SUFFIX}
PAGED_SUFFIXES = frozenset((PDF_SUFFIX, ".tif", ".tiff"))  # files that must be opened to know how many pages they have
MAX_PAGES = 10_000  # of one file


class _Document(Protocol):
    """A file that is open, with its pages by number."""

    @property
    def pages(self) -> int: ...

    def page(self, number: int, preprocess: Preprocess) -> np.ndarray: ...

    def close(self) -> None: ...


class PageReader:
    """Reads pages of files, by the rules of `data.decode`.

    The last file stays open, because the pages of a document are asked for one after another.

    Args:
        max_pixels: Larger pages are refused.
        allow_symlinks: Follow symbolic links that leave the folder a file was found in.
    """

    def __init__(self, max_pixels: int, allow_symlinks: bool = False) -> None:
        self._max_pixels, self.allow_symlinks = max_pixels, allow_symlinks
        self._open: tuple[Path, _Document] | None = None

    def __reduce__(self) -> tuple[type[PageReader], tuple[int, bool]]:
        """A copy in another process opens files for itself."""
        return PageReader, (self._max_pixels, self.allow_symlinks)

    def count(self, path: Path, root: Path | None = None) -> int:
        """How many pages a file has; only files of `PAGED_SUFFIXES` can have more than one.

        Args:
            path: The file.
            root: The file must be below this folder, unless links are followed.

        Raises:
            UnreadablePage: The file cannot be opened, or has more than `MAX_PAGES`.
        """
        with decoding(self._max_pixels):
            pages = self._document(path, root).pages
        if pages > MAX_PAGES:
            raise UnreadablePage(f"has more than {MAX_PAGES:,} pages")
        return pages

    def read(self, path: Path, root: Path | None, number: int, preprocess: Preprocess) -> np.ndarray:
        """Page `number` (counted from 0) of a file, uint8 [size, size, 3].

        Raises:
            UnreadablePage: It cannot be read.
        """
        with decoding(self._max_pixels):
            return self._document(path, root).page(number, preprocess)

    def _document(self, path: Path, root: Path | None) -> _Document:
        if self._open is not None and self._open[0] == path:
            return self._open[1]
        self.close()
        file = open_page(path, root, self.allow_symlinks)
        try:
            document = self._opened(path, file)
        except BaseException:
            file.close()
            raise
        self._open = path, document
        return document

    def _opened(self, path: Path, file: IO[bytes]) -> _Document:
        if path.suffix.lower() == PDF_SUFFIX:
            return PdfPages(file, self._max_pixels)
        return _ImagePages(file, self._max_pixels)

    def close(self) -> None:
        """Close the file that is still open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def is_paged(name: str) -> bool:
    """Whether a file of this name can have several pages."""
    return PurePath(name).suffix.lower() in PAGED_SUFFIXES


class _ImagePages:
    """The pages of a TIFF; of every other format the one page.

    A page that is damaged is one that cannot be read; so is the place where the file breaks off. Pillow's image is
    opened anew after either: it then holds parts of two pages.
    """

    def __init__(self, file: IO[bytes], max_pixels: int) -> None:
        self._file, self._max_pixels = file, max_pixels
        self._image: ImageFile.ImageFile | None = open_image(file)

    @property
    def pages(self) -> int:
        image, self._image = self._opened(), None
        if image.format != "TIFF":
            return 1
        for number in range(1, MAX_PAGES + 1):  # step by step: `n_frames` would walk without end
            try:
                image.seek(number)
            except EOFError:
                return number
            except MemoryError:
                raise
            except Exception:  # its page is unreadable: reading it says why
                continue
        return MAX_PAGES + 1

    def page(self, number: int, preprocess: Preprocess) -> np.ndarray:
        image, self._image = self._opened(), None
        if image.format != "TIFF":  # once decoded to one size (draft), it cannot be decoded to another
            return fitted(image, preprocess, self._max_pixels)
        image.seek(number)
        page = fitted(image, preprocess, self._max_pixels)
        self._image = image
        return page

    def _opened(self) -> ImageFile.ImageFile:
        if self._image is not None:
            return self._image
        self._file.seek(0)
        return open_image(self._file)

    def close(self) -> None:
        self._file.close()
