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
from docclf_cli.engine.inference.members import Member
from docclf_cli.engine.inference.store import PLAIN
from docclf_cli.engine.inference.views import PLAIN_VIEW, views_of
from docclf_cli.ensembling.combine import Method, methods_of
from docclf_cli.ensembling.held_out import FEWEST, require
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.metrics.agreement import disagreement, error_correlation
from docclf_cli.profile.paths import absolute_paths
from docclf_cli.profile.schema import Profile
from docclf_cli.results.ensembling import EnsembleResult, Line
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

HELD_OUT_NOTE = (
    "Each member's epoch was chosen on pages it held out, so held-out scores flatter members and methods alike."
)


@dataclass(frozen=True, eq=False)
class _Ensemble:
    """An ensemble after its members have predicted."""

    profile: Profile
    figure: str
    members: Sequence[Member]
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
    figure, config = metric_of(profile.train.monitor), profile.ensemble
    members = open_members(config.models)
    evaluation_pages = find_evaluation_pages(members, data or {}, split)
    all_methods = config.method == "all"
    methods, notes = _usable_methods(methods_of(config), all_methods, len(evaluation_pages.common), evaluation_pages)
    run = _folder(profile, members, overwrite)
    submission = submission_of(evaluation_pages, members[0].info.class_names, fill)
    tta_views = views_of(config.tta, members) if config.tta.enabled else [() for _ in members]
    views = [tuple(dict.fromkeys((PLAIN_VIEW, *own))) for own in tta_views]
    evaluation_pages.left_out(members[0].info.class_names).say(evaluation_pages.target.config.root)
    ask_for_fill(submission, members[0], evaluation_pages, runtime_config=profile.runtime, emit=emit, stop=stop)
    predictions = predict_members(
        members, views, evaluation_pages, runtime_config=profile.runtime, emit=emit, stop=stop
    )
    in_sample = trained_on(members, evaluation_pages)
    with_views = None
    if config.tta.enabled:
        merged = [
            one.merged([view.name for view in own], config.tta.merge)
            for one, own in zip(predictions, tta_views, strict=True)
        ]
        with_views = AlignedMembers.of(merged, MERGED, evaluation_pages, in_sample)
    aligned = AlignedMembers.of(predictions, PLAIN, evaluation_pages, in_sample)
    fit_pages = 0 if aligned.fit_rows is None else len(aligned.fit_rows)
    methods, dropped = _usable_methods(methods, all_methods, fit_pages, evaluation_pages)
    held_out = None if aligned.held_out is None else aligned.held_out.log_probs
    notes += [
        *dropped,
        *_notes(evaluation_pages, in_sample),
        *unreadable_notes(held_out, aligned.target.log_probs, evaluation_pages),
    ]
    found = _Ensemble(
        profile=profile,
        figure=figure,
        members=members,
        evaluation_pages=evaluation_pages,
        aligned=aligned,
        with_views=with_views,
        notes=tuple(notes),
        precision={one.member.name: one.precision for one in predictions},
    )
    return _finish(found, methods, submission, run, overwrite)


def _usable_methods(
    methods: Sequence[Method], all_methods: bool, pages: int, evaluation_pages: EvaluationPages
) -> tuple[list[Method], list[str]]:
    """Return the methods that have enough pages to be fitted, and a note on the others.

    Raises:
        InputError: A method that was named, rather than `all`, has too few pages.
    """
    usable, left_out = [], []
    for method in methods:
        if not method.fitted or pages >= FEWEST:
            usable.append(method)
        elif all_methods:
            left_out.append(method.label)
        else:
            require(pages, method.label)
    if not left_out:
        return usable, []
    why = (
        f"only {pages} pages can be read and are held out by all members"
        if pages
        else f"no page is held out by all members: {evaluation_pages.why_none}"
    )
    return usable, [f"Left out: {', '.join(left_out)}, which learn from at least {FEWEST} held-out pages ({why})."]


def _folder(profile: Profile, members: Sequence[Member], overwrite: bool) -> RunFolder:
    """Return the run folder for the result, and refuse one that holds a member or has content."""
    run = new_run_folder(Path(profile.output), profile.name, "ensemble")
    for member in members:
        if member.path.resolve().is_relative_to(run.path.resolve()):
            raise InputError(f"{run.path} holds a member: {member.path}", "choose another --name")
    run.require_free(overwrite)
    return run


def _notes(evaluation_pages: EvaluationPages, in_sample: np.ndarray) -> list[str]:
    notes = ["Probabilities are taken at each checkpoint's own temperature."]
    if len(evaluation_pages.common):
        notes.append(HELD_OUT_NOTE)
    else:
        notes.append(f"No page is held out by all members, so nothing was chosen ({evaluation_pages.why_none}).")
    if in_sample.any():
        notes.append(f"{in_sample.sum()} of the pages were trained on by a member: they are predicted, and not scored.")
    return notes


def _finish(
    ensemble: _Ensemble, methods: Sequence[Method], submission: Submission, run: RunFolder, overwrite: bool
) -> EnsembleResult:
    """Combine the members by each method, choose one, and write its predictions."""
    aligned = ensemble.aligned
    figure = ensemble.figure
    split = ensemble.evaluation_pages.split
    best = aligned.best(figure)
    alone = (None, None) if best is None else aligned.member(best)
    candidates = [aligned.combined(method) for method in methods]
    written = aligned.choose(candidates, figure)
    with_tta = None if ensemble.with_views is None else ensemble.with_views.combined(written.method)
    rows = {
        name: submission_rows(submission, one.target)
        for name, one in ((PREDICTIONS, written), (TTA_PREDICTIONS, with_tta))
        if one is not None
    }
    lines = tuple(method_line(aligned, one, alone, figure) for one in candidates)
    best_name = None if best is None else aligned.names[best]
    result = EnsembleResult(
        run=run.path,
        monitor=figure,
        best_member=best_name,
        method=written.method.label,
        members=member_lines(aligned, figure),
        methods=lines,
        tta=None if with_tta is None else _tta_line(ensemble, with_tta, written),
        **_similarity(aligned, split),
        advice=advice(written.method.label, lines[candidates.index(written)], best_name or "the best member"),
        notes=ensemble.notes,
        split=split,
        pages=len(written.target),
        unreadable=unreadable_in(written.target),
        max_unreadable=ensemble.evaluation_pages.target.config.max_unreadable,
        left_out=ensemble.evaluation_pages.left_out(ensemble.members[0].info.class_names).counts,
        files=(),
        precision=ensemble.precision,
    )
    profile = ensemble.profile.model_copy(update={"data": ensemble.evaluation_pages.target.config})
    return write_ensemble(run, result, written, rows, ensemble.members, profile, overwrite)


def _tta_line(ensemble: _Ensemble, with_tta: CombinedPredictions, plain: CombinedPredictions) -> Line:
    assert ensemble.with_views is not None
    name = f"{with_tta.method.label} with views"
    return method_line(ensemble.with_views, with_tta, (plain.held_out, plain.target), ensemble.figure, name)


def _similarity(aligned: AlignedMembers, split: str) -> dict[str, Any]:
    """Measure disagreement and error correlation of the members, on held-out pages if there are any."""
    held_out = aligned.held_out is not None
    pairs = [aligned.member(place) for place in range(len(aligned.names))]
    members = [one for pair in pairs if (one := pair[0 if held_out else 1])]
    correlation = error_correlation(members) if can_be_scored(members[0]) else None
    return {
        "disagreement": _rows(disagreement(members)),
        "error_correlation": None if correlation is None else _rows(correlation),
        "alike_on": "held-out" if held_out else split,
    }


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
