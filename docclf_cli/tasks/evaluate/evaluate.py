"""`evaluate`: scores a model on a split, compares it with another, and finds a confidence threshold."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.data.images.contact_sheet import THUMBNAIL
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import names_split
from docclf_cli.data.index.splits import stratified_sample
from docclf_cli.data.loading.pages import Pages
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.leaks import find_leaks
from docclf_cli.engine.inference.members import (
    Indices,
    data_of,
    merge_checkpoints,
    precisions_of,
    requests_of,
    trained_ids,
)
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.runtime import distributed
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.metrics.calibration import calibration_error, confidences
from docclf_cli.metrics.class_metrics import score
from docclf_cli.metrics.compare import mcnemar, paired_difference, scored_together, sentence
from docclf_cli.metrics.costs import Costs
from docclf_cli.metrics.intervals import clusters_of
from docclf_cli.metrics.metrics import DEFAULT, compared_metric, headline_metrics
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.evaluation import Comparison, EvaluateResult, ThresholdReport
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.caveats import as_judged, caveats
from docclf_cli.tasks.costs import read_costs
from docclf_cli.tasks.document_scores import score_documents
from docclf_cli.tasks.evaluate.confidence_threshold import check_target, evaluate_threshold, held_out
from docclf_cli.tasks.evaluate.corruptions import SEED, corrupted_views, measure_corruptions
from docclf_cli.tasks.evaluate.costs import measure_costs
from docclf_cli.tasks.evaluate.unknown import foreign_report, left_out_report
from docclf_cli.tasks.result_files import (
    write_calibration_plots,
    write_class_report,
    write_prediction_sheet,
    write_predictions,
    write_risk_coverage,
)
from docclf_cli.tasks.results_folder import results_folder
from docclf_cli.tasks.text_sides import score_sides
from docclf_cli.tasks.unknown import (
    MAX_LOST,
    UnknownRule,
    check_shares,
    foreign_pages,
    precision_condition,
    unknown_rule,
)
from docclf_cli.text import composed

logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class EvaluateOptions:
    """The options of `evaluate` besides the scores.

    Attributes:
        compare: Another run or checkpoint.
        target_precision: Find the confidence threshold that reaches this precision, e.g. 0.99.
        degrade: Score the split by corruption and severity.
        limit: Corrupt at most so many pages (a stratified draw).
        max_lost: Share of pages of known classes that may be called unknown.
        expect_unknown: Share of pages of no known class that a target precision is to hold among; None is none.
        unknown: Folder, file or glob of pages that belong to no class.
        costs: Table of prices to decide by.
    """

    compare: Path | None = None
    target_precision: float | None = None
    degrade: bool = False
    limit: int = 300
    max_lost: float = MAX_LOST
    expect_unknown: float | None = None
    unknown: str | None = None
    costs: Path | None = None


@dataclass(frozen=True)
class _Inference:
    """How predictions are made: device, events and stop flag."""

    runtime_config: RuntimeConfig | None
    emit: Emit
    stop: StopFlag

    def get_predictions(self, requests: list[PredictionRequest]) -> list[Predictions]:
        return get_predictions(requests, runtime_config=self.runtime_config, emit=self.emit, stop=self.stop)

    def predictions(self, member: TrainedModel, split: str, requests: list[PredictionRequest]) -> Predictions:
        """Predict with a member, in the order of the index."""
        found = merge_checkpoints(member, split, self.get_predictions(requests))
        return _in_order(found, requests[0].index)


@dataclass(frozen=True)
class _Evaluation:
    """A model and the pages it is scored on.

    Attributes:
        member: What is scored.
        split: Which pages.
        elsewhere: Whether they are of other data than the model was trained on.
        requests: The pages, for each checkpoint of the model.
        predictions: For these pages, uncalibrated.
        folder: Where files about them go.
        inference: Where more predictions are asked for.
    """

    member: TrainedModel
    split: str
    elsewhere: bool
    requests: list[PredictionRequest]
    predictions: Predictions
    folder: Path
    inference: _Inference

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
    reading: Mapping[str, Any] | None = None,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> EvaluateResult:
    """Score a model on labelled pages.

    All ranks run this function, and return the same result; rank 0 writes the files.

    Args:
        checkpoint_path: Checkpoint file or run folder; a folds run is one model.
        split: `val` and `train` of the run's own split, or `test`; None is `val`, or `test` of other `data`.
        data: Another data root; None is the one the model was trained on.
        images: Folder of the images of a CSV.
        options: What to do besides scoring.
        output: Parent of the folder for results; None is the run itself (`results_folder`).
        reading: Keys of the data section that are to differ from those of the training, such as `allow_symlinks`.
        runtime_config: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: The split does not exist, its pages have no labels, they trained the model, or a precision is to be
            shown on pages that did.
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    asked = options or EvaluateOptions()
    if asked.target_precision is not None:
        check_target(asked.target_precision)
        if split == "train":
            raise InputError(
                "--target-precision: the model was trained on the pages of --split train, where every confidence looks precise enough",
                "use held-out pages: --split val or --split test",
            )
    check_shares(asked.max_lost, asked.expect_unknown)
    member, other, costs = distributed.on_main(lambda: _opened(checkpoint_path, asked, reading or {}))
    evaluation = _evaluation_of(member, split, data, images, _Inference(runtime_config, emit, stop), output)
    left_out = evaluation.requests[0].index.left_out
    left_out.warn(evaluation.requests[0].data.root)
    result = replace(distributed.on_main(lambda: _scored(evaluation)), left_out=left_out.counts)
    rule = unknown_rule([member], asked.max_lost, asked.expect_unknown)
    if other is not None:
        result = replace(result, comparison=_compared(evaluation, other))
    if asked.target_precision is not None:
        result = _with_threshold(evaluation, result, asked.target_precision, rule, asked.expect_unknown)
    result = distributed.on_main(lambda: _with_unknown(evaluation, result, rule, asked.unknown))
    if costs is not None:
        judged = as_judged(evaluation.predictions, evaluation.split, evaluation.temperature)
        result = replace(result, costs=measure_costs(judged, costs, chosen_on_split=evaluation.split == "val"))
    return _corrupted(evaluation, result, asked.limit) if asked.degrade else result


