"""`evaluate`: scores a model on a split, compares it with another, and finds a confidence threshold."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import names_split
from docclf_cli.data.index.splits import stratified_sample
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.leaks import find_leaks
from docclf_cli.engine.inference.members import (
    Indices,
    Member,
    data_of,
    member_at,
    merge_checkpoints,
    precisions_of,
    requests_of,
    trained_ids,
)
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.metrics.calibration import calibration_error, confidences
from docclf_cli.metrics.class_metrics import score
from docclf_cli.metrics.compare import mcnemar, paired_difference, scored_together, sentence
from docclf_cli.metrics.confusion import MATRIX_METRICS
from docclf_cli.metrics.intervals import clusters_of
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.evaluation import Comparison, EvaluateResult
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.caveats import calibrated_for_scoring, caveats
from docclf_cli.tasks.evaluate.confidence_threshold import check_target, evaluate_threshold, held_out
from docclf_cli.tasks.evaluate.corruptions import SEED, corrupted_views, measure_corruptions
from docclf_cli.tasks.result_files import write_class_report, write_confidence_plots, write_predictions
from docclf_cli.tasks.results_folder import results_folder
from docclf_cli.text import composed

logger = logging.getLogger("docclf")
# The metric that a comparison is decided by, for each `train.monitor`; macro-F1 for all others.
_DECIDING_METRICS = {**{name: name for name in MATRIX_METRICS}, "val_loss": "log_loss"}


@dataclass(frozen=True)
class EvaluateOptions:
    """What `evaluate` does besides scoring a split.

    Attributes:
        compare: Compare with this run or checkpoint.
        target_precision: Find the confidence from which on predictions have this precision.
        degrade: Score the split for each kind and severity of corruption.
        limit: Corrupt at most this many pages (a stratified sample).
    """

    compare: Path | None = None
    target_precision: float | None = None
    degrade: bool = False
    limit: int = 300


@dataclass(frozen=True)
class _Evaluation:
    """A model, the pages it is scored on, and how predictions are made.

    Attributes:
        member: The model.
        split: The split that is scored.
        requests: The pages, for each checkpoint of the model.
        folder: Where result files are written.
        runtime_config: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.
        predictions: For these pages, uncalibrated.
    """

    member: Member
    split: str
    requests: list[PredictionRequest]
    folder: Path
    runtime_config: RuntimeConfig | None
    emit: Emit
    stop: StopFlag
    predictions: Predictions

    @property
    def temperature(self) -> float:
        """The temperature for these pages."""
        return self.member.temperature_of(self.split)


def evaluate(
    checkpoint_path: Path,
    split: str | None = None,
    *,
    data: str | None = None,
    images: str | None = None,
    options: EvaluateOptions | None = None,
    output: Path | None = None,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> EvaluateResult:
    """Score a model on labelled pages.

    Args:
        checkpoint_path: Checkpoint file or run folder; a folds run is one model.
        split: `val` and `train` of the run's own split, or `test`; None is `val`, or `test` of other `data`.
        data: Another data root; None is the one the model was trained on.
        images: Folder of the images of a CSV.
        options: What to do besides scoring.
        output: Parent of the folder for results; None is the run itself (`results_folder`).
        runtime_config: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: The split does not exist, its pages have no labels or trained the model, or a precision is to be
            shown on training pages.
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    options = options or EvaluateOptions()
    if options.target_precision is not None:
        check_target(options.target_precision)
        if split == "train":
            raise InputError(
                "--target-precision: the model was trained on the pages of --split train, where any confidence looks right",
                "ask on held-out pages: --split val or --split test",
            )
    member = member_at(checkpoint_path)
    other = None if options.compare is None else member_at(options.compare)
    trained_on = member.info.data
    split = split or ("val" if data is None else "test")
    config = trained_on
    if data is not None or images is not None:
        config = data_of(trained_on, data or trained_on.root, images, split)
    requests = labelled_pages(member, split, config)
    evaluation = _Evaluation(
        member=member,
        split=split,
        requests=requests,
        folder=results_folder(member, "evaluate", split, config, output),
        runtime_config=runtime_config,
        emit=emit,
        stop=stop,
        predictions=_predict(member, split, requests, runtime_config, emit, stop),
    )
    left_out = requests[0].index.left_out
    left_out.say(requests[0].data.root)
    result = replace(_score(evaluation), left_out=left_out.counts)
    if other is not None:
        result = replace(result, comparison=_compare_with(evaluation, other))
    if options.target_precision is not None:
        result = _with_threshold(evaluation, result, options.target_precision)
    return _with_corruptions(evaluation, result, options.limit) if options.degrade else result


