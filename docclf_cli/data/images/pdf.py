"""Pages of PDF files, rendered no larger than the model needs them (PDFium, by the extra `pdf`)."""

from __future__ import annotations

import importlib.util
import math
from typing import IO, TYPE_CHECKING

from docclf_cli.data.images.decode import DRAFT_GAP, UnreadablePage, check_pixels, fitted, target_size
from docclf_cli.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from docclf_cli.data.images.preprocess import Preprocess

PDF_SUFFIX = ".pdf"


def require_pdf_support(path: str) -> None:
    """Say what to install before the first PDF is met.

    Raises:
        InputError: The package that renders PDFs is not installed.
    """
    if importlib.util.find_spec("pypdfium2") is None:
        raise InputError(f"{path}: PDF files need the package pypdfium2", "pip install 'docclf[pdf]'")


class PdfPages:
    """The pages of an open PDF; filled-in form fields and annotations are drawn, scripts are never run.

    Args:
        file: The PDF, seekable; closed with the document.
        max_pixels: Pages that would be larger are refused.

    Raises:
        UnreadablePage: It is encrypted, damaged, or no PDF.
    """

    def __init__(self, file: IO[bytes], max_pixels: int) -> None:
        import pypdfium2

        self._file, self._max_pixels = file, max_pixels
        try:
            self._pdf = pypdfium2.PdfDocument(file)
        except pypdfium2.PdfiumError as error:
            raise UnreadablePage(_reason(str(error))) from error
        self._pdf.init_forms()

    @property
    def pages(self) -> int:
        """How many there are."""
        return len(self._pdf)

    def page(self, number: int, preprocess: Preprocess) -> np.ndarray:
        """One page, uint8 [size, size, 3].

        Raises:
            UnreadablePage: It has no area, is too large, or cannot be drawn.
        """
        import pypdfium2

        try:
            page = self._pdf[number]
        except pypdfium2.PdfiumError as error:
            raise UnreadablePage(f"damaged: page {number + 1} of the PDF cannot be loaded") from error
        try:
            width, height = page.get_size()
            bitmap = page.render(scale=self._scale(width, height, preprocess), rev_byteorder=True)
            return fitted(bitmap.to_pil(), preprocess, self._max_pixels)
        finally:
            page.close()

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


def _reason(error: str) -> str:
    if "password" in error.lower():
        return "an encrypted PDF: it opens only with a password"
    if "security" in error.lower():
        return "a PDF with an encryption that is not known"
    return "damaged, or not a PDF"
