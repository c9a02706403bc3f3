"""Decode an image file, which may be hostile, into the resized page.

Every kind of file has one meaning, the same with and without the cache:

| in the file | on the page |
|---|---|
| EXIF orientation (JPEG, PNG, WEBP, TIFF, AVIF) | applied; a damaged EXIF block counts as none |
| bilevel, grey | the same value in all three channels |
| 16-bit grey | divided by 257, so that 65,535 is white; TIFF "min is white" is inverted |
| 32-bit integer, floating point | stretched from the page's own smallest and largest value to 0..255 |
| 16-bit colour | the upper eight bits |
| CMYK, YCbCr | converted to RGB without a colour profile |
| palette | its colours |
| alpha, transparent colour | laid over white |
| several pages (TIFF), frames (GIF, PNG, WEBP, AVIF) or pictures (MPO) | the first |

A file that claims more pixels than allowed is refused before any is decoded. A file that ends early, or whose
data is damaged, is unreadable: it is never filled up.
"""

import contextlib
import errno
import importlib
import importlib.util
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile, features

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.errors import DocclfError

CRASHES = "makes its decoder crash, or needs too much memory"  # reason of a page that cannot even be tried
RULES = 2  # counts up whenever the same file gives other pixels than before
HEIC_HINT = "pip install pi-heif"
HEIC_SUFFIXES = (".heic", ".heif", ".hif")  # photos of phones
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif",),
    "HEIF": HEIC_SUFFIXES,
}


def _registers_heif() -> bool:
    """Register what opens HEIC in Pillow, where the user installed it: Pillow itself has no decoder for it."""
    for name in ("pi_heif", "pillow_heif"):
        if importlib.util.find_spec(name) is not None:
            try:
                importlib.import_module(name).register_heif_opener()
            except ImportError:  # it was built for another Python or Pillow
                continue
            return True
    return False


# Pillow may have been built without these; their files are then reported as left out.
_MISSING = {
    name
    for name, feature in (("WEBP", "webp"), ("JPEG2000", "jpg_2000"), ("AVIF", "avif"))
    if not features.check(feature)
}
if not _registers_heif():
    _MISSING.add("HEIF")
