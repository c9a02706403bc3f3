"""What a class report is made from: a member's predictions for a split, or a file of predictions.

Nothing here imports torch unless predictions are missing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.members import data_of, is_at_hand, merge_checkpoints
from docclf_cli.engine.inference.stored import kept
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.profile.paths import absolute_data
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.caveats import caveats
from docclf_cli.tasks.evaluate.evaluate import labelled_pages
from docclf_cli.tasks.results_folder import results_folder, writable_place

logger = logging.getLogger("docclf")
FOLDER = "class-report"


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Predictions to report on, and what is known around them.

    Attributes:
        source: The run, checkpoint or file of predictions.
        folder: Where the report goes.
        split: Which pages.
        predictions: Of these pages.
        train: Of training pages, without augmentation, where they are stored.
        val: Of validation pages, where they are stored.
        temperature: Fitted at the end of training; 1 where no checkpoint is known.
        run: The folder of the run, where there is one.
        data: Where the pages are, as far as that is known.
        notes: What else must be known to read the metrics.
    """

    source: Path
    folder: Path
    split: str
    predictions: Predictions
    train: Predictions | None = None
    val: Predictions | None = None
    temperature: float = 1.0
    run: RunFolder | None = None
    data: DataConfig | None = None
    notes: tuple[str, ...] = ()


def inputs_of(
    path: Path,
    split: str | None = None,
    *,
    data: str | None = None,
    output: Path | None = None,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> ReportInputs:
    """What a run or checkpoint says about a split: stored where it is fresh, else predicted now.

    Args:
        path: Run folder or checkpoint file.
        split: `val` or `train` of the run's own split, or `test`; None is `val`, or `test` of other `data`.
        data: Another data root; None is the one the checkpoint was trained on.
        output: Parent of the folder for the report; None is the run itself (`results_folder`).
        runtime_config: Device and numerics, where something has to be predicted.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: The split is not known, or its pages have no labels or trained the model.
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    if path.suffix == ".npz":
        raise InputError(f"{path} is a file of predictions", "name it with --predictions")
    member, split = TrainedModel.load(path), split or ("val" if data is None else "test")
    if member.is_folds and split == "train":
        raise InputError(
            f"{path}: each page is a training page of all folds but one", "report on val (out-of-fold) or test"
        )
    config = member.info.data if data is None else data_of(member.info.data, data, split=split)
    predictions = _kept_instead(member, split, config) if data is None else None
    if predictions is None:
        wanted = labelled_pages(member, split, config)
        predictions = merge_checkpoints(
            member, split, get_predictions(wanted, runtime_config=runtime_config, emit=emit, stop=stop)
        )
    return _inputs(path, member, split, predictions, config, output)


def inputs_of_file(
    path: Path, split: str | None = None, *, data: str | None = None, output: Path | None = None
) -> ReportInputs:
    """A file of stored predictions; beside the checkpoint that made them they are reported with it.

    Args:
        path: The `.npz`.
        split: What its pages are called; by default what its name starts with.
        data: Where its pages are, for thumbnails.
        output: Parent of the folder for the report; None is that of the file or its run (`results_folder`).

    Raises:
        InputError: It is missing or damaged.
    """
    predictions = Predictions.load(path)
    label = split or path.stem.partition("-")[0]
    best = RunFolder(path.absolute().parent.parent).best
    if best.is_file() and (member := TrainedModel.load(best)).info.sha256 == predictions.fingerprint.get("checkpoint"):
        config = member.info.data if data is None else data_of(member.info.data, data, split=label)
        return _inputs(path, member, label, predictions, config, output)
    alone = None if data is None else absolute_data(DataConfig(root=data))
    folder = writable_place(path.parent, output) / FOLDER / path.stem
    return ReportInputs(path, folder, label, predictions, data=alone)


def _inputs(
    source: Path, member: TrainedModel, split: str, predictions: Predictions, config: DataConfig, output: Path | None
) -> ReportInputs:
    sides: dict[str, Predictions | None] = {"train": None, "val": None}
    if not member.is_folds:  # there each page is a training page of all folds but one
        sides = {name: predictions if name == split else kept(member, name) for name in sides}
    run = RunFolder(member.folder)
    folder = results_folder(member, FOLDER, split, config, output)
    temperature = member.temperature_of(split)
    notes = caveats(split, monitor=member.info.monitor, folds=member.is_folds, temperature=temperature)
    return ReportInputs(
        source, folder, split, predictions, **sides, temperature=temperature, run=run, data=config, notes=notes
    )


def _kept_instead(member: TrainedModel, split: str, config: DataConfig) -> Predictions | None:
    """Stored predictions where the pages need not or cannot be held against the data."""
    if split == "train":  # `train` scores and stores a part of the training pages
        return kept(member, split)
    if is_at_hand(config) or (found := kept(member, split)) is None:
        return None
    logger.warning(
        "%s does not exist: the newest stored predictions for %s are used without a check", config.root, split
    )
    return found