def labelled_pages(member: Member, split: str, config: DataConfig) -> list[PredictionRequest]:
    """Request the pages of a split that a model can be scored on, for each of its checkpoints.

    Raises:
        InputError: The split does not exist, its pages have no labels, or they trained the model.
    """
    indices = Indices(config)
    requests = requests_of(member, split, indices)
    if requests[0].index.targets is None:
        raise InputError(f"{config.root}: the {split} pages have no labels", "`docclf predict` sorts them")
    return _without_training_pages(member, requests, indices) if split == "test" else requests


def compare(mine: Predictions, other: Predictions, path: Path, split: str, monitor: str) -> Comparison:
    """Compare two models on the pages that neither was trained on.

    Args:
        mine: Calibrated predictions of the model for the split.
        other: Calibrated predictions of the other model, for the same pages or for its own held-out pages.
        path: The other model, for messages.
        split: Name of the split, for messages.
        monitor: `train.monitor` of the model.

    Raises:
        InputError: They have no page in common, or classes or labels differ.
    """
    shared = np.intersect1d(mine.ids.astype(np.str_), other.ids.astype(np.str_))
    if not len(shared):
        raise InputError(
            f"{path}: it has none of these {len(mine)} {split} pages among its own",
            "compare on pages that neither was trained on: --split test, or --data",
        )
    left_out = len(mine) - len(shared)
    if left_out:
        logger.warning(
            "%d of %d pages are left out: %s was trained on them, or does not know them", left_out, len(mine), path
        )
    a, b = scored_together([one.take(np.isin(one.ids.astype(np.str_), shared)) for one in (mine, other)])
    deciding = _DECIDING_METRICS.get(monitor, "f1_macro")
    differences = tuple(paired_difference(a, b, name) for name in dict.fromkeys((deciding, "f1_macro", "accuracy")))
    return Comparison(
        other=path,
        pages=len(a),
        left_out=left_out,
        monitor=deciding,
        differences=differences,
        sentences=tuple(sentence(difference) for difference in differences),
        mcnemar=mcnemar(a, b),
        by_group=clusters_of(a.groups) is not None,
    )


def _predict(
    member: Member,
    split: str,
    requests: list[PredictionRequest],
    runtime_config: RuntimeConfig | None,
    emit: Emit,
    stop: StopFlag,
) -> Predictions:
    """Predict the requested pages with a model, in the order of the index."""
    parts = get_predictions(requests, runtime_config=runtime_config, emit=emit, stop=stop)
    return _in_order(merge_checkpoints(member, split, parts), requests[0].index)


def _without_training_pages(
    member: Member, requests: list[PredictionRequest], indices: Indices
) -> list[PredictionRequest]:
    """Remove copies of training pages from the requested test pages.

    Raises:
        InputError: Only copies are requested, or some are and the data has no test split of its own.
    """
    index = requests[0].index
    config = indices.config
    leaks = find_leaks([member], index, [indices])
    has_test_split = names_split(config, "test")
    if leaks.copies.any():
        first = next(iter(leaks.of))
        count = int(leaks.copies.sum())
        which = f"{count} of its {len(index)} pages (such as {index.ids[first]}, a copy of {leaks.of[first]})"
        if not has_test_split or count == len(index):
            why = "" if has_test_split else "sets no test pages apart, and "
            raise InputError(
                f"{config.root} {why}{which} trained {member.path}",
                "score --split val, or name labelled pages of their own with --data",
            )
        logger.warning("%s: %s trained %s: they are not scored", config.root, which, member.path)
        return [replace(one, rows=one.rows[~leaks.copies[one.rows]]) for one in requests]
    if not has_test_split or not leaks.all_known:
        _warn_of_same_names(member, index, config, has_test_split)
    return requests