def _opened(
    path: Path, asked: EvaluateOptions, reading: Mapping[str, Any]
) -> tuple[TrainedModel, TrainedModel | None, Costs | None]:
    """The model, the one that it is compared with, and the prices of mistakes."""
    member = TrainedModel.load(path).reading(reading)
    costs = None if asked.costs is None else read_costs(asked.costs, member.info.class_names)
    return member, None if asked.compare is None else TrainedModel.load(asked.compare).reading(reading), costs


def _evaluation_of(
    member: TrainedModel,
    split: str | None,
    data: str | None,
    images: str | None,
    inference: _Inference,
    output: Path | None,
) -> _Evaluation:
    trained_on = member.info.data
    split = split or ("val" if data is None else "test")
    config = trained_on
    if data is not None or images is not None:
        config = data_of(trained_on, data or trained_on.root, images, split)
    requests, folder = distributed.on_main(
        lambda: (labelled_pages(member, split, config), results_folder(member, "evaluate", split, config, output))
    )
    return _Evaluation(
        member, split, data is not None, requests, inference.predictions(member, split, requests), folder, inference
    )


def labelled_pages(member: TrainedModel, split: str, config: DataConfig) -> list[PredictionRequest]:
    """Request the pages of a split that a model can be scored on, for each of its checkpoints.

    Raises:
        InputError: The split does not exist, its pages have no labels, or they trained the model.
    """
    indices = Indices(config)
    requests = requests_of(member, split, indices)
    if requests[0].index.targets is None:
        raise InputError(
            f"{config.root}: the {split} pages have no labels", "`docclf predict` predicts unlabelled pages"
        )
    return _without_training_pages(member, requests, indices) if split == "test" else requests


