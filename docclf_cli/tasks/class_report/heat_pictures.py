"""Heat maps for the HTML report: of mistakes, and of the most confident page of each class."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence

import numpy as np
from PIL import Image

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.engine.inference.heat_maps import HeatMaps
from docclf_cli.engine.inference.heat_pictures import page_with_heat
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.profile.schema import DataConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.class_report.thumbnails import QUALITY, SIDE, find_pages

MOST_MISTAKES, MOST_CLASSES = 60, 60  # each costs a forward and a backward pass, and about 20 kB of the report
logger = logging.getLogger("docclf")


def rows_to_explain(predictions: Predictions, shown: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows of the mistakes to explain, and of the right page of each class that the model is surest about.

    Args:
        predictions: Labelled pages.
        shown: Rows that the report shows, most useful first.
    """
    predicted, sure = predictions.predicted(), predictions.log_probs.max(axis=1)
    right = (predicted == predictions.labels) & ~np.isnan(sure)
    surest = []
    for label in range(predictions.num_classes):
        rows = np.flatnonzero(right & (predicted == label))
        if len(rows):
            surest.append(int(rows[sure[rows].argmax()]))
    mistakes = [int(row) for row in shown if not right[row]]
    return mistakes[:MOST_MISTAKES], surest[:MOST_CLASSES]


def heat_pictures(
    predictions: Predictions,
    rows: Sequence[int],
    split: str,
    config: DataConfig,
    maps: HeatMaps,
    *,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> dict[str, bytes]:
    """JPEG files by ID: pages under the heat map of the class that was predicted; unreadable ones are left out.

    Args:
        predictions: Of the model.
        rows: Which of their pages.
        split: Split that is searched first.
        config: The data section.
        maps: The model.
        emit: Consumer of progress events.
        stop: Polled between pages.

    Raises:
        Interrupted: `stop` was set.
    """
    predicted, ids = predictions.predicted(), [str(page_id) for page_id in predictions.ids]
    found = find_pages({ids[row] for row in rows}, split, config)
    reader = PageReader(config.max_pixels, config.allow_symlinks)
    pictures: dict[str, bytes] = {}
    for done, row in enumerate(rows, 1):
        stop.raise_if_set("stopped while drawing heat maps", "start the command again, or leave --explain out")
        emit(Progress("drawing heat maps", done, len(rows)))
        if ids[row] not in found:
            continue
        index, place = found[ids[row]]
        label = predictions.class_names[int(predicted[row])]
        try:
            picture = page_with_heat(maps, reader, index.path(place), index.root, index.page(place), label, SIDE)
        except UnreadablePage as error:
            logger.debug("%s: no heat map: %s", ids[row], error.reason)
            continue
        jpeg = io.BytesIO()
        Image.fromarray(picture).save(jpeg, "JPEG", quality=QUALITY, optimize=True)
        pictures[ids[row]] = jpeg.getvalue()
    reader.close()
    if len(pictures) < len(rows):
        logger.warning(
            "%d of %d pages have no heat map: not found, or not readable", len(rows) - len(pictures), len(rows)
        )
    return pictures
