"""`class-report`: scores a split class by class, from predictions of a model or from a file of predictions.

Torch is imported only if predictions have to be made.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.members import (
    data_of,
    is_at_hand,
    merge_checkpoints,
    precisions_of,
    stored_predictions,
)
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.metrics.class_metrics import score
from docclf_cli.metrics.mistakes import most_confused
from docclf_cli.metrics.overfitting import train_val_gap
from docclf_cli.profile.paths import absolute_data
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.registry import did_you_mean
from docclf_cli.results.class_report import ClassReport, OneClass
from docclf_cli.results.metrics import Scores
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.caveats import as_judged, caveats
from docclf_cli.tasks.evaluate.evaluate import labelled_pages
from docclf_cli.tasks.result_files import write_class_report, write_comparison
from docclf_cli.tasks.results_folder import results_folder, writable_place
from docclf_cli.tasks.text_sides import score_sides
from docclf_cli.text import composed

logger = logging.getLogger("docclf")
FOLDER = "class-report"


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Predictions to report on, and what is known about them.

    Attributes:
        source: The run, checkpoint or file of predictions.
        folder: Where the report is written.
        split: The split of the pages.
        predictions: Predictions for these pages.
        train: Predictions for training pages without augmentation, if they are stored.
        val: Predictions for validation pages, if they are stored.
        temperature: Fitted at the end of training; 1 if no checkpoint is known.
        model: Architecture, if a checkpoint is known.
        run: The folder of the run, if there is one.
        data: The data section of the pages, if it is known.
        notes: What a reader must know to judge the scores.
        member: The model, if it is known.
    """

    source: Path
    folder: Path
    split: str
    predictions: Predictions
    train: Predictions | None = None
    val: Predictions | None = None
    temperature: float = 1.0
    model: str = ""
    run: RunFolder | None = None
    data: DataConfig | None = None
    notes: tuple[str, ...] = ()
    member: TrainedModel | None = None


