"""`tta`: scores a model on several views of each page, one by one and merged, and predicts with the merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.engine.checkpoints.run_folder import write_csv
from docclf_cli.engine.inference.member_predictions import (
    MERGED,
    VAL,
    EvaluationPages,
    MemberPredictions,
    find_evaluation_pages,
    predict_members,
    trained_on,
)
from docclf_cli.engine.inference.members import Member, member_at
from docclf_cli.engine.inference.store import PLAIN
from docclf_cli.engine.inference.views import PLAIN_VIEW, PageView, views_of
from docclf_cli.ensembling.held_out import HeldOut, require
from docclf_cli.ensembling.merging import Merge, cross_pruned, prune
from docclf_cli.events import Emit, silent
from docclf_cli.files import write_json
from docclf_cli.profile.schema import Profile
from docclf_cli.results.ensembling import Line, Measured, TTAResult
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.ensemble.files import (
    TTA_PREDICTIONS,
    ask_for_fill,
    describe,
    plain,
    probability_rows,
    submission_of,
    submission_rows,
    unreadable_in,
    unreadable_notes,
)
from docclf_cli.tasks.ensemble.selection import advice, can_be_scored, measure, metric_of, score_by
from docclf_cli.tasks.predict.submission import Submission
from docclf_cli.tasks.results_folder import results_folder
from docclf_cli.version import __version__

FOLDS = 5  # of the held-out pages, for the nested cross-fitting of pruning
PROBABILITIES, META = "tta_probabilities.csv", "tta_predictions_meta.json"


@dataclass(frozen=True, eq=False)
class _ViewPredictions:
    """The predictions of a member in each view.

    Attributes:
        predictions: By name of the view.
        views: Names of the views to merge.
        evaluation_pages: The pages.
        figure: The metric that choices follow.
        merge: How views are merged.
    """

    predictions: MemberPredictions
    views: tuple[str, ...]
    evaluation_pages: EvaluationPages
    figure: str
    merge: Merge

    def line(self, name: str, predictions: MemberPredictions, view: str) -> Line:
        """Score predictions in one view, and compare them with the plain page."""

        def measured(in_view: Mapping[str, Predictions], plain_page: Mapping[str, Predictions]) -> Measured | None:
            if not in_view:
                return None
            return measure(in_view[view], None if view == PLAIN else plain_page[PLAIN], self.figure)

        held_out = measured(predictions.held_out, self.predictions.held_out)
        if self.evaluation_pages.split == VAL:
            return Line(name, held_out, None)
        return Line(name, held_out, measured(predictions.target, self.predictions.target))


def tta(
    checkpoint: Path,
    profile: Profile,
    *,
    data: Mapping[str, Any] | None = None,
    split: str | None = None,
    prune_views: bool = False,
    fill: str | None = None,
    output: Path | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> TTAResult:
    """Score a model in each view and with all views merged, and predict with the merge.

    Args:
        checkpoint: Checkpoint file or run folder.
        profile: Its `ensemble.tta` section names views and merge.
        data: Keys of the data section that the user stated; without a `root` the model's own data is used.
        split: `test` or `val`; None is `test` where the data has test pages.
        prune_views: Drop the views that hurt on held-out pages.
        fill: Class of pages that cannot be read.
        output: Parent of the folder for results; None is the run itself (`results_folder`).
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: A view is unknown, or there are too few held-out pages to prune on.
        CheckpointError: There is no such checkpoint, or it is damaged.
        Interrupted: `stop` was set; what is finished is stored.
    """
    figure, config = metric_of(profile.train.monitor), profile.ensemble.tta
    member = member_at(checkpoint)
    evaluation_pages = find_evaluation_pages([member], data or {}, split)
    submission = submission_of(evaluation_pages, member.info.class_names, fill)
    if prune_views:
        require(len(evaluation_pages.common), "--prune")
    (views,) = views_of(config, [member])
    evaluation_pages.left_out(member.info.class_names).say(evaluation_pages.target.config.root)
    ask_for_fill(submission, member, evaluation_pages, runtime_config=profile.runtime, emit=emit, stop=stop)
    predicted_views = tuple(dict.fromkeys((PLAIN_VIEW, *views)))
    (predictions,) = predict_members(
        [member], [predicted_views], evaluation_pages, runtime_config=profile.runtime, emit=emit, stop=stop
    )
    in_sample = trained_on([member], evaluation_pages)
    found = _ViewPredictions(
        predictions=_without_labels(predictions, in_sample),
        views=tuple(view.name for view in views),
        evaluation_pages=evaluation_pages,
        figure=figure,
        merge=config.merge,
    )
    kept, cross_fitted = _prune(found) if prune_views else (found.views, None)
    folder = results_folder(member, "tta", evaluation_pages.split, evaluation_pages.target.config, output)
    return _finish(member, found, predicted_views, kept, cross_fitted, in_sample, submission, folder)


def _without_labels(predictions: MemberPredictions, in_sample: np.ndarray) -> MemberPredictions:
    """Remove the labels of pages that the member was trained on, so that these are not scored."""
    if not in_sample.any():
        return predictions
    target = {
        name: one if one.targets is None else replace(one, targets=np.where(in_sample, -1, one.targets))
        for name, one in predictions.target.items()
    }
    return replace(predictions, target=target)


def _prune(found: _ViewPredictions) -> tuple[tuple[str, ...], Predictions]:
    """Choose the views to keep on all held-out pages, and merge these pages by nested cross-fitting."""
    in_views = [found.predictions.held_out[name] for name in found.views]
    log_probs = np.stack([one.log_probs for one in in_views]).astype(np.float64)
    labels = in_views[0].labels
    score = score_by(found.figure)
    places = prune(log_probs, labels, found.merge, score)
    rows = np.flatnonzero((labels >= 0) & ~np.isnan(log_probs).any(axis=(0, 2)))
    groups = None if in_views[0].groups is None else in_views[0].groups[rows]
    fold_of = np.full(len(labels), -1)
    fold_of[rows] = HeldOut(log_probs[:, rows], labels[rows], groups, rows).folds(FOLDS)
    merged = cross_pruned(log_probs, labels, fold_of, found.merge, score)
    return tuple(found.views[place] for place in places), replace(in_views[0], log_probs=merged.astype(np.float32))


def _finish(
    member: Member,
    found: _ViewPredictions,
    predicted_views: Sequence[PageView],
    kept: tuple[str, ...],
    cross_fitted: Predictions | None,
    in_sample: np.ndarray,
    submission: Submission,
    folder: Path,
) -> TTAResult:
    """Merge the views, score the merge, and write its predictions."""
    merged = found.predictions.merged(kept, found.merge)
    target = merged.target[MERGED]
    rows = submission_rows(submission, target)
    title = f"{found.merge} of {len(kept)} views"
    scored = merged if cross_fitted is None else replace(merged, held_out={MERGED: cross_fitted})
    line = found.line(title, scored, MERGED)
    result = TTAResult(
        checkpoint=member.path,
        monitor=found.figure,
        merge=found.merge,
        views=tuple(found.line(view.view.name, found.predictions, view.name) for view in predicted_views),
        merged=line,
        kept=_view_names(predicted_views, kept),
        pruned=_view_names(predicted_views, [name for name in found.views if name not in kept]),
        advice=advice(title, line, "the plain page"),
        notes=tuple(_notes(found, cross_fitted is not None, in_sample)),
        split=found.evaluation_pages.split,
        pages=len(target),
        unreadable=unreadable_in(target),
        max_unreadable=found.evaluation_pages.target.config.max_unreadable,
        left_out=found.evaluation_pages.left_out(member.info.class_names).counts,
        files=(folder / TTA_PREDICTIONS, folder / PROBABILITIES, folder / META),
        precision=found.predictions.precision,
    )
    write_csv(folder / TTA_PREDICTIONS, rows)
    write_csv(folder / PROBABILITIES, probability_rows(target))
    write_json(folder / META, _meta(result, member, target))
    return result


def _view_names(views: Sequence[PageView], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(view.view.name for view in views if view.name in names)


def _notes(found: _ViewPredictions, pruned: bool, in_sample: np.ndarray) -> list[str]:
    notes = []
    if not found.predictions.held_out:
        notes.append(f"No page is known to be held out from this model ({found.evaluation_pages.why_none}).")
    else:
        notes.append("Held-out pages also chose the model's epoch, so scores on them are a little too good.")
    if pruned:
        notes.append(
            "Held-out scores of the merge are nested: each page is read in the views that the other held-out pages chose."
        )
    held_out = next(iter(found.predictions.held_out.values()), None)
    target = next(iter(found.predictions.target.values()))
    notes += unreadable_notes(
        None if held_out is None else held_out.log_probs, target.log_probs, found.evaluation_pages
    )
    if not can_be_scored(target):
        notes.append("The pages have no labels: they are predicted, and not scored.")
    elif in_sample.any():
        notes.append(f"{in_sample.sum()} of the pages were trained on: they are predicted, and not scored.")
    return notes


def _meta(result: TTAResult, member: Member, target: Predictions) -> dict[str, Any]:
    content = plain(TTAResult, result)
    return {
        "docclf": __version__,
        "member": describe(member),
        "classes": list(target.class_names),
        **{key: value for key, value in content.items() if key not in ("files", "checkpoint")},
    }
