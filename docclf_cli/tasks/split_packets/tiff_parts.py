"""Parts of a TIFF packet as TIFFs: the same pixels, compressed without loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docclf_cli.errors import InputError
from docclf_cli.files import atomic_write

# As they are in the packet; everything else, such as JPEG, would lose again, and is deflated.
_LOSSLESS = {"group3", "group4", "packbits", "tiff_lzw", "tiff_adobe_deflate"}


def write_tiff_part(path: Path, target: Path, first: int, last: int) -> None:
    """Write some pages of a TIFF as a TIFF of their own, whole or not at all; of its notes only the orientation is kept.

    Args:
        path: The packet.
        target: The new file.
        first: First page, counted from 1.
        last: Last page.

    Raises:
        InputError: A page cannot be read.
        ResourceError: It cannot be written.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=("TIFF",)) as packet, atomic_write(target, "w+b") as file:
            frames = _frames(packet, first, last)
            next(frames).save(file, "TIFF", save_all=True, append_images=frames)
    except (EOFError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: pages {first} to {last} cannot be copied: {error}") from error


def _frames(packet: Any, first: int, last: int) -> Iterator[Any]:
    """Copies of pages, one at a time, with what they are to be written with."""
    for number in range(first - 1, last):
        packet.seek(number)
        frame = packet.copy()
        compression = packet.info.get("compression")
        fits = compression in _LOSSLESS and (frame.mode == "1" or not str(compression).startswith("group"))
        frame.info = {"dpi": packet.info["dpi"]} if "dpi" in packet.info else {}
        frame.encoderinfo = {"compression": compression if fits else "tiff_adobe_deflate", **frame.info}
        yield frame
