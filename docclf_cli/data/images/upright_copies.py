"""Copies of page files whose pages are turned upright, without loss wherever the format has a way to do so.

| file | how its pages are turned |
|---|---|
| PDF | the rotation entry of the page; a mirrored page gets a transformation before its content |
| JPEG | the EXIF orientation tag: no pixel is touched, and programs that heed the tag show the page upright |
| PNG, BMP, TIFF | their pixels, which are compressed without loss |
| others, and TIFF with lossy or deep colour pixels | left as they lie, unless they may be encoded again |
"""

from __future__ import annotations

import importlib.util
import io
import struct
from collections.abc import Mapping
from typing import IO, Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageSequence

from docclf_cli.data.images.decode import TRANSPOSES, decoding, open_image, orientation_tag
from docclf_cli.data.images.orientation import Orientation
from docclf_cli.errors import InputError

PDF_EXTRA = "packets"  # the extra that installs pikepdf
QUALITY = 95  # of pixels that are encoded again
ORIENTATION_TAG = 0x0112
_EXIF = b"Exif\x00\x00"
_LOSSLESS_TIFF = {"raw", "group3", "group4", "tiff_ccitt", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits",
                  "tiff_raw_16", "zstd", "lzma"}  # fmt: skip
_ENCODED_AGAIN = {"JPEG", "MPO", "WEBP", "TIFF", "JPEG2000", "AVIF"}  # Pillow writes them with loss


def require_pikepdf(name: str) -> None:
    """Refuse to turn PDFs where what writes them is not installed.

    Raises:
        InputError: It is not; the extra is named.
    """
    if importlib.util.find_spec("pikepdf") is None:
        raise InputError(
            f"--upright: {name} is a PDF, and turning its pages needs the package pikepdf",
            f"pip install 'docclf[{PDF_EXTRA}]', or leave --upright out",
        )


def upright_copy(
    source: IO[bytes], pages: Mapping[int, Orientation], *, is_pdf: bool, max_pixels: int, reencode: bool = False
) -> bytes | None:
    """The content of a file with its pages turned upright.

    Args:
        source: The file, seekable.
        pages: How its pages lie, by number from 0; other pages are not touched.
        is_pdf: Whether it is a PDF.
        max_pixels: Larger images are left as they lie.
        reencode: Also turn pixels that can only be encoded again with loss.

    Returns:
        None where the format has no way to turn these pages.

    Raises:
        UnreadablePage: The file cannot be read.
    """
    source.seek(0)
    if is_pdf:
        with decoding(max_pixels):
            return _pdf(source, pages)
    with decoding(max_pixels), open_image(source) as image:
        if image.format in ("JPEG", "MPO") and not reencode:
            return _with_orientation_tag(source, image, pages.get(0))
        if image.format == "TIFF":
            return _tiff(image, pages, reencode)
        lossless = image.format in ("PNG", "BMP") and _is_eight_bit(image)
        if getattr(image, "n_frames", 1) > 1 or not (lossless or (reencode and image.format in _ENCODED_AGAIN)):
            return None
        image.load()
        return _saved(_turned(image, pages.get(0)), image.format or "", [])


def _transposed(page: np.ndarray, tag: int, orientation: Orientation | None) -> np.ndarray:
    """What stays of a stored page [height, width] after its EXIF orientation, and after its orientation is undone."""
    if tag in TRANSPOSES:
        page = np.asarray(Image.fromarray(page).transpose(TRANSPOSES[tag]))
    return page if orientation is None else orientation.undone(page)


def _turned(image: Image.Image, orientation: Orientation | None) -> Image.Image:
    """The loaded pixels of an image, as they are upright."""
    probe = np.arange(6, dtype=np.uint8).reshape(2, 3)
    wanted = _transposed(probe, orientation_tag(image), orientation)
    for transpose in TRANSPOSES.values():
        if np.array_equal(np.asarray(Image.fromarray(probe).transpose(transpose)), wanted):
            turned = image.transpose(transpose)
            break
    else:
        turned = image.copy()
    dpi: Any = image.info.get("dpi")
    if dpi is not None and turned.size != image.size and image.width != image.height:
        dpi = (dpi[1], dpi[0])
    turned.info = {key: value for key, value in image.info.items() if key not in ("dpi", "exif")}
    turned.encoderinfo = {} if dpi is None else {"dpi": dpi}
    return turned


def _saved(first: Image.Image, file_format: str, others: list[Image.Image]) -> bytes:
    options: dict[str, Any] = dict(first.encoderinfo)
    if file_format in ("JPEG", "MPO", "WEBP", "AVIF"):
        options |= {"quality": QUALITY, "icc_profile": first.info.get("icc_profile")}
    if file_format == "TIFF":
        options |= {"compression": first.info.get("compression"), "save_all": True, "append_images": others}
    out = io.BytesIO()
    first.save(out, "JPEG" if file_format == "MPO" else file_format, **options)
    return out.getvalue()


