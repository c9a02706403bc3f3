"""Many small pages on one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from docclf_cli.files import save_with

THUMBNAIL, CAPTION, GAP = 160, 16, 6


def contact_sheet(pages: Sequence[np.ndarray], captions: Sequence[str], path: Path, columns: int = 6) -> Path:
    """Draw pages in rows, each with its caption, as a PNG.

    Args:
        pages: uint8 [H, W, 3] each.
        captions: One a page; characters the bundled font lacks are left out.
        path: The PNG.
        columns: Pages per row.
    """
    rows = -(-len(pages) // columns)
    cell_w, cell_h = THUMBNAIL + GAP, THUMBNAIL + CAPTION + GAP
    sheet = Image.new("RGB", (columns * cell_w + GAP, rows * cell_h + GAP), (120, 120, 120))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, (page, caption) in enumerate(zip(pages, captions, strict=True)):
        left, top = GAP + number % columns * cell_w, GAP + number // columns * cell_h
        thumbnail = Image.fromarray(page)
        thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
        sheet.paste(thumbnail, (left, top + CAPTION))
        draw.text((left, top), _fitting(caption, font), fill=(255, 255, 255), font=font)
    save_with(path, lambda file: sheet.save(file, "PNG"))
    return path


def _fitting(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    shown = "".join(char for char in caption if char.isascii())
    while shown and font.getlength(shown) > THUMBNAIL:
        shown = shown[:-1]
    return shown
