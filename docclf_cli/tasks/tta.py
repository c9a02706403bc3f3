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
from docclf_cli.engine.inference.store import PLAIN
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.inference.views import PLAIN_VIEW, PageView, views_of
from docclf_cli.ensembling.held_out import HeldOut, require
from docclf_cli.ensembling.merging import Merge, cross_pruned, prune
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.files import write_json
from docclf_cli.profile.schema import Profile
from docclf_cli.results.ensembling import ScoreRow, TTAResult
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.caveats import LAST
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
from docclf_cli.text import Message
from docclf_cli.version import __version__

PARTS = 5  # of the held-out pages, to score pruning on pages that did not choose
PROBABILITIES, META = "tta_probabilities.csv", "tta_predictions_meta.json"


@dataclass(frozen=True, eq=False)
class _Scoring:
    """What a member says in its views.

    Attributes:
        member_predictions: By name of the view.
        views: Names of the views to merge.
        evaluation_pages: The pages.
        metric: What choices follow.
        merge: How views are merged.
    """

    member_predictions: MemberPredictions
    views: tuple[str, ...]
    evaluation_pages: EvaluationPages
    metric: str
    merge: Merge

    def line(self, name: str, member_predictions: MemberPredictions, view: str) -> ScoreRow:
        """One view, compared with the plain page."""
        baseline = None if view == PLAIN else PLAIN
        sides = [(member_predictions.held_out, self.member_predictions.held_out)]
        if self.evaluation_pages.split != VAL:
            sides.append((member_predictions.target, self.member_predictions.target))
        measured = [
            measure(side[view], None if baseline is None else plain_side[baseline], self.metric) if side else None
            for side, plain_side in sides
        ]
        return ScoreRow(name, measured[0], measured[1] if len(measured) > 1 else None)


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
    metric, config = metric_of(profile.train.monitor), profile.ensemble.tta
    member = TrainedModel.load(checkpoint)
    if member.info.text is not None and member.info.text.alone:
        raise InputError(
            f"{checkpoint}: the model only reads, and a page says the same in every view", "name another run"
        )
    evaluation_pages = find_evaluation_pages([member], data or {}, split)
    submission = submission_of(evaluation_pages, member.info.class_names, fill)
    if prune_views:
        require(len(evaluation_pages.common), "--prune")
    (views,) = views_of(config, [member])
    evaluation_pages.left_out(member.info.class_names).warn(evaluation_pages.target.config.root)
    ask_for_fill(submission, member, evaluation_pages, runtime_config=profile.runtime, emit=emit, stop=stop)
    all_views = tuple(dict.fromkeys((PLAIN_VIEW, *views)))
    (member_predictions,) = predict_members(
        [member], [all_views], evaluation_pages, runtime_config=profile.runtime, emit=emit, stop=stop
    )
    in_sample = trained_on([member], evaluation_pages)
    scoring = _Scoring(
        _without_labels(member_predictions, in_sample),
        tuple(view.name for view in views),
        evaluation_pages,
        metric,
        config.merge,
    )
    chosen, nested = _pruned(scoring) if prune_views else (scoring.views, None)
    folder = results_folder(member, "tta", evaluation_pages.split, evaluation_pages.target.config, output)
    return _finish(member, scoring, all_views, chosen, nested, in_sample, submission, folder)


def _without_labels(member_predictions: MemberPredictions, in_sample: np.ndarray) -> MemberPredictions:
    """Pages that the member was trained on are not scored."""

    def hidden(predictions: Predictions) -> Predictions:
        targets = predictions.targets
        return predictions if targets is None else replace(predictions, targets=np.where(in_sample, -1, targets))

    if not in_sample.any():
        return member_predictions
    return replace(
        member_predictions,
        target={name: hidden(predictions) for name, predictions in member_predictions.target.items()},
    )


