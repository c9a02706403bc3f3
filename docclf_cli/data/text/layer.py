"""The text layer of a PDF page: what a reader of the page could see of it, in the order of the file."""

from __future__ import annotations

import ctypes
from typing import Any

from docclf_cli.data.text.page_text import MAX_CHARACTERS

SMALLEST_FONT = 1.0  # points; smaller text cannot be read by people
MOST_OBJECTS = 20_000  # of a page; the text of pages with more is taken as it is
COVERED = 0.5  # share of the page that images must cover where all of its text is invisible (the OCR of a scanner)


def layer_of(page: Any) -> str:
    """The raw text of an open page (`pypdfium2.PdfPage`); empty where it has none.

    Text outside the page's box is left out, and so is invisible text, unless all of it is invisible and lies over an image:
    scanners write what their OCR reads so. White text on white and text below an image cannot be told.
    """
    import pypdfium2

    try:
        text_page = page.get_textpage()
    except pypdfium2.PdfiumError:
        return ""
    try:
        # Cut here already: a page may hold megabytes of text.
        if _may_be_hidden(page):
            return _seen_of(page, text_page)
        return str(text_page.get_text_bounded())[: 2 * MAX_CHARACTERS]
    finally:
        text_page.close()


def _may_be_hidden(page: Any) -> bool:
    """Whether any text object of a page is invisible or too small to read."""
    import pypdfium2.raw as pdfium

    size = ctypes.c_float()
    for number, item in enumerate(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_TEXT])):
        if number == MOST_OBJECTS:
            return False
        if _is_invisible(item.raw):
            return True
        if pdfium.FPDFTextObj_GetFontSize(item.raw, size) and _height(item.raw, size.value) < SMALLEST_FONT:
            return True
    return False


def _is_invisible(text_object: Any) -> bool:
    import pypdfium2.raw as pdfium

    return bool(pdfium.FPDFTextObj_GetTextRenderMode(text_object) == pdfium.FPDF_TEXTRENDERMODE_INVISIBLE)


def _height(text_object: Any, font_size: float) -> float:
    """Height of the letters of a text object in points: its font size, scaled by its matrix."""
    import pypdfium2.raw as pdfium

    matrix = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(text_object, matrix):
        return font_size
    return float(font_size * max(abs(matrix.c), abs(matrix.d)))


def _seen_of(page: Any, text_page: Any) -> str:
    """The text of a page without what is hidden, letter by letter."""
    import pypdfium2.raw as pdfium

    letters: list[str] = []
    hidden_letters: list[str] = []
    left, bottom, right, top = page.get_bbox()
    x, y = ctypes.c_double(), ctypes.c_double()
    hidden: dict[int, tuple[bool, bool]] = {}  # by text object: invisible, too small
    count = min(pdfium.FPDFText_CountChars(text_page), 4 * MAX_CHARACTERS)
    for number in range(count):
        letter = chr(pdfium.FPDFText_GetUnicode(text_page, number))
        item = pdfium.FPDFText_GetTextObject(text_page, number)
        if not item:  # a space or line end that pdfium puts in
            letters.append(letter)
            hidden_letters.append(letter)
            continue
        pdfium.FPDFText_GetCharOrigin(text_page, number, x, y)
        if not (left <= x.value <= right and bottom <= y.value <= top):
            continue
        address = ctypes.addressof(item.contents)
        if address not in hidden:
            size = pdfium.FPDFText_GetFontSize(text_page, number)
            hidden[address] = (_is_invisible(item), _height(item, size) < SMALLEST_FONT)
        invisible, small = hidden[address]
        if not small:
            (hidden_letters if invisible else letters).append(letter)
    seen = "".join(letters)
    if seen.strip() or not _covered_by_images(page):
        return seen
    return "".join(hidden_letters)


def _covered_by_images(page: Any) -> bool:
    import pypdfium2.raw as pdfium

    left, bottom, right, top = page.get_bbox()
    area = 0.0
    for number, item in enumerate(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE])):
        if number == MOST_OBJECTS:
            break
        x0, y0, x1, y1 = item.get_bounds()
        area += max(0.0, min(x1, right) - max(x0, left)) * max(0.0, min(y1, top) - max(y0, bottom))
    return area >= COVERED * (right - left) * (top - bottom)
