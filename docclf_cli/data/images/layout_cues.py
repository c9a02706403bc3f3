"""Cues of a page's layout that change sign where it is mirrored or stands on its head: lines begin at one margin and end anywhere.

A network averages over the page what it sees; what counts here is how many lines begin at the same place, and on which side
of a line of text ink fades more slowly. Latin letters, read from left to right, show both.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageChops, ImageFilter

AXIS_CUES = 18  # of each axis
CUES = 2 * AXIS_CUES + 1
_STRIPS = 8  # that a page is cut into, so that lines on a page that lies askew stay apart
# Rows from one to the next, and how alike large and small steps count.
_STEPS = ((1, 2), (1, 6), (2, 2), (2, 6), (3, 2))
_SMALLEST = 32  # side of a page that is looked at
_REFERENCE = 224  # lengths below are in pixels of a page of that side
_GAPS, _SMOOTHINGS, _SHORTEST = (5, 12), (1, 3), 16  # within a line; of the places where lines begin; length of a line
_FEWEST_LINES = 10
# Grey values below the paper that are still paper, and that count as black at least; ink (of 255) that is part of a line.
_FAINT, _LEAST_TOP, _INKED = 4, 12, 89


def layout_cues(grey: np.ndarray) -> np.ndarray:
    """The cues of a square page, float32 [`CUES`]: of left and right, then of top and bottom, then of the lines' direction.

    Mirroring a page changes the sign of the first part; a quarter turn clockwise makes the second part the negative first
    one, the first part the second one, and changes the sign of the last (`metrics.orientation.undone_cues`). All are 0
    on an empty page.

    Args:
        grey: uint8 [size, size].
    """
    if len(grey) < _SMALLEST:
        return np.zeros(CUES, np.float32)
    ink = _ink(grey)
    turned = np.ascontiguousarray(ink.T)
    rows, columns = _strips(ink), _strips(turned)
    direction = math.log((_change(rows) + 1e-7) / (_change(columns) + 1e-7))
    found = [*_axis_cues(ink, columns), *_axis_cues(turned, rows), direction]
    return np.asarray(found, np.float32)


def cues_of_images(images: np.ndarray) -> np.ndarray:
    """The cues of images, float32 [n, `CUES`], taken from their green channel.

    Args:
        images: uint8 [n, 3, size, size].
    """
    found = [layout_cues(np.ascontiguousarray(one[1])) for one in images]
    return np.stack(found) if found else np.empty((0, CUES), np.float32)


def _ink(grey: np.ndarray) -> np.ndarray:
    """How far each pixel is darker than the paper around it, uint8 [size, size]; 255 is as black as the page's ink is."""
    page = Image.fromarray(grey)
    paper = page.filter(ImageFilter.BoxBlur(len(grey) / 28))
    ink = ImageChops.subtract(paper, page, offset=-_FAINT)
    darkest = int(np.searchsorted(np.cumsum(ink.histogram()), 0.97 * grey.size))
    scale = 255 / max(darkest, _LEAST_TOP)
    return np.asarray(ink.point([min(round(value * scale), 255) for value in range(256)]))


def _strips(ink: np.ndarray) -> np.ndarray:
    """Means of the rows of each upright strip, 0 to 1, float32 [size, strips]."""
    size, width = len(ink), len(ink) // _STRIPS
    start = (size - width * _STRIPS) // 2
    inner = ink[:, start : start + width * _STRIPS].reshape(size, _STRIPS, width)
    return inner.sum(axis=2, dtype=np.uint32).astype(np.float32) / (255 * width)


def _change(strips: np.ndarray) -> float:
    """Mean square of the steps from row to row."""
    return float(np.square(np.diff(strips, axis=0)).mean())


def _axis_cues(lines: np.ndarray, profiles: np.ndarray) -> list[float]:
    """The cues of one axis.

    Args:
        lines: Ink in rows along the axis, uint8 [size, size].
        profiles: `_strips` whose rows follow each other along the axis.
    """
    steps = [_rises(profiles), _rises((profiles[:, ::2] + profiles[:, 1::2]) / 2)]
    return [*steps[0], *steps[1], *_margins(lines), *_places(profiles.mean(axis=1))]


def _rises(strips: np.ndarray) -> list[float]:
    """Whether ink comes in fewer, larger steps than it goes (below 0) or in more, smaller ones, for each of `_STEPS`."""
    found = list[float]()
    for rows, steepness in _STEPS:
        steps = strips[rows:] - strips[:-rows]
        usual = math.sqrt(float(np.square(steps).mean())) + 0.01
        found.append(float(np.tanh(steps * (steepness / usual)).mean()))
    return found


def _margins(lines: np.ndarray) -> list[float]:
    """How much more often lines begin at the same place than end at the same place: logarithms, one for each gap and smoothing.

    A gap is the longest space within a line; shorter ones lie between words, or between letters.
    """
    scale, width = len(lines) / _REFERENCE, len(lines) + 2
    inked = np.zeros((len(lines), width), np.bool_)
    inked[:, 1:-1] = lines > _INKED
    flat = inked.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    starts, ends = edges[::2], edges[1::2]
    rows = starts // width
    found = list[float]()
    for gap in _GAPS:
        apart = (starts[1:] - ends[:-1] > gap * scale) | (rows[1:] != rows[:-1])
        first = starts[np.concatenate([[True], apart])[: len(starts)]]
        last = ends[np.concatenate([apart, [True]])[: len(ends)]]
        long = last - first >= _SHORTEST * scale
        if np.count_nonzero(long) < _FEWEST_LINES:
            found += [0.0] * len(_SMOOTHINGS)
            continue
        begin, end = (np.bincount(one[long] % width, minlength=width).astype(np.float64) for one in (first, last))
        for smoothing in _SMOOTHINGS:
            kernel = _bell(smoothing * scale)
            sums = [float(np.square(np.convolve(one, kernel)).sum()) for one in (begin, end)]
            found.append(math.log(sums[0] / sums[1]))
    return found


def _bell(sigma: float) -> np.ndarray:
    """A Gaussian kernel."""
    reach = int(3 * sigma + 0.5)
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sigma))
    return np.asarray(kernel / kernel.sum())


def _places(profile: np.ndarray) -> list[float]:
    """Where the ink lies along an axis: its centre, its skewness, the difference of the margins, and where blank rows lie.

    Args:
        profile: Ink of each row, float32 [size].
    """
    size, total = len(profile), float(profile.sum())
    if total <= 0:
        return [0.0] * 4
    place = (np.arange(size) - (size - 1) / 2) / size
    centre = float((profile * place).sum()) / total
    from_centre = place - centre
    spread = float((profile * np.square(from_centre)).sum()) / total
    skewness = float((profile * from_centre**3).sum()) / total / (spread**1.5 + 1e-6)
    high = float(np.sort(profile)[int(0.9 * size)])
    inked = np.flatnonzero(profile > 0.15 * high)
    margins = (inked[0] - (size - 1 - inked[-1])) / size
    blank = float(((profile < 0.1 * high) * place).mean())
    return [centre, skewness, float(margins), blank]
