"""Reads the text of a page: the PDF's own layer where there is one, else OCR."""

from __future__ import annotations

from pathlib import Path

from docclf_cli.data.images.decode import UnreadablePage, whole
from docclf_cli.data.images.page_files import Document, PageReader, PdfPages
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.text.layer import layer_of
from docclf_cli.data.text.ocr import LONGEST, SECONDS, ocr_engine, require_ocr
from docclf_cli.data.text.page_text import LAYER, NO_TEXT, PageText, TextMode, cleaned

MAX_PIXELS = 100_000_000  # the default of `data.max_pixels`


def page_text(
    source: Path | bytes,
    page: int = 0,
    mode: TextMode = "auto",
    *,
    reader: PageReader | None = None,
    root: Path | None = None,
    seconds: float = SECONDS,
) -> PageText:
    """The text of a page of a file.

    Args:
        source: A PDF, TIFF or image, or its content.
        page: Its number in the file, counted from 0.
        mode: `off`: none. `layer`: that of the PDF. `ocr`: also OCR where there is no layer. `auto`: the same where an OCR
            engine is installed.
        reader: Keeps the file open for its next page.
        root: The file must be below this folder, unless the reader follows links.
        seconds: OCR of a page that takes longer is given up.

    Returns:
        An empty text where the page has none, or cannot be read.

    Raises:
        InputError: Mode `ocr`, and no engine is installed.
    """
    if mode == "off":
        return NO_TEXT
    reader = reader or PageReader(MAX_PIXELS)
    if text := layer_text(reader, source, page, root):
        return text
    engine = require_ocr() if mode == "ocr" else ocr_engine()
    if mode == "layer" or engine is None:
        return NO_TEXT
    return ocr_text(reader, source, page, root, seconds)


def layer_text(reader: PageReader, source: Path | bytes, page: int, root: Path | None = None) -> PageText:
    """The text that a PDF holds for a page; empty for other files."""
    try:
        text = cleaned(reader.from_pdf_page(source, root, page, layer_of))
    except UnreadablePage:  # whoever reads its pixels says so
        return NO_TEXT
    return PageText(text, LAYER) if text else NO_TEXT


def ocr_text(
    reader: PageReader, source: Path | bytes, page: int, root: Path | None = None, seconds: float = SECONDS
) -> PageText:
    """What the OCR engine reads on a page.

    Raises:
        InputError: No engine is installed.
    """
    engine = require_ocr()
    try:
        return engine.read(reader.picture(source, root, page, LONGEST), seconds)
    except UnreadablePage:
        return NO_TEXT


def text_in(document: Document, page: int, mode: TextMode, seconds: float = SECONDS) -> PageText:
    """The text of a page of an open document; inside `decoding`. As `page_text`, for files that are no path.

    Args:
        document: What `open_document` gave.
        page: Counted from 0.
        mode: As for `page_text`; `ocr` is `auto` here.
        seconds: OCR of a page that takes longer is given up.
    """
    if mode == "off":
        return NO_TEXT
    if isinstance(document, PdfPages) and (text := cleaned(document.with_page(page, layer_of))):
        return PageText(text, LAYER)
    engine = ocr_engine()
    if mode == "layer" or engine is None:
        return NO_TEXT
    return engine.read(document.page(page, Preprocess(LONGEST), whole), seconds)