def _warn_of_same_names(member: Member, index: DocumentIndex, config: DataConfig, has_test_split: bool) -> None:
    trained = {composed(name) for name in trained_ids(member).tolist()}
    same = [name for name in index.row_of if name in trained]
    if same and not has_test_split:
        logger.warning(
            "%s: %d of its %d pages (such as %s) are named as pages that trained %s; if they are the same, saved anew, "
            "these scores mislead",
            config.root,
            len(same),
            len(index),
            same[0],
            member.path,
        )
    elif trained and has_test_split:
        logger.info("the training pages of %s are not there: test pages are not compared with them", member.path)


def _in_order(predictions: Predictions, index: DocumentIndex) -> Predictions:
    place = {name: row for row, name in enumerate(index.ids.tolist())}
    return predictions.take(np.argsort([place[name] for name in predictions.ids.tolist()], kind="stable"))


def _score(evaluation: _Evaluation) -> EvaluateResult:
    """Score the predictions, and write their tables and plots."""
    member = evaluation.member
    split = evaluation.split
    predictions = evaluation.predictions
    judged = calibrated_for_scoring(predictions, split, evaluation.temperature)
    scores = score(judged)
    files = [
        write_predictions(evaluation.folder / "predictions.csv", predictions, evaluation.temperature),
        *write_class_report(evaluation.folder, split, predictions, scores),
        *write_confidence_plots(evaluation.folder, judged, 1.0),
    ]
    scored = predictions.scored()
    return EvaluateResult(
        checkpoint=member.path,
        split=split,
        scores=scores,
        temperature=member.temperature,
        uncalibrated_ece=calibration_error(*confidences(scored), scored.groups),
        files=tuple(files),
        notes=caveats(split, monitor=member.info.monitor, folds=member.is_folds, temperature=member.temperature),
        precision=precisions_of([predictions]),
    )


def _compare_with(evaluation: _Evaluation, other: Member) -> Comparison:
    """Compare with another model: on the same test pages, or on the own held-out pages that it holds out too."""
    split = evaluation.split
    data = evaluation.requests[0].data if split == "test" else other.info.data
    requests = labelled_pages(other, split, data)
    theirs = _predict(other, split, requests, evaluation.runtime_config, evaluation.emit, evaluation.stop)
    return compare(
        evaluation.predictions.at_temperature(evaluation.temperature),
        theirs.at_temperature(other.temperature_of(split)),
        other.path,
        split,
        evaluation.member.info.monitor,
    )


def _with_threshold(evaluation: _Evaluation, result: EvaluateResult, target: float) -> EvaluateResult:
    """Add a confidence threshold, found on the run's held-out pages (and their degraded copies, if it has such)."""
    member = evaluation.member
    clean, degraded = held_out(member, evaluation.runtime_config, evaluation.emit, evaluation.stop)
    temperature = member.temperature_of("val")
    found = evaluate_threshold(
        clean.at_temperature(temperature),
        None if degraded is None else degraded.at_temperature(temperature),
        evaluation.predictions.at_temperature(evaluation.temperature),
        target=target,
        temperature=1.0,
        chosen_here=evaluation.split == "val",
        folder=evaluation.folder,
    )
    return replace(result, trust=found, files=(*result.files, found.queue))


def _with_corruptions(evaluation: _Evaluation, result: EvaluateResult, limit: int) -> EvaluateResult:
    """Add the scores of a sample of the pages for each kind and severity of corruption."""
    requests = evaluation.requests
    index = requests[0].index
    clean = evaluation.predictions.take(stratified_sample(evaluation.predictions.labels, limit, SEED))
    sampled = np.flatnonzero(np.isin(index.ids, clean.ids))
    views = corrupted_views(index.ids)
    # One call for all views, so that each page is decoded once.
    predictions = get_predictions(
        [replace(one, rows=np.intersect1d(one.rows, sampled), view=view) for _, _, view in views for one in requests],
        runtime_config=evaluation.runtime_config,
        emit=evaluation.emit,
        stop=evaluation.stop,
    )
    by_view = [predictions[start : start + len(requests)] for start in range(0, len(predictions), len(requests))]
    corruptions, files = measure_corruptions(
        clean,
        [(kind, severity) for kind, severity, _ in views],
        [_in_order(merge_checkpoints(evaluation.member, evaluation.split, parts), index) for parts in by_view],
        evaluation.folder,
        of=len(evaluation.predictions),
        temperature=evaluation.temperature,
    )
    return replace(result, corruptions=corruptions, files=(*result.files, *files))