def _pruned(scoring: _Scoring) -> tuple[tuple[str, ...], Predictions]:
    """The views that all held-out pages choose to keep, and these pages in the views that others of them chose."""
    sides = [scoring.member_predictions.held_out[name] for name in scoring.views]
    log_probs, labels = np.stack([side.log_probs for side in sides]).astype(np.float64), sides[0].labels
    score = score_by(scoring.metric)
    places = prune(log_probs, labels, scoring.merge, score)
    rows = np.flatnonzero((labels >= 0) & ~np.isnan(log_probs).any(axis=(0, 2)))
    groups = None if sides[0].groups is None else sides[0].groups[rows]
    part = np.full(len(labels), -1)
    part[rows] = HeldOut(log_probs[:, rows], labels[rows], groups, rows).folds(PARTS)
    nested = cross_pruned(log_probs, labels, part, scoring.merge, score)
    return tuple(scoring.views[place] for place in places), replace(
        sides[0], log_probs=nested.astype(np.float32), image=None, text=None
    )


def _finish(
    member: TrainedModel,
    scoring: _Scoring,
    all_views: Sequence[PageView],
    chosen: tuple[str, ...],
    nested: Predictions | None,
    in_sample: np.ndarray,
    submission: Submission,
    folder: Path,
) -> TTAResult:
    merged = scoring.member_predictions.merged(chosen, scoring.merge)
    target = merged.target[MERGED]
    rows = submission_rows(submission, target)
    title = Message.of("{merge} of {count} views", merge=Message.of(scoring.merge), count=len(chosen))
    line = scoring.line(title, merged if nested is None else replace(merged, held_out={MERGED: nested}), MERGED)
    result = TTAResult(
        checkpoint=member.path,
        monitor=scoring.metric,
        merge=scoring.merge,
        views=tuple(scoring.line(view.view.name, scoring.member_predictions, view.name) for view in all_views),
        merged=line,
        merged_views=_shown(all_views, chosen),
        pruned_views=_shown(all_views, [name for name in scoring.views if name not in chosen]),
        advice=advice(title, line, Message.of("the unchanged page")),
        notes=tuple(_notes(scoring, nested is not None, in_sample)),
        split=scoring.evaluation_pages.split,
        pages=len(target),
        unreadable=unreadable_in(target),
        max_unreadable=scoring.evaluation_pages.target.config.max_unreadable,
        left_out=scoring.evaluation_pages.left_out(member.info.class_names).counts,
        files=(folder / TTA_PREDICTIONS, folder / PROBABILITIES, folder / META),
        precision=scoring.member_predictions.precision,
    )
    write_csv(folder / TTA_PREDICTIONS, rows)
    write_csv(folder / PROBABILITIES, probability_rows(target))
    write_json(folder / META, _meta(result, member, target))
    return result


def _shown(all_views: Sequence[PageView], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(view.view.name for view in all_views if view.name in names)


def _notes(scoring: _Scoring, pruned: bool, in_sample: np.ndarray) -> list[str]:
    notes: list[str] = []
    if not scoring.member_predictions.held_out:
        text = "No page is known to be held out from this model ({reason})."
        notes.append(Message.of(text, reason=scoring.evaluation_pages.why_none))
    elif scoring.member_predictions.member.info.monitor != LAST:
        text = "Held-out pages also chose the model's best epoch, so held-out scores are slightly optimistic."
        notes.append(Message.of(text))
    if pruned:
        text = "Held-out scores of the merged views are nested: the views for each page were chosen on other held-out pages."
        notes.append(Message.of(text))
    held_out, target = (
        next(iter(side.values()), None)
        for side in (scoring.member_predictions.held_out, scoring.member_predictions.target)
    )
    assert target is not None
    notes += unreadable_notes(
        None if held_out is None else held_out.log_probs, target.log_probs, scoring.evaluation_pages
    )
    if not can_be_scored(target):
        notes.append(Message.of("The pages have no labels: they are predicted but not scored."))
    elif in_sample.any():
        text = "{count} of the pages were trained on: they are predicted but not scored."
        notes.append(Message.of(text, count=in_sample.sum()))
    return notes


def _meta(result: TTAResult, member: TrainedModel, target: Predictions) -> dict[str, Any]:
    values = plain(TTAResult, result)
    return {
        "docclf": __version__,
        "member": describe(member),
        "classes": list(target.class_names),
        **{key: value for key, value in values.items() if key not in ("files", "checkpoint")},
    }
