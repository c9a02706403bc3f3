"""Finds pages whose files are unlike the others: too small, of an unusual shape, or rotated by EXIF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from docclf_cli.data.images.decode import Header

# Shape: largest distance of log(height / width) from the median of the class, in robust deviations and at least.
_DEVIATIONS, _AT_LEAST = 5.0, np.log(1.6)
_TO_SIGMA = 1.4826  # of the median absolute deviation of a normal distribution


def find_outliers(
    headers: Sequence[Header | None], classes: np.ndarray, image_size: int
) -> Iterator[tuple[int, str, str]]:
    """Find outliers by the headers of the image files.

    Args:
        headers: Header of each page; None if it cannot be read.
        classes: Class index of each page, int64 [n]; shapes are compared within a class.
        image_size: Side of the model input in pixels.

    Yields:
        Row, kind (`small`, `shape` or `rotated`) and the reason in words.
    """
    known = {row: header for row, header in enumerate(headers) if header is not None}
    for row, header in known.items():
        if max(header.width, header.height) < image_size / 2:
            yield row, "small", f"{header.width} x {header.height} pixels, enlarged for a model input of {image_size}"
        if header.orientation != 1:
            yield row, "rotated", f"EXIF orientation {header.orientation}; docclf applies it, other programs may not"
    rows = np.array(list(known), dtype=np.int64)
    shapes = np.log([header.height / header.width for header in known.values()])
    for place, median in _shape_outliers(shapes, classes[rows]):
        width, height = known[int(rows[place])].width, known[int(rows[place])].height
        usual = f"height / width is {height / width:.2f}, in its class {np.exp(median):.2f}"
        yield int(rows[place]), "shape", f"{width} x {height} pixels: {usual}"


def _shape_outliers(values: np.ndarray, classes: np.ndarray) -> Iterator[tuple[int, float]]:
    """Yield positions of values far from the median of their class, and that median."""
    for number in np.unique(classes):
        places = np.flatnonzero(classes == number)
        median = float(np.median(values[places]))
        distance = np.abs(values[places] - median)
        far = distance > max(_AT_LEAST, _DEVIATIONS * _TO_SIGMA * float(np.median(distance)))
        yield from ((int(place), median) for place in places[far])
