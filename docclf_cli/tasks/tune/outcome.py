"""What a search has found: the table and plot of its trials, the best profile, and whether it gains anything on new pages."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from docclf_cli.data.images.corruptions import DegradedView
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.splits import Split
from docclf_cli.data.loading.pages import AS_IT_IS, NamedView
from docclf_cli.engine.checkpoints.info import info_of
from docclf_cli.engine.checkpoints.run_folder import RunFolder, write_csv
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.errors import InputError
from docclf_cli.events import Emit
from docclf_cli.files import write_json, write_text
from docclf_cli.metrics.compare import paired_difference
from docclf_cli.plots.search import search_plot
from docclf_cli.profile.load import dump_profile, load_profile
from docclf_cli.profile.schema import Profile
from docclf_cli.results.as_json import jsonable
from docclf_cli.results.metrics import Difference
from docclf_cli.results.predictions import Predictions
from docclf_cli.results.tuning import ChangedSetting, TrialRow, TuneResult
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.tune.folder import APART, TuneFolder
from docclf_cli.tasks.tune.space import Value
from docclf_cli.tasks.tune.study import EPOCH, F1, FEWEST_FOR_IMPORTANCE, REASON, SECONDS, SharedStudy, values_of
from docclf_cli.text import Message

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
COMPARED = ("log_loss", "f1_macro")
FEWEST_PAGES = 30  # for which a gain is told


def outcome(
    files: TuneFolder,
    study: SharedStudy,
    profile: Profile,
    name: str,
    apart: DocumentIndex,
    emit: Emit,
    stop: StopFlag,
) -> TuneResult:
    """Write what a search has found so far, and return it.

    Args:
        files: Its folder.
        study: Its trials.
        profile: The starting profile.
        name: What that is called.
        apart: The pages that no trial saw.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: No trial is complete.
    """
    trials, complete = study.trials(), study.complete()
    if not complete:
        running = sum(one.state.name == "RUNNING" for one in trials)
        text = "is at work in another process" if running else "is complete"
        raise InputError(
            f"{files.path}: {'the first trial' if running else 'no trial'} {text}", "start the command again later"
        )
    best, rows = complete[0], tuple(map(_row, trials))
    write_text(files.best, dump_profile(load_profile(str(files.start), options=values_of(best)).profile))
    write_csv(files.table, [_record(row) for row in rows])
    importance = study.importances()
    losses = [(row.number, row.loss) for row in rows if row.loss is not None]
    search_plot(losses, importance, files.plot, f"{len(rows)} trials around {name}")
    start = {one.key: one.start for one in study.parameters}
    gain: tuple[Difference, ...] = ()
    if best.number and len(apart) >= FEWEST_PAGES and files.run(0).best.is_file():
        gain = _gain(files.run(best.number), files.run(0), profile, apart, emit, stop)
    result = TuneResult(
        folder=files.path,
        profile=name,
        space={one.key: str(one) for one in study.parameters},
        trials=rows,
        best=best.number,
        best_profile=files.best,
        changed={
            key: ChangedSetting(_text(start[key]), _text(value))
            for key, value in values_of(best).items()
            if start.get(key) != value
        },
        importance=importance,
        held_out_pages=_held_out(files.run(best.number)),
        apart_pages=len(apart),
        gain=gain,
        files=(files.best, files.table, files.plot, files.state),
        next_commands=(shlex.join(["docclf", "train", profile.data.root, "--profile", str(files.best)]),),
    )
    result = replace(result, sentences=tuple(_sentences(result)))
    write_json(files.state, jsonable(result))
    return result


def _row(trial: FrozenTrial) -> TrialRow:
    facts: Mapping[str, Any] = trial.user_attrs
    seconds = facts.get(SECONDS)
    return TrialRow(
        number=trial.number,
        state=STATES[trial.state.name],
        loss=trial.value if trial.state.name == "COMPLETE" else None,
        f1_macro=facts.get(F1),
        best_epoch=facts.get(EPOCH),
        minutes=None if seconds is None else round(seconds / 60, 3),
        settings={key: _text(value) for key, value in values_of(trial).items()},
        reason=facts.get(REASON, ""),
    )


def _record(row: TrialRow) -> dict[str, Any]:
    own = {
        name: getattr(row, name) for name in ("number", "state", "loss", "f1_macro", "best_epoch", "minutes", "reason")
    }
    return {key: "" if value is None else value for key, value in {**own, **row.settings}.items()}


def _text(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)


def _held_out(run: RunFolder) -> int:
    return int((Split.load(run.split).parts == "val").sum()) if run.split.is_file() else 0


def _gain(
    best: RunFolder, start: RunFolder, profile: Profile, apart: DocumentIndex, emit: Emit, stop: StopFlag
) -> tuple[Difference, ...]:
    """Best minus start on the pages that no trial saw, and on their degraded copies; a page and its copy are one unit."""
    found = [_on_both(run, profile, apart, emit, stop) for run in (best, start)]
    return tuple(paired_difference(found[0], found[1], metric) for metric in COMPARED)


def _on_both(run: RunFolder, profile: Profile, apart: DocumentIndex, emit: Emit, stop: StopFlag) -> Predictions:
    """What a trial says about clean pages and, where the search looked at these, degraded ones, at its own temperature."""
    info = info_of(run.best)
    index = replace(apart, class_names=info.class_names)
    degraded = DegradedView.of_validation(index.ids, profile.data)
    views: list[NamedView] = [AS_IT_IS, *([degraded] if profile.data.degraded_validation else [])]
    rows = np.arange(len(index))
    requests = [PredictionRequest(info, index, rows, APART, profile.data, view) for view in views]
    parts = get_predictions(requests, emit=emit, stop=stop)
    groups = index.ids.astype(np.str_) if index.groups is None else index.groups
    together = Predictions(
        ids=np.concatenate([_named(part.ids, view.name) for part, view in zip(parts, views, strict=True)]),
        log_probs=np.concatenate([part.log_probs for part in parts]),
        class_names=info.class_names,
        targets=np.concatenate([part.labels for part in parts]),
        groups=np.concatenate([groups for _ in parts]),
    )
    return together.at_temperature(info.temperature)


def _named(ids: np.ndarray, view: str) -> np.ndarray:
    return np.array([f"{name} ({view})" for name in ids.tolist()], dtype=np.str_)


def _sentences(result: TuneResult) -> Iterator[str]:
    best = next(row for row in result.trials if row.number == result.best)
    start = next((row for row in result.trials if row.number == 0), None)
    complete = sum(row.state == "complete" for row in result.trials)
    if result.best == 0:
        yield Message.of(
            "None of {count} complete trials is better than the starting profile: log loss {loss:.4f} on {pages} held-out pages.",
            count=complete, loss=best.loss, pages=result.held_out_pages,
        )  # fmt: skip
    else:
        yield Message.of(
            "Trial {best} is the best of {count} complete ones: log loss {loss:.4f} on {pages} held-out pages, and the "
            "starting profile has {start}. These pages chose it, so this gain is too good.",
            best=result.best, count=complete, loss=best.loss, pages=result.held_out_pages,
            start="–" if start is None or start.loss is None else f"{start.loss:.4f}",
        )  # fmt: skip
        yield from _about_gain(result)
    if not result.importance:
        yield Message.of(
            "Importance of the parameters is shown from {count} complete trials on.", count=FEWEST_FOR_IMPORTANCE
        )


def _about_gain(result: TuneResult) -> Iterator[str]:
    if not result.gain:
        yield Message.of(
            "Whether it gains anything on new pages is not known: {pages} pages were set apart, and {fewest} are needed.",
            pages=result.apart_pages, fewest=FEWEST_PAGES,
        )  # fmt: skip
        return
    loss, f1 = result.gain
    values: dict[str, object] = {
        "pages": result.apart_pages, "loss": loss.value, "low": loss.low, "high": loss.high,
        "f1": 100 * f1.value, "f1_low": 100 * f1.low, "f1_high": 100 * f1.high,
    }  # fmt: skip
    measured = (
        "On {pages} pages that no trial saw: log loss {loss:+.4f} (95 % {low:+.4f} … {high:+.4f}), macro-F1 {f1:+.1f} points "
        "({f1_low:+.1f} … {f1_high:+.1f}). "
    )
    if loss.high < 0:
        yield Message.of(measured + "The gain over the starting profile is shown.", **values)
    elif loss.low > 0:
        yield Message.of(measured + "There the starting profile is better: keep it.", **values)
    else:
        yield Message.of(measured + "A gain over the starting profile is not shown.", **values)