def _without_training_pages(
    member: TrainedModel, requests: list[PredictionRequest], indices: Indices
) -> list[PredictionRequest]:
    """Remove copies of training pages from the requested test pages.

    Raises:
        InputError: Only copies are requested, or some are and the data has no test split of its own.
    """
    index, config = requests[0].index, indices.config
    leaks = find_leaks([member], index, [indices])
    apart = names_split(config, "test")
    if leaks.copies.any():
        first, count = next(iter(leaks.of)), int(leaks.copies.sum())
        which = f"{count} of its {len(index)} pages (such as {index.ids[first]}, a copy of {leaks.of[first]})"
        if not apart or count == len(index):
            why = "" if apart else "has no separate test split, and "
            raise InputError(
                f"{config.root} {why}{which} trained {member.path}",
                "score --split val, or name other labelled pages with --data",
            )
        logger.warning("%s: %s trained %s: they are not scored", config.root, which, member.path)
        return [replace(one, rows=one.rows[~leaks.copies[one.rows]]) for one in requests]
    if not apart or not leaks.all_known:
        _say_same_names(member, index, config, apart)
    return requests


def _say_same_names(member: TrainedModel, index: DocumentIndex, config: DataConfig, apart: bool) -> None:
    trained = {composed(name) for name in trained_ids(member).tolist()}
    same = [name for name in index.row_of if name in trained]
    if same and not apart:
        logger.warning(
            "%s: %d of its %d pages (such as %s) have the names of pages that trained %s; if they are the same pages, "
            "these scores are too optimistic", config.root, len(same), len(index), same[0], member.path,
        )  # fmt: skip
    elif trained and apart:
        logger.info("the training pages of %s are not available, so test pages are not compared with them", member.path)


def _in_order(predictions: Predictions, index: DocumentIndex) -> Predictions:
    place = {name: row for row, name in enumerate(index.ids.tolist())}
    return predictions.take(np.argsort([place[name] for name in predictions.ids.tolist()], kind="stable"))


def _scored(evaluation: _Evaluation) -> EvaluateResult:
    member, predictions = evaluation.member, evaluation.predictions
    judged = as_judged(predictions, evaluation.split, evaluation.temperature)
    scores = score(judged)
    files = [
        write_predictions(evaluation.folder / "predictions.csv", predictions, evaluation.temperature),
        *write_class_report(evaluation.folder, evaluation.split, predictions, scores),
        *write_calibration_plots(evaluation.folder, evaluation.split, judged, 1.0),
        write_prediction_sheet(
            evaluation.folder,
            evaluation.split,
            predictions,
            evaluation.temperature,
            _thumbnails(evaluation.requests[0]),
        ),
    ]
    scored = predictions.scored()
    before = calibration_error(*confidences(scored), scored.groups)
    notes = caveats(
        evaluation.split, monitor=member.info.monitor, folds=member.is_folds, temperature=member.temperature
    )
    return EvaluateResult(
        member.path, evaluation.split, scores, member.temperature, before, files=tuple(files), notes=notes,
        precision=precisions_of([evaluation.predictions]), documents=score_documents(judged),
        sides=score_sides(predictions, judged),
        max_unreadable=evaluation.requests[0].data.max_unreadable,
    )  # fmt: skip


def _thumbnails(request: PredictionRequest) -> Pages:
    return Pages(request.index, Preprocess(THUMBNAIL), request.data)


def _compared(evaluation: _Evaluation, other: TrainedModel) -> Comparison:
    """The other model on the same pages; of the run's own splits, on those that it holds out as well."""
    own_split = evaluation.split != "test"
    config = other.info.data if own_split else evaluation.requests[0].data
    requests = distributed.on_main(lambda: labelled_pages(other, evaluation.split, config))
    theirs = evaluation.inference.predictions(other, evaluation.split, requests).at_temperature(
        other.temperature_of(evaluation.split)
    )
    mine = evaluation.predictions.at_temperature(evaluation.temperature)
    return compare(mine, theirs, other.path, evaluation.split, evaluation.member.info.monitor)


