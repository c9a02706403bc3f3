"""Files with one page or many: PDF and TIFF page by page, every other image as one page."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import io
import logging
import math
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar

from docclf_cli.data.images.decode import (
    DRAFT_GAP,
    SUFFIXES,
    UnreadablePage,
    check_pixels,
    decoding,
    fitted,
    open_image,
    open_page,
    target_size,
    whole,
)
from docclf_cli.data.images.pdf_repair import MAX_BYTES, TAIL, RepairedPdf, is_cut_off, repair_pdf
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.images.remote import RemoteFiles, uri_of
from docclf_cli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from PIL import Image, ImageFile

    Fit = Callable[[Image.Image, Preprocess, int], np.ndarray]

PDF_SUFFIX = ".pdf"
PAGE_SUFFIXES = SUFFIXES | {PDF_SUFFIX}
MAX_PAGES = 10_000  # of one file
# pdfium keeps what it has read of a document: 0.2 MB a page, so that 2,000 pages took 0.4 GB more in each process.
PAGES_UNTIL_OPENED_AGAIN = 100
TOO_MANY = f"has more than {MAX_PAGES:,} pages"
T = TypeVar("T")


class Document(Protocol):
    """A file that is open, with its pages by number."""

    @property
    def pages(self) -> int:
        """Number of pages."""
        ...

    def page(self, number: int, preprocess: Preprocess, fit: Fit) -> np.ndarray:
        """A page (counted from 0) as `fit` makes it, uint8 [height, width, 3]."""
        ...

    def size(self, number: int) -> tuple[float, float]:
        """Width and height of a page (counted from 0), in points or pixels."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class PageReader:
    """Reads pages of files, by the rules of `data.images.decode`.

    The last file stays open, because the pages of a document are asked for one after another. A forked process opens its
    own: it would share the position in the file with its parent.

    Args:
        max_pixels: Larger pages are refused.
        allow_symlinks: Follow symbolic links that leave the folder a file was found in.
        remote: Fetches files that lie in an object store; None where there are none.
    """

    def __init__(self, max_pixels: int, allow_symlinks: bool = False, remote: RemoteFiles | None = None) -> None:
        self._max_pixels, self.allow_symlinks, self.remote = max_pixels, allow_symlinks, remote
        self._open: tuple[Path | bytes, Document] | None = None
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type[PageReader], tuple[int, bool, RemoteFiles | None]]:
        """Pickle without open files: a copy in another process opens its own."""
        return PageReader, (self._max_pixels, self.allow_symlinks, self.remote)

    def count(self, path: Path, root: Path | None = None) -> int:
        """Number of pages of a file; only those of which `is_paged` is true can have more than one.

        Args:
            path: The file.
            root: The file must be below this folder, unless links are followed.

        Raises:
            UnreadablePage: The file cannot be opened, or has more than `MAX_PAGES`.
        """
        with decoding(self._max_pixels):
            pages = self._document(path, root).pages
        if pages > MAX_PAGES:
            raise UnreadablePage(TOO_MANY)
        return pages

    def read(self, path: Path, root: Path | None, number: int, preprocess: Preprocess) -> np.ndarray:
        """Page `number` (counted from 0) of a file, uint8 [size, size, 3].

        Raises:
            UnreadablePage: It cannot be read.
        """
        with decoding(self._max_pixels):
            return self._document(path, root).page(number, preprocess, fitted)

    def count_content(self, content: bytes) -> int:
        """Number of pages of a file that is in memory; as `count`."""
        with decoding(self._max_pixels):
            pages = self._document_of(content).pages
        if pages > MAX_PAGES:
            raise UnreadablePage(TOO_MANY)
        return pages

    def read_content(self, content: bytes, number: int, preprocess: Preprocess) -> np.ndarray:
        """Page `number` (counted from 0) of a file that is in memory; as `read`."""
        with decoding(self._max_pixels):
            return self._document_of(content).page(number, preprocess, fitted)

    def picture(self, source: Path | bytes, root: Path | None, number: int, longest: int) -> np.ndarray:
        """The whole of a page for people to look at, uint8 [height, width, 3].

        Args:
            source: The file, or its content.
            root: The file must be below this folder, unless links are followed.
            number: Of the page, counted from 0.
            longest: Its longer side in pixels, at most.

        Raises:
            UnreadablePage: It cannot be read.
        """
        with decoding(self._max_pixels):
            return self._document_from(source, root).page(number, Preprocess(longest), whole)

    def size(self, path: Path, root: Path | None, number: int) -> tuple[float, float]:
        """Width and height of page `number` (counted from 0) of a file: of a PDF in points, else in pixels.

        Raises:
            UnreadablePage: It cannot be read, or has no area.
        """
        with decoding(self._max_pixels):
            width, height = self._document(path, root).size(number)
        if not (0 < width < math.inf and 0 < height < math.inf):
            raise UnreadablePage("a page without area")
        return width, height

    def from_pdf_page(self, source: Path | bytes, root: Path | None, number: int, read: Callable[[Any], str]) -> str:
        """What `read` makes of a page (`pypdfium2.PdfPage`, counted from 0); empty for files that are no PDF.

        Raises:
            UnreadablePage: The page cannot be loaded.
        """
        with decoding(self._max_pixels):
            document = self._document_from(source, root)
            return document.with_page(number, read) if isinstance(document, PdfPages) else ""

    def _document_from(self, source: Path | bytes, root: Path | None) -> Document:
        return self._document_of(source) if isinstance(source, bytes) else self._document(source, root)

    def _document(self, path: Path, root: Path | None) -> Document:
        if (document := self._still_open(path)) is not None:
            return document
        is_pdf = path.suffix.lower() == PDF_SUFFIX
        return self._opened(path, open_anywhere(path, root, self.allow_symlinks, self.remote), is_pdf)

    def _document_of(self, content: bytes) -> Document:
        document = self._still_open(content)
        return self._opened(content, io.BytesIO(content), None) if document is None else document

    def _still_open(self, source: Path | bytes) -> Document | None:
        if self._process != os.getpid():
            self._open, self._process = None, os.getpid()
        return self._open[1] if self._open is not None and self._open[0] == source else None

    def _opened(self, source: Path | bytes, file: IO[bytes], is_pdf: bool | None) -> Document:
        self.close()
        try:
            document = open_document(file, self._max_pixels, is_pdf)
        except BaseException:
            file.close()
            raise
        self._open = source, document
        return document

    def close(self) -> None:
        """Close the file that is still open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def open_anywhere(path: Path, root: Path | None, allow_symlinks: bool, remote: RemoteFiles | None) -> IO[bytes]:
    """Open a file of this machine (`open_page`), or an object of a store.

    Raises:
        UnreadablePage: There is no such file or object, or it may not be opened.
        RemoteError: The store refuses or cannot be reached.
    """
    uri = None if remote is None else uri_of(path)
    return open_page(path, root, allow_symlinks) if remote is None or uri is None else remote.open(uri)


def open_document(file: IO[bytes], max_pixels: int, is_pdf: bool | None = None) -> Document:
    """Open a file with its pages; inside `decoding`.

    Args:
        file: Seekable; it is closed with the document.
        max_pixels: Larger pages are refused.
        is_pdf: Whether it is a PDF; None where its first bytes are to say so.

    Raises:
        UnreadablePage: It is encrypted, damaged, or of no known format.
    """
    if is_pdf is None:
        is_pdf = file.read(1024).lstrip().startswith(b"%PDF")
        file.seek(0)
    return PdfPages(file, max_pixels) if is_pdf else _ImagePages(file, max_pixels)


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

    def page(self, number: int, preprocess: Preprocess, fit: Fit) -> np.ndarray:
        image, self._image = self._opened(), None
        if image.format != "TIFF":  # once decoded to one size (draft), it cannot be decoded to another
            return fit(image, preprocess, self._max_pixels)
        image.seek(number)
        page = fit(image, preprocess, self._max_pixels)
        self._image = image
        return page

    def size(self, number: int) -> tuple[float, float]:
        image, self._image = self._opened(), None
        if image.format == "TIFF":
            image.seek(number)
        self._image = image
        return image.size[::-1] if image.getexif().get(0x0112) in (5, 6, 7, 8) else image.size

    def _opened(self) -> ImageFile.ImageFile:
        if self._image is not None:
            return self._image
        self._file.seek(0)
        return open_image(self._file)

    def close(self) -> None:
        self._file.close()


def require_pdf_support(path: str) -> None:
    """Raise an `InputError` that says what to install where PDFs cannot be read.

    Raises:
        InputError: The package that renders PDFs is not installed.
    """
    if importlib.util.find_spec("pypdfium2") is None:
        raise InputError(f"{path}: PDF files need the package pypdfium2", "pip install 'docclf[pdf]'")


@functools.cache
def pdf_renderer() -> str:
    """What renders PDFs here, with its version: another one may draw the same page otherwise."""
    return f"pypdfium2 {importlib.metadata.version('pypdfium2')}, repairs 1"


class PdfPages:
    """The pages of an open PDF; filled-in form fields and annotations are drawn, scripts are never run.

    Of a file whose end is missing, the pages that are whole are read, and the others are unreadable (`pdf_repair`).

    Args:
        file: The PDF, seekable; closed with the document.
        max_pixels: Pages that would be larger are refused.

    Raises:
        UnreadablePage: It is encrypted, damaged, or no PDF.
    """

    def __init__(self, file: IO[bytes], max_pixels: int) -> None:
        import pypdfium2

        # It warns of each form that is also in XFA; its AcroForm is drawn.
        logging.getLogger("pypdfium2").setLevel(logging.ERROR)
        self._file, self._max_pixels = file, max_pixels
        self._whole: tuple[int | None, ...] | None = None  # where each page is in the repaired file
        self._content: IO[bytes] | bytes = file
        self._loaded = 0  # pages since it was opened
        try:
            self._pdf = pypdfium2.PdfDocument(file)
        except pypdfium2.PdfiumError as error:
            reason = _reason(str(error))
            if reason != _DAMAGED or (repaired := _repaired(file)) is None:
                raise UnreadablePage(reason) from error
            self._content, self._whole = repaired.content, repaired.pages
            self._pdf = pypdfium2.PdfDocument(repaired.content)
        else:
            # pdfium opens some of them all the same, and draws the pages whose content is gone as blank ones.
            if (repaired := _repaired(file)) is not None and len(repaired.pages) == len(self._pdf):
                self._content, self._whole = repaired.content, repaired.pages
                self._pdf.close()
                self._pdf = pypdfium2.PdfDocument(repaired.content)
        self._pdf.init_forms()

    @property
    def pages(self) -> int:
        """Number of pages."""
        return len(self._pdf) if self._whole is None else len(self._whole)

    def page(self, number: int, preprocess: Preprocess, fit: Fit = fitted) -> np.ndarray:
        """Render one page, uint8 [size, size, 3] unless `fit` makes something else of it.

        Raises:
            UnreadablePage: It has no area, is too large, or cannot be drawn.
        """

        def render(page: Any) -> np.ndarray:
            width, height = page.get_size()
            bitmap = page.render(scale=self._scale(width, height, preprocess), rev_byteorder=True)
            return fit(bitmap.to_pil(), preprocess, self._max_pixels)

        return self.with_page(number, render)

    def size(self, number: int) -> tuple[float, float]:
        """Width and height of a page in points, its rotation applied.

        Raises:
            UnreadablePage: It cannot be loaded.
        """
        width, height = self.with_page(number, lambda page: page.get_size())
        return width, height

    def with_page(self, number: int, use: Callable[[Any], T]) -> T:
        """What `use` makes of a page (`pypdfium2.PdfPage`).

        Raises:
            UnreadablePage: The page cannot be loaded.
        """
        import pypdfium2

        if self._whole is not None:
            if (place := self._whole[number]) is None:
                raise UnreadablePage("damaged: the PDF breaks off before the end of this page")
            number = place
        if self._loaded >= PAGES_UNTIL_OPENED_AGAIN:
            self._open_again()
        self._loaded += 1
        try:
            page = self._pdf[number]
        except pypdfium2.PdfiumError as error:
            raise UnreadablePage(f"damaged: page {number + 1} of the PDF cannot be loaded") from error
        try:
            return use(page)
        finally:
            page.close()

    def _open_again(self) -> None:
        """Let go of what pdfium keeps of the pages so far; where the file cannot be opened any more, nothing happens."""
        import pypdfium2

        try:
            again = pypdfium2.PdfDocument(self._content)
        except pypdfium2.PdfiumError:
            return
        again.init_forms()
        self._pdf.close()
        self._pdf, self._loaded = again, 0

    def _scale(self, width: float, height: float, preprocess: Preprocess) -> float:
        """Pixels per point: as many as the antialiasing filter can use."""
        if not (0 < width < math.inf and 0 < height < math.inf):
            raise UnreadablePage("a page without area")
        across, down = target_size(width, height, preprocess)
        scale = DRAFT_GAP * max(across / width, down / height)
        check_pixels(math.ceil(width * scale), math.ceil(height * scale), self._max_pixels)
        return scale

    def close(self) -> None:
        """Close the document and its file."""
        self._pdf.close()
        self._file.close()


_DAMAGED = "damaged, or not a PDF"


def _repaired(file: IO[bytes]) -> RepairedPdf | None:
    """A PDF whose end is missing with a new one; None where it is not missing, or nothing is to be saved."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL))
    if size > MAX_BYTES or not is_cut_off(file.read()):
        return None
    file.seek(0)
    return repair_pdf(file.read())


def _reason(error: str) -> str:
    if "password" in error.lower():
        return "an encrypted PDF: it opens only with a password"
    if "security" in error.lower():
        return "a PDF with an encryption that is not known"
    return _DAMAGED
