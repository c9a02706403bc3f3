"""`evaluate`: scores a model on a split, compares it with another, and finds a confidence threshold."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import names_split
from docclf_cli.data.index.splits import stratified_sample
from docclf_cli.data.loading.pages import NamedView
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
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.metrics.calibration import calibration_error, confidences
from docclf_cli.metrics.class_metrics import score
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.evaluation import Comparison, EvaluateResult
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.caveats import as_judged, caveats
from docclf_cli.tasks.costs import read_costs
from docclf_cli.tasks.evaluate.compare import compare
from docclf_cli.tasks.evaluate.confidence_threshold import check_target, evaluate_threshold, held_out
from docclf_cli.tasks.evaluate.corruptions import SEED, corrupted_views, measure_corruptions
from docclf_cli.tasks.evaluate.costs import measure_costs
from docclf_cli.tasks.evaluate.unknown import foreign_report, left_out_report
from docclf_cli.tasks.result_files import write_calibration_plots, write_class_report, write_predictions
from docclf_cli.tasks.results_folder import results_folder
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
    """What is asked besides the scores.

    Attributes:
        compare: Another run or checkpoint.
        target_precision: Find the confidence threshold that reaches this precision, e.g. 0.99.
        degrade: Score the split by kind and strength of damage.
        limit: Damage at most so many pages (a stratified draw).
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
    """Where predictions are asked for."""

    runtime_config: RuntimeConfig | None
    emit: Emit
    stop: StopFlag

    def get_predictions(self, requests: list[PredictionRequest]) -> list[Predictions]:
        return get_predictions(requests, runtime_config=self.runtime_config, emit=self.emit, stop=self.stop)

    def predictions(self, member: TrainedModel, split: str, requests: list[PredictionRequest]) -> Predictions:
        """What a member says, in the order of the index."""
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
        desk: Where more predictions are asked for.
    """

    member: TrainedModel
    split: str
    elsewhere: bool
    requests: list[PredictionRequest]
    predictions: Predictions
    folder: Path
    desk: _Inference

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
    member = TrainedModel.load(checkpoint_path)
    costs = None if asked.costs is None else read_costs(asked.costs, member.info.class_names)
    other = None if asked.compare is None else TrainedModel.load(asked.compare)
    case = _case(member, split, data, images, _Inference(runtime_config, emit, stop), output)
    left_out = case.requests[0].index.left_out
    left_out.warn(case.requests[0].data.root)
    result = replace(_scored(case), left_out=left_out.counts)
    rule = unknown_rule([member], asked.max_lost, asked.expect_unknown)
    if other is not None:
        result = replace(result, comparison=_compared(case, other))
    if asked.target_precision is not None:
        result = _with_threshold(case, result, asked.target_precision, rule, asked.expect_unknown)
    result = _with_unknown(case, result, rule, asked.unknown)
    if costs is not None:
        judged = as_judged(case.predictions, case.split, case.temperature)
        result = replace(result, costs=measure_costs(judged, costs, chosen_on_split=case.split == "val"))
    return _corrupted(case, result, asked.limit) if asked.degrade else result


def _case(
    member: TrainedModel, split: str | None, data: str | None, images: str | None, desk: _Inference, output: Path | None
) -> _Evaluation:
    trained_on = member.info.data
    split = split or ("val" if data is None else "test")
    config = trained_on
    if data is not None or images is not None:
        config = data_of(trained_on, data or trained_on.root, images, split)
    requests = labelled_pages(member, split, config)
    folder = results_folder(member, "evaluate", split, config, output)
    return _Evaluation(
        member, split, data is not None, requests, desk.predictions(member, split, requests), folder, desk
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


def _scored(case: _Evaluation) -> EvaluateResult:
    member, predictions = case.member, case.predictions
    judged = as_judged(predictions, case.split, case.temperature)
    scores = score(judged)
    files = [
        write_predictions(case.folder / "predictions.csv", predictions, case.temperature),
        *write_class_report(case.folder, case.split, predictions, scores),
        *write_calibration_plots(case.folder, judged, 1.0),
    ]
    scored = predictions.scored()
    before = calibration_error(*confidences(scored), scored.groups)
    notes = caveats(case.split, monitor=member.info.monitor, folds=member.is_folds, temperature=member.temperature)
    return EvaluateResult(
        member.path, case.split, scores, member.temperature, before, files=tuple(files), notes=notes,
        precision=precisions_of([case.predictions]),
    )  # fmt: skip


def _compared(case: _Evaluation, other: TrainedModel) -> Comparison:
    """The other model on the same pages; of the run's own splits, on those that it holds out as well."""
    own_split = case.split != "test"
    requests = labelled_pages(other, case.split, other.info.data if own_split else case.requests[0].data)
    theirs = case.desk.predictions(other, case.split, requests).at_temperature(other.temperature_of(case.split))
    mine = case.predictions.at_temperature(case.temperature)
    return compare(mine, theirs, other.path, case.split, case.member.info.monitor)