FORMATS = tuple(name for name in _SUFFIXES if name not in _MISSING)
SUFFIXES = frozenset(suffix for name in FORMATS for suffix in _SUFFIXES[name])
# Pixels are left over for the antialiasing filter when a JPEG is scaled while it is decoded, and when whole blocks
# are averaged before it: Pillow's documentation calls a gap of 3 nearly indistinguishable from fair resampling.
DRAFT_GAP = 2
REDUCING_GAP = 3.0
MAX_HEADER_PIXELS = 2**40  # a header alone costs no memory, whatever it claims
_WHITE = (255, 255, 255)
# How files start that people take for images.
_STARTS = (
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"<", "HTML, SVG or XML"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)
_PICTURES = (b"avif", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")  # brands (ISO 14496-12, 23008-12)


class UnreadablePage(ValueError):  # noqa: N818  (a page is, in the words of the reports)
    """A page that cannot be read; its text is the reason, one line."""

    @property
    def reason(self) -> str:
        """Why the page cannot be read."""
        return str(self)


def read_page(
    path: Path, preprocess: Preprocess, *, max_pixels: int, root: Path | None = None, allow_symlinks: bool = False
) -> np.ndarray:
    """Decode an image and fit it into the square input.

    Args:
        path: The image file.
        preprocess: Size, resize mode and interpolation.
        max_pixels: Larger images are refused before they are decoded.
        root: The file must be below this folder, unless `allow_symlinks`.
        allow_symlinks: Follow symbolic links that leave `root`.

    Returns:
        uint8 [size, size, 3], RGB.

    Raises:
        UnreadablePage: The file is missing, not a regular file, not an image of a known format, too large,
            damaged, or outside of `root`.
    """
    with (
        open_page(path, root, allow_symlinks) as file,
        decoding(max_pixels),
        open_image(file) as image,
    ):
        return fitted(image, preprocess, max_pixels)


@dataclass(frozen=True)
class Header:
    """Size of an image in pixels after its EXIF orientation is applied, and that orientation (1: as stored)."""

    width: int
    height: int
    orientation: int


def read_header(path: Path, *, page: int = 0, root: Path | None = None, allow_symlinks: bool = False) -> Header:
    """Size and orientation of a page (of a TIFF, counted from 0), without decoding it.

    Raises:
        UnreadablePage: As for `read_page`, as far as the start of the file shows.
    """
    with open_page(path, root, allow_symlinks) as file, _strict_pillow(MAX_HEADER_PIXELS):
        try:
            with Image.open(file, formats=FORMATS) as image:
                if page:
                    image.seek(page)
                orientation = orientation_tag(image)
                sideways = orientation in _SIDEWAYS
                width, height = image.size[::-1] if sideways else image.size
                return Header(width, height, orientation if orientation in TRANSPOSES else 1)
        except MemoryError:
            raise
        except Exception as error:  # decoders that meet hostile bytes raise whatever comes up
            raise UnreadablePage(_one_line(error)) from error


def open_page(path: Path, root: Path | None = None, allow_symlinks: bool = False) -> IO[bytes]:
    """Open a regular file for reading; a pipe or a device is refused without waiting for it.

    Raises:
        UnreadablePage: There is no such file, it is something else than a regular file, or it is not below `root`.
    """
    real = os.path.realpath(path)
    if root is not None and not allow_symlinks and not _is_below(real, os.path.realpath(root)):
        raise UnreadablePage("leaves the data root (data.allow_symlinks: true follows symbolic links)")
    try:
        handle = os.open(real, _OPEN_FLAGS)
    except OSError as error:
        raise UnreadablePage(_open_reason(error)) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UnreadablePage("not a regular file")
    return os.fdopen(handle, "rb")


def flattened(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB on white paper; see the table at the top."""
    return _plain(image).convert("RGB")


# Non-blocking so that a pipe without a writer does not hang; the real path has no link left to follow.
_OPEN_FLAGS = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_NOFOLLOW", "O_NOCTTY", "O_BINARY"):
    _OPEN_FLAGS |= getattr(os, _flag, 0)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _open_reason(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "there is no such file"
    return (error.strerror or str(error)).lower()


@contextlib.contextmanager
def decoding(max_pixels: int) -> Iterator[None]:
    """Apply the decoding rules of this module inside the block.

    Raises:
        UnreadablePage: A decoder met bytes that it cannot read.
    """
    with _strict_pillow(max_pixels):
        try:
            yield
        except (UnreadablePage, MemoryError, DocclfError):  # the last: a store that cannot be reached
            raise
        except Exception as error:  # decoders that meet hostile bytes raise whatever comes up
            raise UnreadablePage(_one_line(error)) from error


@contextlib.contextmanager
def _strict_pillow(max_pixels: int) -> Iterator[None]:
    # Pillow's switches belong to the process: whatever other code has set, pages are read by our rules.
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def open_image(file: IO[bytes]) -> ImageFile.ImageFile:
    """An image of a known format, of which no pixel is decoded yet; inside `decoding`.

    Raises:
        UnreadablePage: It is something else.
    """
    try:
        with _strict_pillow(MAX_HEADER_PIXELS):  # `fitted` refuses what is too large, page by page
            return Image.open(file, formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise UnreadablePage(_what_it_is(file)) from error


def fitted(image: Image.Image, preprocess: Preprocess, max_pixels: int) -> np.ndarray:
    """An image in the square input, uint8 [size, size, 3]; inside `decoding`.

    Raises:
        UnreadablePage: It has too many pixels, or is damaged.
    """
    page, orientation = _decoded(image, preprocess, max_pixels)
    return np.asarray(_on_square(page, orientation, preprocess.size))


def whole(image: Image.Image, preprocess: Preprocess, max_pixels: int) -> np.ndarray:
    """A whole image for people to look at, uint8 [height, width, 3], upright; inside `decoding`.

    Args:
        image: Of any size.
        preprocess: Its `size` is the longest side at most; smaller images keep their size.
        max_pixels: Larger images are refused.

    Raises:
        UnreadablePage: It has too many pixels, or is damaged.
    """
    smaller = replace(preprocess, size=min(preprocess.size, max(image.size)), resize_mode="letterbox")
    page, orientation = _decoded(image, smaller, max_pixels)
    return np.asarray(page.transpose(TRANSPOSES[orientation]) if orientation in TRANSPOSES else page)


def _decoded(image: Image.Image, preprocess: Preprocess, max_pixels: int) -> tuple[Image.Image, int]:
    """An image resized as it lies in its file, and its EXIF orientation."""
    check_pixels(image.width, image.height, max_pixels)
    size = target_size(image.width, image.height, preprocess)
    box = _draft(image, size)
    image.load()
    return _resized(_plain(image), size, box, preprocess), orientation_tag(image)


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image that is too large.

    Raises:
        UnreadablePage: It is.
    """
    if width * height > max_pixels:
        raise UnreadablePage(f"has {width} x {height} pixels; data.max_pixels is {max_pixels:,}")


def _what_it_is(file: IO[bytes]) -> str:
    file.seek(0)
    start = file.read(256)
    if not start:
        return "the file is empty"
    kind = next((name for magic, name in _STARTS if start.lstrip().startswith(magic)), None)
    if start[4:8] == b"ftyp" and start[8:12] in _PICTURES and "HEIF" in FORMATS:
        return "damaged, or HEIC of a kind that is not known"
    if start[4:8] == b"ftyp":
        kind = "AVIF or HEIC" if start[8:12] in _PICTURES else "a film"
        return f"is {kind}, which is not read here; convert it to JPEG or PNG (or for HEIC: {HEIC_HINT})"
    return f"is {kind}, not an image" if kind else f"damaged, or not an image of a known format ({', '.join(FORMATS)})"


def _draft(image: Image.Image, size: tuple[int, int]) -> tuple[float, float, float, float]:
    # Let libjpeg drop frequencies that the resized page cannot show; other formats ignore the request.
    drafted = image.draft(None, (size[0] * DRAFT_GAP, size[1] * DRAFT_GAP))
    return drafted[1] if drafted else (0, 0, image.width, image.height)


def target_size(width: float, height: float, preprocess: Preprocess) -> tuple[int, int]:
    """Width and height of the whole image after resizing (for crop: before the cut)."""
    size = preprocess.size
    if preprocess.resize_mode == "squash":
        return size, size
    side = max(width, height) if preprocess.resize_mode == "letterbox" else min(width, height)
    return max(1, round(width * size / side)), max(1, round(height * size / side))


def orientation_tag(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # see the table: a damaged EXIF block is no orientation
        return 1


TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)


def _resized(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float], preprocess: Preprocess
) -> Image.Image:
    if preprocess.resize_mode == "crop":
        size, box = (preprocess.size, preprocess.size), _central_square(box)
    resample = Image.Resampling[preprocess.interpolation.upper()]
    return image.resize(size, resample, box=box, reducing_gap=REDUCING_GAP).convert("RGB")


def _on_square(page: Image.Image, orientation: int, size: int) -> Image.Image:
    # Turned only now that it is small: the outcome is the same.
    if orientation in TRANSPOSES:
        page = page.transpose(TRANSPOSES[orientation])
    if page.size == (size, size):
        return page
    square = Image.new("RGB", (size, size), _WHITE)
    square.paste(page, ((size - page.width) // 2, (size - page.height) // 2))
    return square


def _central_square(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    _, _, width, height = box
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _plain(image: Image.Image) -> Image.Image:
    # "L" where one channel says it all (three times less to resize), else "RGB".
    if image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(image))
    if image.mode in ("I", "F"):
        return Image.fromarray(_stretched(image))
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        paper = Image.new("RGB", colours.size, _WHITE)
        paper.paste(colours, mask=colours.getchannel("A"))
        return paper
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


# 65,535 / 257 is 255; a table needs no wider copy of the page.
_EIGHT_OF_SIXTEEN = np.rint(np.arange(65536) / 257).astype(np.uint8)


def _eight_bits(image: Image.Image) -> np.ndarray:
    grey = _EIGHT_OF_SIXTEEN[np.asarray(image)]
    tags: Any = getattr(image, "tag_v2", {})
    return 255 - grey if tags.get(262) == 0 else grey  # PhotometricInterpretation 0: min is white


def _stretched(image: Image.Image) -> np.ndarray:
    values = np.asarray(image, dtype=np.float32)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UnreadablePage("holds values that are not finite numbers")
    if low == high:
        return np.clip(values, 0, 255).astype(np.uint8)
    return np.rint((values - low) * (255 / (high - low))).astype(np.uint8)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return f"damaged: {text}"[:200]
