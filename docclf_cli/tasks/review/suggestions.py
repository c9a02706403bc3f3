"""Suggestions of a run for a folder of pages: predicted once, and kept beside the journal."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import replace
from pathlib import Path

from docclf_cli.data.index.file_list import FileList
from docclf_cli.data.index.inputs import find
from docclf_cli.data.index.tables import read_table
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.events import Emit
from docclf_cli.files import write_json
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.predict.predict import PredictOptions, predict
from docclf_cli.tasks.review.queue import ReviewItem, ReviewQueue

FOLDER, MADE_BY = "suggestions", "made_by.json"
logger = logging.getLogger("docclf")


def with_suggestions(
    queue: ReviewQueue, run: Path, folder: Path, runtime_config: RuntimeConfig, emit: Emit, stop: StopFlag
) -> ReviewQueue:
    """The queue of a folder of pages with what a run suggests for each.

    Args:
        queue: A queue whose source is a folder of pages.
        run: The run.
        folder: Folder of the review.
        runtime_config: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
        Interrupted: `stop` was set; the next call goes on from there.
    """
    table = folder / FOLDER / "predictions.csv"
    spec = EnsembleSpec.of_checkpoint(run)
    files = FileList(find([str(queue.source)], io.BytesIO()))
    made_by = {"model": spec.members[0].key, "files": files.fingerprint()}
    if not table.is_file() or _made_by(table.parent) != made_by:
        options = PredictOptions(inputs=(str(queue.source),), output=table.parent, max_unreadable=1.0, overwrite=True)
        predict(spec, options, stdin=io.BytesIO(), runtime_config=runtime_config, emit=emit, stop=stop)
        write_json(table.parent / MADE_BY, made_by)
    found = read_table(table)
    row_of = {
        (path, int(page or 1) - 1): row
        for row, (path, page) in enumerate(zip(found["path"].tolist(), found["page"].tolist(), strict=True))
    }

    def suggested(item: ReviewItem) -> ReviewItem:
        page = item.pages[0]
        name = page.id.rpartition("#")[0] if page.group else page.id
        row = row_of.get((str(queue.source / name), page.number))
        if row is None:
            return item
        cells = {name: str(column[row]) for name, column in found.columns.items()}
        return replace(
            item,
            suggested=cells["class"] or None,
            confidence=float(cells["confidence"]) if cells["confidence"] else None,
            runner_up=cells.get("class_2") or None,
            runner_up_confidence=float(cells["confidence_2"]) if cells.get("confidence_2") else None,
            note=cells["status"],
        )

    return replace(queue, items=tuple(suggested(item) for item in queue.items))


def _made_by(folder: Path) -> object:
    try:
        return json.loads((folder / MADE_BY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