def _with_unknown(case: _Evaluation, result: EvaluateResult, rule: UnknownRule, source: str | None) -> EvaluateResult:
    """How well unknown pages are told: on classes left out of the held-out pages, and on foreign pages if any are named."""
    report = left_out_report(case.member, rule)
    if source is None:
        return replace(result, unknown=report)
    desk = case.desk
    runtime_config = desk.runtime_config or RuntimeConfig()
    foreign, table = foreign_report(case.member, rule, source, case.folder, runtime_config, desk.emit, desk.stop)
    return replace(result, unknown=replace(report, foreign=foreign), files=(*result.files, table))


def _with_threshold(
    case: _Evaluation, result: EvaluateResult, target: float, rule: UnknownRule, expect_unknown: float | None
) -> EvaluateResult:
    """A threshold from the run's own held-out pages, and from their degraded copies where it validates on these."""
    member, desk = case.member, case.desk
    clean, degraded = held_out(member, desk.runtime_config, desk.emit, desk.stop)
    held_out_temperature = member.temperature_of("val")
    found = evaluate_threshold(
        clean.at_temperature(held_out_temperature),
        None if degraded is None else degraded.at_temperature(held_out_temperature),
        case.predictions.at_temperature(case.temperature),
        target=target, temperature=1.0, chosen_on_split=case.split == "val", folder=case.folder,
        foreign=foreign_pages(member, rule, expect_unknown), condition=precision_condition(target, expect_unknown),
    )  # fmt: skip
    return replace(result, confidence_threshold=found, files=(*result.files, found.review_queue))


def _corrupted(case: _Evaluation, result: EvaluateResult, limit: int) -> EvaluateResult:
    member, index = case.member, case.requests[0].index
    rows = stratified_sample(case.predictions.labels, limit, SEED)
    clean = case.predictions.take(rows)
    chosen = np.flatnonzero(np.isin(index.ids, clean.ids))
    views = corrupted_views(index.ids)
    # Asked for together, so that each page is read once for all damages.
    found = case.desk.get_predictions([_through(one, chosen, view) for _, _, view in views for one in case.requests])
    per_view = len(case.requests)
    parts = [found[start : start + per_view] for start in range(0, len(found), per_view)]
    corrupted = [_in_order(merge_checkpoints(member, case.split, part), index) for part in parts]
    corruptions, files = measure_corruptions(
        clean, [(kind, severity) for kind, severity, _ in views], corrupted, case.folder,
        total_pages=len(case.predictions), temperature=case.temperature,
    )  # fmt: skip
    return replace(result, corruptions=corruptions, files=(*result.files, *files))


def _through(requests: PredictionRequest, chosen: np.ndarray, view: NamedView) -> PredictionRequest:
    return replace(requests, rows=np.intersect1d(requests.rows, chosen), view=view)
