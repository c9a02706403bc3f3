"""The words that spoke for the predicted classes of the pages in the HTML report."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading.texts import text_pages
from docclf_cli.engine.inference.text_reasons import TextReasons
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import DocclfError
from docclf_cli.events import Emit, silent
from docclf_cli.profile.schema import DataConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.class_report.thumbnails import indexes_of

SHOWN = 6  # words of a page
logger = logging.getLogger("docclf")


def words_of_pages(
    member: TrainedModel,
    predictions: Predictions,
    split: str,
    config: DataConfig,
    *,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> dict[str, Sequence[str]]:
    """The strongest words of pages by ID; empty where the model does not read, or the pages are not found.

    Args:
        member: The model.
        predictions: Of the pages that are shown.
        split: Split that is searched first.
        config: The data section.
        emit: Consumer of progress events.
        stop: Polled between pages.
    """
    if all(info.text is None for info in member.checkpoints):
        return {}
    try:
        reasons = TextReasons.of(member)
        index = next(iter(indexes_of(split, config)), None)
    except DocclfError as error:
        logger.debug("no words in the report: %s", error.message)
        return {}
    if index is None:
        return {}
    rows = {name: row for row, name in enumerate(index.ids.tolist())}
    shown = [number for number, name in enumerate(predictions.ids.tolist()) if name in rows]
    pages: DocumentIndex = index.take(
        np.array([rows[str(predictions.ids[number])] for number in shown], dtype=np.int64)
    )
    texts = text_pages(pages, config, reasons.branch.source, 0, emit, stop)
    predicted = predictions.predicted()
    found: dict[str, Sequence[str]] = {}
    for number, text in zip(shown, texts, strict=True):
        if predicted[number] >= 0:
            label = predictions.class_names[predicted[number]]
            found[str(predictions.ids[number])] = [word for word, _ in reasons(text.text, label, SHOWN)]
    return found