def compare(mine: Predictions, other: Predictions, path: Path, split: str, monitor: str) -> Comparison:
    """Compare two models on the pages that neither was trained on.

    Args:
        mine: Calibrated predictions for the split.
        other: Those of the other model, for the same pages or for the pages that it holds out itself.
        path: The other model, for messages.
        split: Which pages, for messages.
        monitor: `train.monitor` of the model.

    Raises:
        InputError: No page, or not the same classes, or labels that differ.
    """
    shared = np.intersect1d(mine.ids.astype(np.str_), other.ids.astype(np.str_))
    if not len(shared):
        raise InputError(
            f"{path}: it holds out none of these {len(mine)} {split} pages",
            "compare on pages that neither model was trained on: --split test, or --data",
        )
    left_out = len(mine) - len(shared)
    if left_out:
        logger.warning(
            "%d of %d pages are left out: %s was trained on them, or does not know them", left_out, len(mine), path
        )
    both = [one.take(np.isin(one.ids.astype(np.str_), shared)) for one in (mine, other)]
    a, b = scored_together(both, names=("the model", str(path)))
    decides = compared_metric(monitor) or DEFAULT
    differences = tuple(paired_difference(a, b, name) for name in dict.fromkeys((decides, *headline_metrics())))
    sentences = tuple(sentence(difference) for difference in differences)
    return Comparison(
        path, len(a), left_out, decides, differences, sentences, mcnemar(a, b), clusters_of(a.groups) is not None
    )


def _with_unknown(
    evaluation: _Evaluation, result: EvaluateResult, rule: UnknownRule, source: str | None
) -> EvaluateResult:
    """How well unknown pages are told: on classes left out of the held-out pages, and on foreign pages if any are named."""
    report = left_out_report(evaluation.member, rule)
    if source is None:
        return replace(result, unknown=report)
    inference = evaluation.inference
    foreign, table = foreign_report(
        evaluation.member,
        rule,
        source,
        evaluation.folder,
        inference.runtime_config or RuntimeConfig(),
        inference.emit,
        inference.stop,
    )
    return replace(result, unknown=replace(report, foreign=foreign), files=(*result.files, table))


def _with_threshold(
    evaluation: _Evaluation, result: EvaluateResult, target: float, rule: UnknownRule, expect_unknown: float | None
) -> EvaluateResult:
    """A threshold from the run's own held-out pages, and from their degraded copies where it validates on these."""
    member, inference = evaluation.member, evaluation.inference
    clean, degraded = held_out(member, inference.runtime_config, inference.emit, inference.stop)
    held_out_temperature = member.temperature_of("val")
    pages = evaluation.predictions.at_temperature(evaluation.temperature)

    def find() -> ThresholdReport:
        found = evaluate_threshold(
            clean.at_temperature(held_out_temperature),
            None if degraded is None else degraded.at_temperature(held_out_temperature),
            pages,
            target=target,
            temperature=1.0,
            chosen_on_split=evaluation.split == "val",
            folder=evaluation.folder,
            foreign=foreign_pages(member, rule, expect_unknown),
            condition=precision_condition(target, expect_unknown),
        )
        write_risk_coverage(evaluation.folder, evaluation.split, pages, 1.0, found.on_split)
        return found

    found = distributed.on_main(find)
    return replace(result, confidence_threshold=found, files=(*result.files, found.review_queue))


def _corrupted(evaluation: _Evaluation, result: EvaluateResult, limit: int) -> EvaluateResult:
    member, index = evaluation.member, evaluation.requests[0].index
    rows = stratified_sample(evaluation.predictions.labels, limit, SEED)
    clean = evaluation.predictions.take(rows)
    chosen = np.flatnonzero(np.isin(index.ids, clean.ids))
    views = corrupted_views(index.ids)
    # Asked for together, so that each page is read once for all damages.
    found = evaluation.inference.get_predictions(
        [
            replace(one, rows=np.intersect1d(one.rows, chosen), view=view)
            for _, _, view in views
            for one in evaluation.requests
        ]
    )
    per_view = len(evaluation.requests)
    parts = [found[start : start + per_view] for start in range(0, len(found), per_view)]
    corrupted = [_in_order(merge_checkpoints(member, evaluation.split, part), index) for part in parts]
    names = [(kind, severity) for kind, severity, _ in views]
    corruptions, files = distributed.on_main(
        lambda: measure_corruptions(
            clean,
            names,
            corrupted,
            evaluation.folder,
            split=evaluation.split,
            total_pages=len(evaluation.predictions),
            temperature=evaluation.temperature,
        )
    )
    return replace(result, corruptions=corruptions, files=(*result.files, *files))
