"""`ensemble`: scores members and methods on held-out pages, and predicts with one of the methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.engine.checkpoints.run_folder import RunFolder, new_run_folder
from docclf_cli.engine.inference.member_predictions import (
    MERGED,
    EvaluationPages,
    find_evaluation_pages,
    open_members,
    predict_members,
    trained_on,
)
from docclf_cli.engine.inference.store import PLAIN
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.inference.views import PLAIN_VIEW, views_of
from docclf_cli.ensembling.combine import Method, methods_of
from docclf_cli.ensembling.held_out import FEWEST, require
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.metrics.agreement import disagreement, error_correlation
from docclf_cli.profile.paths import absolute_paths
from docclf_cli.profile.schema import Profile
from docclf_cli.results.ensembling import EnsembleResult, ScoreRow
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.ensemble.files import (
    PREDICTIONS,
    TTA_PREDICTIONS,
    ask_for_fill,
    submission_of,
    submission_rows,
    unreadable_in,
    unreadable_notes,
    write_ensemble,
)
from docclf_cli.tasks.ensemble.leaderboard import AlignedMembers, CombinedPredictions, member_lines, method_line
from docclf_cli.tasks.ensemble.selection import advice, can_be_scored, metric_of
from docclf_cli.tasks.predict.submission import Submission
from docclf_cli.text import Message

CHOSEN_ON_THEM = Message.of(
    "Each member's best epoch was chosen on its held-out pages, so held-out scores of members and methods are slightly "
    "optimistic."
)


@dataclass(frozen=True, eq=False)
class _Work:
    """An ensemble whose members have spoken."""

    profile: Profile
    metric: str
    members: Sequence[TrainedModel]
    evaluation_pages: EvaluationPages
    aligned: AlignedMembers
    with_views: AlignedMembers | None
    notes: tuple[str, ...]
    precision: Mapping[str, str]


def ensemble(
    profile: Profile,
    *,
    data: Mapping[str, Any] | None = None,
    split: str | None = None,
    fill: str | None = None,
    overwrite: bool = False,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> EnsembleResult:
    """Combine the members of a profile in a run folder of its own.

    Args:
        profile: Its `ensemble` section names members, methods and views.
        data: Keys of the data section that the user stated; without a `root` the members' own data is used.
        split: `test` or `val`; None is `test` where the data has test pages.
        fill: Class of pages that cannot be read.
        overwrite: Replace an existing folder of that name.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: Members do not fit together, or a fitted method has nothing to learn from.
        CheckpointError: A member is missing or damaged.
        Interrupted: `stop` was set; what is finished is stored.
    """
    profile = absolute_paths(profile)
    metric, config = metric_of(profile.train.monitor), profile.ensemble
    members = open_members(config.models)
    evaluation_pages = find_evaluation_pages(members, data or {}, split)
    every = config.method == "all"
    methods, notes = _possible(methods_of(config), every, len(evaluation_pages.common), evaluation_pages)
    run = _folder(profile, members, overwrite)
    submission = submission_of(evaluation_pages, members[0].info.class_names, fill)
    looks = views_of(config.tta, members) if config.tta.enabled else [() for _ in members]
    views = [tuple(dict.fromkeys((PLAIN_VIEW, *own))) for own in looks]
    evaluation_pages.left_out(members[0].info.class_names).warn(evaluation_pages.target.config.root)
    ask_for_fill(submission, members[0], evaluation_pages, runtime_config=profile.runtime, emit=emit, stop=stop)
    answers = predict_members(members, views, evaluation_pages, runtime_config=profile.runtime, emit=emit, stop=stop)
    in_sample = trained_on(members, evaluation_pages)
    with_views = None
    if config.tta.enabled:
        merged = [
            answer.merged([view.name for view in own], config.tta.merge)
            for answer, own in zip(answers, looks, strict=True)
        ]
        with_views = AlignedMembers.of(merged, MERGED, evaluation_pages, in_sample)
    aligned = AlignedMembers.of(answers, PLAIN, evaluation_pages, in_sample)
    methods, dropped = _possible(
        methods, every, 0 if aligned.fit_rows is None else len(aligned.fit_rows), evaluation_pages
    )
    held_out = None if aligned.held_out is None else aligned.held_out.log_probs
    notes += [
        *dropped,
        *_notes(evaluation_pages, in_sample),
        *unreadable_notes(held_out, aligned.target.log_probs, evaluation_pages),
    ]
    work = _Work(
        profile,
        metric,
        members,
        evaluation_pages,
        aligned,
        with_views,
        tuple(notes),
        {answer.member.name: answer.precision for answer in answers},
    )
    return _finish(work, methods, submission, run, overwrite)


def _possible(
    methods: Sequence[Method], every: bool, pages: int, evaluation_pages: EvaluationPages
) -> tuple[list[Method], list[str]]:
    """The methods that have enough pages to learn from; one that was asked for by name must have."""
    possible, left_out = [], []
    for method in methods:
        if not method.fitted or pages >= FEWEST:
            possible.append(method)
        elif every:
            left_out.append(method.label)
        else:
            require(pages, method.label)
    if not left_out:
        return possible, []
    if pages:
        why = Message.of("only {pages} pages can be read and are held out by all members", pages=pages)
    else:
        why = Message.of("no page is held out by all members: {reason}", reason=evaluation_pages.why_none)
    note = "Left out: {methods}, which need at least {fewest} held-out pages ({why})."
    return possible, [Message.of(note, methods=", ".join(left_out), fewest=FEWEST, why=why)]


def _folder(profile: Profile, members: Sequence[TrainedModel], overwrite: bool) -> RunFolder:
    """Return the run folder for the result, and refuse one that holds a member or has content."""
    run = new_run_folder(Path(profile.output), profile.name, "ensemble")
    for member in members:
        if member.path.resolve().is_relative_to(run.path.resolve()):
            raise InputError(f"{run.path} holds a member: {member.path}", "choose another --name")
    run.require_free(overwrite)
    return run


def _notes(evaluation_pages: EvaluationPages, in_sample: np.ndarray) -> list[str]:
    notes: list[str] = [Message.of("Each checkpoint's probabilities use its own temperature.")]
    if len(evaluation_pages.common):
        notes.append(CHOSEN_ON_THEM)
    else:
        text = "No page is held out by all members, so nothing was chosen ({reason})."
        notes.append(Message.of(text, reason=evaluation_pages.why_none))
    if in_sample.any():
        text = "{count} of the pages were trained on by a member: they are predicted but not scored."
        notes.append(Message.of(text, count=in_sample.sum()))
    return notes


def _finish(
    work: _Work, methods: Sequence[Method], submission: Submission, run: RunFolder, overwrite: bool
) -> EnsembleResult:
    aligned, metric = work.aligned, work.metric
    best = aligned.best(metric)
    alone = (None, None) if best is None else aligned.member(best)
    candidates = [aligned.combined(method) for method in methods]
    written = aligned.choose(candidates, metric)
    seen = None if work.with_views is None else work.with_views.combined(written.method)
    rows = {
        name: submission_rows(submission, one.target)
        for name, one in ((PREDICTIONS, written), (TTA_PREDICTIONS, seen))
        if one is not None
    }
    lines = tuple(method_line(aligned, one, alone, metric) for one in candidates)
    best_name = None if best is None else aligned.names[best]
    result = EnsembleResult(
        run=run.path,
        monitor=metric,
        best_member=best_name,
        method=written.method.label,
        members=member_lines(aligned, metric),
        methods=lines,
        tta=None if seen is None else _tta_line(work, seen, written),
        **_alike(aligned, work.evaluation_pages.split),
        advice=advice(written.method.label, lines[candidates.index(written)], best_name or "the best member"),
        notes=work.notes,
        split=work.evaluation_pages.split,
        pages=len(written.target),
        unreadable=unreadable_in(written.target),
        max_unreadable=work.evaluation_pages.target.config.max_unreadable,
        left_out=work.evaluation_pages.left_out(work.members[0].info.class_names).counts,
        files=(),
        precision=work.precision,
    )
    profile = work.profile.model_copy(update={"data": work.evaluation_pages.target.config})
    return write_ensemble(run, result, written, rows, work.members, profile, overwrite)


def _tta_line(work: _Work, seen: CombinedPredictions, plain: CombinedPredictions) -> ScoreRow:
    assert work.with_views is not None
    name = Message.of("{method} with views", method=seen.method.label)
    return method_line(work.with_views, seen, (plain.held_out, plain.target), work.metric, name)


def _alike(aligned: AlignedMembers, split: str) -> dict[str, Any]:
    """Disagreement and error correlation of the members, on held-out pages where there are any."""
    held_out = aligned.held_out is not None
    members = [side for place in range(len(aligned.names)) if (side := aligned.member(place)[0 if held_out else 1])]
    correlation = error_correlation(members) if can_be_scored(members[0]) else None
    return {
        "disagreement": _rows(disagreement(members)),
        "error_correlation": None if correlation is None else _rows(correlation),
        "compared_on": "held-out" if held_out else split,
    }


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
