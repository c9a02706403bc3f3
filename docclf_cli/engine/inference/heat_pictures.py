"""Pictures of pages on which red shows what spoke for a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from docclf_cli.data.images.page_files import PageReader
from docclf_cli.engine.inference.heat_maps import HeatMaps, on_page, stronger_half

_RED, _STRENGTH = np.array([230.0, 30.0, 30.0]), 0.65


def page_with_heat(
    maps: HeatMaps, reader: PageReader, path: Path, root: Path | None, number: int, label: str, longest: int
) -> np.ndarray:
    """A page under the stronger half of its heat map, uint8 [height, width, 3].

    Args:
        maps: The model.
        reader: Reads the page.
        path: Its file.
        root: The file must be below this folder, unless links are followed.
        number: Of the page in the file, counted from 0.
        label: The class.
        longest: Longer side of the picture in pixels, at most.

    Raises:
        UnreadablePage: The page cannot be read.
        InputError: The model does not know the class.
    """
    heat = stronger_half(maps(reader.read(path, root, number, maps.preprocess), label))
    picture = reader.picture(path, root, number, longest)
    height, width = picture.shape[:2]
    return blended(picture, on_page(heat, height, width, maps.preprocess))


def blended(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A page under its heat map, uint8 [height, width, 3].

    Args:
        picture: uint8 [height, width, 3].
        heat: float32 [h, w] in 0..1, in the proportions of the page.
    """
    large = Image.fromarray(heat).resize(picture.shape[1::-1], Image.Resampling.BILINEAR)
    share = np.clip(np.asarray(large), 0, 1)[:, :, None] * _STRENGTH
    return np.round(picture * (1 - share) + _RED * share).astype(np.uint8)