def _tiff(image: Any, pages: Mapping[int, Orientation], reencode: bool) -> bytes | None:
    turned = []
    for number, frame in enumerate(ImageSequence.Iterator(image)):
        lossless = frame.info.get("compression", "raw") in _LOSSLESS_TIFF and _is_eight_bit(frame)
        if not (lossless or reencode):
            return None
        frame.load()
        turned.append(_turned(frame, pages.get(number)))
        turned[-1].encoderinfo["compression"] = frame.info.get("compression")
    return _saved(turned[0], "TIFF", turned[1:])


def _is_eight_bit(image: Any) -> bool:
    """Whether Pillow keeps all bits of the pixels: of colours with 16 bits it drops half."""
    raw = [str(tile[3]) for tile in image.tile]
    return image.mode.startswith("I;16") or not any("16" in mode for mode in raw)


def _with_orientation_tag(source: IO[bytes], image: Image.Image, orientation: Orientation | None) -> bytes | None:
    """A JPEG file with the orientation tag that shows it upright; every other byte of the picture stays."""
    probe = np.arange(6, dtype=np.uint8).reshape(2, 3)
    before = orientation_tag(image)
    wanted = _transposed(probe, before, orientation)
    tag = next(tag for tag in range(1, 9) if np.array_equal(_transposed(probe, tag, None), wanted))
    source.seek(0)
    content = source.read()
    segments = _segments(content)
    exif = next((place for place in segments if content[place[0] + 4 : place[0] + 10] == _EXIF), None)
    if exif is not None and (entry := _tag_place(content, exif[0] + 10, exif[1])) is not None:
        place, order = entry
        changed = content[:place] + struct.pack(f"{order}H", tag) + content[place + 2 :]
    else:
        block = image.getexif()
        block[ORIENTATION_TAG] = tag
        payload = block.tobytes()
        segment = b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
        if len(payload) + 2 > 0xFFFF:
            return None
        # The JFIF segment, where there is one, has to be the first.
        first = segments[0] if segments and content[segments[0][0] + 1] == 0xE0 else None
        start, end = exif if exif is not None else (first[1], first[1]) if first is not None else (2, 2)
        changed = content[:start] + segment + content[end:]
    with open_image(io.BytesIO(changed)) as written:
        return changed if orientation_tag(written) == tag else None


def _segments(content: bytes) -> list[tuple[int, int]]:
    """Start and end of each segment of a JPEG file before its picture."""
    found, place = [], 2
    while place + 4 <= len(content) and content[place] == 0xFF and 0xE0 <= content[place + 1] <= 0xFE:
        end = place + 2 + int(struct.unpack_from(">H", content, place + 2)[0])
        found.append((place, end))
        place = end
    return found


def _tag_place(content: bytes, tiff: int, end: int) -> tuple[int, str] | None:
    """Where the orientation tag of an EXIF block has its value, and its byte order; None where it has no such tag."""
    order = {b"II": "<", b"MM": ">"}.get(content[tiff : tiff + 2])
    if order is None:
        return None
    try:
        directory = tiff + struct.unpack_from(f"{order}I", content, tiff + 4)[0]
        for number in range(struct.unpack_from(f"{order}H", content, directory)[0]):
            entry = directory + 2 + 12 * number
            tag, kind, count = struct.unpack_from(f"{order}HHI", content, entry)
            if (tag, kind, count) == (ORIENTATION_TAG, 3, 1) and entry + 10 <= end:
                return entry + 8, order
    except struct.error:
        return None
    return None


def _pdf(source: IO[bytes], pages: Mapping[int, Orientation]) -> bytes | None:
    """A PDF with turned pages; None where it is encrypted, signed, or has a mirrored page with annotations."""
    import pikepdf

    with pikepdf.open(cast(BinaryIO, source)) as document:
        form = document.Root.get("/AcroForm")
        signed = form is not None and int(form.get("/SigFlags", 0)) & 1
        if document.is_encrypted or signed:
            return None
        for number, orientation in pages.items():
            if orientation.upright:
                continue
            page = document.pages[number]
            page.rotate(-orientation.turn, relative=True)
            if orientation.mirrored:
                if "/Annots" in page:
                    return None
                left, _, right, _ = (float(value) for value in page.cropbox)
                page.rotate(-int(page.obj.get("/Rotate", 0)), relative=False)
                page.contents_add(f"q -1 0 0 1 {left + right:.6f} 0 cm".encode(), prepend=True)
                page.contents_add(b"Q")
        out = io.BytesIO()
        document.save(out, deterministic_id=True)
        return out.getvalue()
