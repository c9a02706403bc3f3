"""Contact sheets: thumbnails of many pages in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from docclf_cli.data.samples.sheet import Font, hangul, latin
from docclf_cli.files import save_with

THUMBNAIL, CAPTION, GAP, TEXT_SIZE, FRAME = 160, 16, 6, 11, 3
TITLE, TITLE_SIZE = 26, 14
Colour = tuple[int, int, int]
GREY, WHITE = (120, 120, 120), (255, 255, 255)


def contact_sheet(
    pages: Sequence[np.ndarray],
    captions: Sequence[str],
    path: Path,
    columns: int = 6,
    frames: Sequence[Colour] | None = None,
    title: str = "",
) -> Path:
    """Draw pages in rows, each with its caption, as a PNG.

    Args:
        pages: uint8 [H, W, 3] each.
        captions: One a page, of one or more lines; Hangul is drawn where the system has a font for it, other characters become `?`.
        path: The PNG.
        columns: Pages per row.
        frames: Colour of the frame of each page; None draws no frames.
        title: A line above the pages, in ASCII.
    """
    rows = -(-len(pages) // columns)
    above = CAPTION * max((caption.count("\n") + 1 for caption in captions), default=1)
    cell_w, cell_h = THUMBNAIL + GAP, THUMBNAIL + above + GAP
    head = TITLE if title else 0
    picture = Image.new("RGB", (columns * cell_w + GAP, rows * cell_h + GAP + head), GREY)
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, GAP), title, fill=WHITE, font=latin(TITLE_SIZE))
    for number, (page, caption) in enumerate(zip(pages, captions, strict=True)):
        left, top = GAP + number % columns * cell_w, GAP + head + number // columns * cell_h
        thumbnail = Image.fromarray(page)
        thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
        picture.paste(thumbnail, (left, top + above))
        if frames is not None:
            width, height = thumbnail.size
            edge = (left - FRAME, top + above - FRAME, left + width + FRAME - 1, top + above + height + FRAME - 1)
            draw.rectangle(edge, outline=frames[number], width=FRAME)
        for line, words in enumerate(caption.split("\n")):
            text, font = _drawable(words)
            draw.text((left, top + line * CAPTION), text, fill=WHITE, font=font)
    save_with(path, lambda file: picture.save(file, "PNG"))
    return path


def _drawable(caption: str) -> tuple[str, Font]:
    """A caption as wide as a page at most, and a font that has its characters."""
    font = None if caption.isascii() else hangul(TEXT_SIZE)
    if font is None:
        caption, font = caption.encode("ascii", "replace").decode(), latin(TEXT_SIZE)
    length = len(caption)
    while font.getlength(_shortened(caption, length)) > THUMBNAIL:
        length -= 1
    return _shortened(caption, length), font


def _shortened(caption: str, length: int) -> str:
    return caption if length == len(caption) else caption[:length] + "..."
