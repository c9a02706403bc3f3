"""`evaluate`: a checkpoint's predictions for a split, from the store where they are fresh, and their scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from docclf_cli.data.documents import DocumentIndex
from docclf_cli.data.index import load_index
from docclf_cli.data.splits import Split
from docclf_cli.engine.checkpoint import Checkpoint, find_checkpoint
from docclf_cli.engine.events import Emit, silent
from docclf_cli.engine.inference import Predictor, predict
from docclf_cli.engine.material import prepare
from docclf_cli.engine.outputs import write_class_report, write_predictions
from docclf_cli.engine.run_folder import RunFolder
from docclf_cli.engine.runtime import NEVER, StopFlag, resolve_runtime
from docclf_cli.engine.store import fingerprint, load_stored, store
from docclf_cli.errors import InputError
from docclf_cli.metrics.class_metrics import score
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.results.training import EvaluateResult

SPLITS = ("train", "val", "test")


def evaluate(
    checkpoint_path: Path,
    split: str,
    *,
    data: str | None = None,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> EvaluateResult:
    """Score a checkpoint on labelled pages.

    Args:
        checkpoint_path: Checkpoint file or run folder.
        split: `val` and `train` of the run's own split, or `test`.
        data: Another data root; None is the one the checkpoint was trained on.
        runtime_config: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: The split does not exist, or its pages have no labels.
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    path = find_checkpoint(checkpoint_path)
    checkpoint = Checkpoint.load(path)
    config = _data_config(checkpoint, data)
    index = _index_of(path.parent, config, split, checkpoint.class_names)
    runtime = resolve_runtime(runtime_config or RuntimeConfig())
    made_by = fingerprint(path, index.fingerprint(), precision=runtime.precision)
    predictions = load_stored(path, split, made_by)
    if predictions is None:
        material = prepare(index, checkpoint.preprocess, config, runtime, emit=emit, stop=stop)
        model = runtime.place(checkpoint.build(path))
        predictor = Predictor(model, checkpoint.preprocess, checkpoint.class_names, runtime)
        rows = np.arange(len(index))
        predictions = predict(
            predictor, material.pages, rows, fingerprint=made_by, task=f"{split} pages", emit=emit, stop=stop
        )
        store(path, split, predictions)
    return _result(path, split, predictions, checkpoint.temperature)


def _data_config(checkpoint: Checkpoint, data: str | None) -> DataConfig:
    trained_on = DataConfig.model_validate(checkpoint.profile["data"])
    if data is None:
        return trained_on
    # Files that belong to the training data say nothing about other pages.
    changes = {"root": data, "images": None, "groups": None, "relabel": None, "val": None, "limit": None}
    return trained_on.model_copy(update=changes)


def _index_of(run: Path, config: DataConfig, split: str, class_names: tuple[str, ...]) -> DocumentIndex:
    if split not in SPLITS:
        raise InputError(f"--split: '{split}' is not one of {', '.join(SPLITS)}")
    if split == "test":
        index = load_index(config.model_copy(update={"groups": None}), "test", class_names)
        if index.targets is None:
            raise InputError(f"{config.root}: the test pages have no labels", "unlabelled pages cannot be scored")
        return index
    stored = RunFolder(run).split
    if not stored.is_file():
        raise InputError(
            f"{run}: no split.csv beside the checkpoint, so its {split} pages are not known", "score --split test"
        )
    index = load_index(config, "train", class_names)
    return index.take(Split.load(stored).rows(index, split))


def _result(path: Path, split: str, predictions: Predictions, temperature: float) -> EvaluateResult:
    scores = score(predictions, temperature=temperature)
    folder = path.parent / "evaluate" / split
    files = [write_predictions(folder / "predictions.csv", predictions, temperature)]
    files += write_class_report(folder, split, predictions, scores)
    return EvaluateResult(path, split, scores, temperature, tuple(files))
