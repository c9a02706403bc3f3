"""Finds pages whose files are unlike the others: too small, of an unusual shape, or rotated by EXIF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from docclf_cli.data.images.decode import Header
from docclf_cli.text import Message

# Shape: how far the logarithm of height / width may lie from the class's median, in robust deviations and at least.
_DEVIATIONS, _AT_LEAST = 5.0, np.log(1.6)
_TO_SIGMA = 1.4826  # of the median absolute deviation of a normal distribution


def find_outliers(
    headers: Sequence[Header | None], kinds: np.ndarray, image_size: int
) -> Iterator[tuple[int, str, str]]:
    """What is odd about pages as files.

    Args:
        headers: One a page; None for one that cannot be read.
        kinds: What pages are compared with their like by, such as the class index, int64 [n].
        image_size: Side of the model input in pixels.

    Yields:
        Row, kind (`small`, `shape` or `rotated`) and what is odd, in words.
    """
    known = {row: header for row, header in enumerate(headers) if header is not None}
    for row, header in known.items():
        if max(header.width, header.height) < image_size / 2:
            text = "{width} x {height} pixels, enlarged for a model input of {size}"
            yield row, "small", Message.of(text, width=header.width, height=header.height, size=image_size)
        if header.orientation != 1:
            text = "EXIF orientation {orientation}; docclf applies it, other programs may not"
            yield row, "rotated", Message.of(text, orientation=header.orientation)
    rows = np.array(list(known), dtype=np.int64)
    shapes = np.log([header.height / header.width for header in known.values()])
    for place, median in _outlying(shapes, kinds[rows]):
        width, height = known[int(rows[place])].width, known[int(rows[place])].height
        text = "{width} x {height} pixels: height / width is {ratio:.2f}, in its class {usual:.2f}"
        detail = Message.of(text, width=width, height=height, ratio=height / width, usual=np.exp(median))
        yield int(rows[place]), "shape", detail


def _outlying(values: np.ndarray, kinds: np.ndarray) -> Iterator[tuple[int, float]]:
    """Places of values far from the median of their kind, and that median."""
    for kind in np.unique(kinds):
        places = np.flatnonzero(kinds == kind)
        median = float(np.median(values[places]))
        distance = np.abs(values[places] - median)
        far = distance > max(_AT_LEAST, _DEVIATIONS * _TO_SIGMA * float(np.median(distance)))
        yield from ((int(place), median) for place in places[far])