def inputs_of(
    path: Path,
    split: str | None = None,
    *,
    data: str | None = None,
    output: Path | None = None,
    reading: Mapping[str, Any] | None = None,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> ReportInputs:
    """Collect the inputs of a report on a run or checkpoint; predictions that are not stored are made.

    Args:
        path: Run folder or checkpoint file.
        split: `val` or `train` of the run's own split, or `test`; None is `val`, or `test` of other `data`.
        data: Another data root; None is the one the checkpoint was trained on.
        output: Parent of the folder for the report; None is the run itself (`results_folder`).
        reading: Keys of the data section that are to differ from those of the training, such as `allow_symlinks`.
        runtime_config: Device and numerics for predictions that have to be made.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: The split is not known, or its pages have no labels or trained the model.
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    if path.suffix == ".npz":
        raise InputError(f"{path} is a file of predictions", "name it with --predictions")
    member = TrainedModel.load(path).reading(reading or {})
    split = split or ("val" if data is None else "test")
    if member.is_folds and split == "train":
        raise InputError(
            f"{path}: each page is a training page of all folds but one", "report on val (out-of-fold) or test"
        )
    config = member.info.data if data is None else data_of(member.info.data, data, split=split)
    predictions = _load_without_pages(member, split, config) if data is None else None
    if predictions is None:
        requests = labelled_pages(member, split, config)
        parts = get_predictions(requests, runtime_config=runtime_config, emit=emit, stop=stop)
        predictions = merge_checkpoints(member, split, parts)
    return _inputs_of_member(path, member, split, predictions, config, output)


def inputs_of_file(
    path: Path, split: str | None = None, *, data: str | None = None, output: Path | None = None
) -> ReportInputs:
    """Collect the inputs of a report on a file of predictions; if it lies in the run that made it, the run's too.

    Args:
        path: The `.npz`.
        split: Name of the split of its pages; None is what the file name starts with.
        data: Data root of its pages, for thumbnails.
        output: Parent of the folder for the report; None is that of the file or its run (`results_folder`).

    Raises:
        InputError: The file is missing or damaged.
    """
    if path.suffix != ".npz" and path.exists():
        raise InputError(
            f"--predictions: {path} is no file of predictions (.npz)", "name a run or checkpoint without --predictions"
        )
    predictions = Predictions.load(path)
    split = split or path.stem.partition("-")[0]
    best = RunFolder(path.absolute().parent.parent).best
    if best.is_file() and (member := TrainedModel.load(best)).info.sha256 == predictions.fingerprint.get("checkpoint"):
        config = member.info.data if data is None else data_of(member.info.data, data, split=split)
        return _inputs_of_member(path, member, split, predictions, config, output)
    return ReportInputs(
        source=path,
        folder=writable_place(path.parent, output) / FOLDER / path.stem,
        split=split,
        predictions=predictions,
        data=None if data is None else absolute_data(DataConfig(root=data)),
    )


def class_report(inputs: ReportInputs) -> ClassReport:
    """Score a split class by class, and write its table and plots.

    Raises:
        InputError: No page is both readable and labelled.
    """
    judged = as_judged(inputs.predictions, inputs.split, inputs.temperature)
    scores = score(judged)
    files = write_class_report(inputs.folder, inputs.split, inputs.predictions, scores)
    train_and_val = _score_train_and_val(inputs, scores)
    if train_and_val is not None:
        files.append(write_comparison(inputs.folder, *train_and_val))
    return ClassReport(
        source=inputs.source,
        split=inputs.split,
        scores=scores,
        confused=most_confused(inputs.predictions),
        gaps=() if train_and_val is None else train_val_gap(train_and_val[0].classes, train_and_val[1].classes),
        temperature=inputs.temperature,
        files=tuple(files),
        notes=inputs.notes,
        precision=precisions_of([inputs.predictions]),
        sides=score_sides(inputs.predictions, judged),
    )


def one_class(inputs: ReportInputs, class_name: str) -> OneClass:
    """Score one class; nothing is written.

    Args:
        inputs: The predictions.
        class_name: Name of the class, or its index if no class has that name.

    Raises:
        InputError: There is no such class, or no page is both readable and labelled.
    """
    index = class_index(inputs.predictions.class_names, class_name)
    name = inputs.predictions.class_names[index]
    scores = score(as_judged(inputs.predictions, inputs.split, inputs.temperature))
    train_and_val = _score_train_and_val(inputs, scores)
    gaps = None if train_and_val is None else train_val_gap(train_and_val[0].classes, train_and_val[1].classes)
    pairs = most_confused(inputs.predictions, most=inputs.predictions.num_classes**2)
    return OneClass(
        source=inputs.source,
        split=inputs.split,
        index=index,
        row=scores.classes[index],
        gap=None if gaps is None else gaps[index],
        false_negatives=tuple(pair for pair in pairs if pair.target == name),
        false_positives=tuple(pair for pair in pairs if pair.predicted == name),
    )


def class_index(class_names: tuple[str, ...], class_name: str) -> int:
    """Find a class by its name, or else by its index.

    Raises:
        InputError: There is no such class.
    """
    if composed(class_name) in class_names:
        return class_names.index(composed(class_name))
    if class_name.isdecimal() and int(class_name) < len(class_names):
        return int(class_name)
    known = ", ".join(class_names[:30])
    raise InputError(
        f"--class: '{class_name}' is no class{did_you_mean(class_name, class_names)}",
        f"by name, or by index from 0 to {len(class_names) - 1}: {known}",
    )


def _inputs_of_member(
    source: Path, member: TrainedModel, split: str, predictions: Predictions, config: DataConfig, output: Path | None
) -> ReportInputs:
    stored: dict[str, Predictions | None] = {"train": None, "val": None}
    if not member.is_folds:  # each page is a training page of all folds but one
        stored = {name: predictions if name == split else stored_predictions(member, name) for name in stored}
    temperature = member.temperature_of(split)
    return ReportInputs(
        source=source,
        folder=results_folder(member, FOLDER, split, config, output),
        split=split,
        predictions=predictions,
        **stored,
        temperature=temperature,
        model=member.info.model_name,
        run=RunFolder(member.folder),
        data=config,
        notes=caveats(split, monitor=member.info.monitor, folds=member.is_folds, temperature=temperature),
        member=member,
    )


def _load_without_pages(member: TrainedModel, split: str, config: DataConfig) -> Predictions | None:
    """Load stored predictions that need not, or cannot, be compared with the pages; None if they must be."""
    if split == "train":  # `train` stores predictions for a sample of the training pages
        return stored_predictions(member, split)
    if is_at_hand(config) or (stored := stored_predictions(member, split)) is None:
        return None
    logger.warning(
        "%s does not exist: the newest stored predictions for %s are used without a check", config.root, split
    )
    return stored


def _score_train_and_val(inputs: ReportInputs, scores: Scores) -> tuple[Scores, Scores] | None:
    """Score training and validation pages; None unless both are stored, labelled and of the report's classes."""
    train = inputs.train
    val = inputs.val
    if train is None or val is None or train.targets is None or val.targets is None:
        return None
    if inputs.predictions.targets is None or len({one.class_names for one in (inputs.predictions, train, val)}) > 1:
        return None
    return score(train), scores if val is inputs.predictions else score(val)
