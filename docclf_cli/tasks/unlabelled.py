"""Pages without labels for `distill --unlabelled`: the teachers label them, and none of them is a page that anything is measured on."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path

from docclf_cli.data.index.copies import copies_of
from docclf_cli.data.index.index import load_index, load_training_index, names_split
from docclf_cli.data.index.tables import read_table
from docclf_cli.engine.checkpoints.run_folder import write_csv
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.events import Emit
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.predict.predict import PredictOptions, predict
from docclf_cli.text import plural

LABELS = "labels.csv"
ONE_PAGE = (".pdf", ".tif", ".tiff")  # may have several pages, and a row of `data.add` is about a file
logger = logging.getLogger("docclf")


def label_unlabelled(
    folder: Path,
    teachers: Sequence[TrainedModel],
    data: DataConfig,
    output: Path,
    runtime: RuntimeConfig,
    emit: Emit,
    stop: StopFlag,
) -> Path:
    """Let the teachers label the pages of a folder, and write the table for `data.add`.

    Files with the content of a test page or of a labelled page are left out: the former are never trained on, and the latter may be
    held out.

    Args:
        folder: The pages.
        teachers: Their mean decides.
        data: The data section of the student.
        output: Folder for the table.
        runtime: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: No page is left.
        Interrupted: `stop` was set; the same call resumes it.
    """
    spec = EnsembleSpec("teachers", tuple(teachers))
    asked = PredictOptions(inputs=(str(folder),), output=output / "predictions.csv", max_lost=0.0, overwrite=True)
    predict(spec, asked, stdin=io.BytesIO(), runtime_config=runtime, emit=emit, stop=stop)
    found = list(_readable(output / "predictions.csv"))
    known = load_training_index(data)[0].files()
    if names_split(data, "test"):
        known += load_index(data.model_copy(update={"groups": None, "relabel": None}), "test").files()
    copies = copies_of([path for path, _ in found], known)
    kept = [row for row, copy in zip(found, copies.tolist(), strict=True) if copy < 0]
    if len(kept) < len(found):
        logger.warning(
            "%s: %s of the data and left out",
            folder,
            plural(len(found) - len(kept), "file is a page", "files are pages"),
        )
    if not kept:
        raise InputError(f"--unlabelled: no page of {folder} is left to learn from", "name a folder of other images")
    table = output / LABELS
    write_csv(table, [{"ID": path, "target": label, "path": path} for path, label in kept])
    logger.info("the teachers label %s of %s", plural(len(kept), "page", "pages"), folder)
    return table


def _readable(path: Path) -> list[tuple[str, str]]:
    """Absolute path and class of each page that could be read, from a table of `predict`."""
    table = read_table(path)
    rows = zip(table["path"].tolist(), table["class"].tolist(), strict=True)
    named = [(str(Path(name).absolute()), label) for name, label in rows if label]
    several = [name for name, _ in named if Path(name).suffix.lower() in ONE_PAGE]
    if several:
        logger.warning(
            "%s of PDF and TIFF files left out: --unlabelled takes images", plural(len(several), "page", "pages")
        )
    return [(name, label) for name, label in named if Path(name).suffix.lower() not in ONE_PAGE]
