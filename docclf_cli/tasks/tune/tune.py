"""`tune`: tries settings around a profile, each a short training of its own, and says whether the best ones gain anything."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import load_training_pages, resolve_root
from docclf_cli.data.index.splits import Split
from docclf_cli.engine.checkpoints.run_folder import new_run_folder
from docclf_cli.errors import (
    ChangedRunError,
    CheckpointError,
    DivergedError,
    DocclfError,
    InputError,
    Interrupted,
    ResourceError,
)
from docclf_cli.events import Emit, EpochDone, Event, FitStarted, silent
from docclf_cli.metrics.metrics import BLEND_LOSS, LOSS
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.paths import absolute_paths
from docclf_cli.profile.schema import CheckpointEvery, Profile, SnapshotConfig
from docclf_cli.results.tuning import TuneResult
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.train import train
from docclf_cli.tasks.tune.folder import APART, TuneFolder, open_folder
from docclf_cli.tasks.tune.outcome import outcome
from docclf_cli.tasks.tune.space import DEFAULT_SPACE, Parameter, Value, read_space
from docclf_cli.tasks.tune.study import EPOCH, F1, REASON, SECONDS, SharedStudy, locked, require_optuna, values_of

if TYPE_CHECKING:
    from optuna import Trial

# A trial that is taken over so often, without having come further, is given up: it probably kills its process.
MOST_TAKEN_OVER = 5
TAKEN_OVER = "taken_over"
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class TuneOptions:
    """What is asked of a search.

    Attributes:
        trials: Trials of the search, those of earlier calls and other processes included; None for any number.
        minutes: Wall time of this call; None for no limit.
        space: Name or path of the search space.
        apart: Share of the training pages that no trial sees.
        output: Parent of the folder.
        name: Name of the folder.
    """

    trials: int | None
    minutes: float | None
    space: str = DEFAULT_SPACE
    apart: float = 0.2
    output: Path = Path("tune")
    name: str = "search"

    def check(self) -> None:
        """Refuse what has no meaning.

        Raises:
            InputError: An option is out of range, or nothing ends the search.
        """
        if self.trials is None and self.minutes is None:
            raise InputError("nothing says when the search ends", "add --trials 20, or --minutes 60")
        if self.trials is not None and self.trials < 1:
            raise InputError("--trials: must be at least 1")
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise InputError("--minutes: must be above 0")
        if not 0 <= self.apart <= 0.5:
            raise InputError("--apart: must be between 0 and 0.5", "0 sets no pages apart")


class _Pruned(Exception):  # noqa: N818  (nothing is wrong)
    """The trial is not worth finishing."""


@dataclass(frozen=True)
class _Search:
    """What all trials of a search share."""

    files: TuneFolder
    study: SharedStudy
    options: TuneOptions
    apart: bool
    emit: Emit
    stop: StopFlag


def tune(
    profile: Profile, options: TuneOptions, *, name: str = "", emit: Emit = silent, stop: StopFlag = NEVER
) -> TuneResult:
    """Search for better settings than those of a profile, or resume a search.

    Args:
        profile: The starting profile, resolved; it is the first trial.
        options: How long, and where.
        name: What the profile is called.
        emit: Consumer of events.
        stop: Polled after every step.

    Raises:
        Interrupted: `stop` was set; the same call goes on.
        DocclfError: The starting profile cannot be trained, or the options do not fit.
    """
    began = time.monotonic()
    options.check()
    require_optuna()
    _check_profile(profile)
    profile = absolute_paths(profile)
    resolve_root(profile.data, emit, stop)
    parameters = read_space(options.space, profile)
    files = TuneFolder(new_run_folder(options.output, options.name, "").path)
    pages = load_training_pages(profile.data)
    index = pages.base.take(np.arange(len(pages.base) - pages.own_val))
    _check_ends(parameters)
    with locked(files.path / ".study.lock", stop):
        split = open_folder(files, profile, parameters, index, options.apart)
    study = SharedStudy(files.path, parameters, profile.seed, stop)
    _require_start(study)
    search = _Search(files, study, options, options.apart > 0, emit, stop)
    while search_goes_on(study, options.minutes, time.monotonic() - began):
        with study.next_trial(options.trials) as trial:
            if trial is None:
                break
            _run(search, trial)
    with locked(files.path / ".study.lock", stop):  # so that no other process removes a checkpoint that is compared
        return outcome(files, study, profile, name or "profile", _apart(index, split), emit, stop)


def _require_start(study: SharedStudy) -> None:
    """Refuse to search around a profile that has turned out to be one that cannot be trained.

    Raises:
        InputError: It is such a profile.
    """
    for trial in study.trials()[:1]:
        if trial.state.name == "FAIL":
            raise InputError(
                f"the starting profile cannot be trained: {trial.user_attrs.get(REASON, '')}",
                "see that `docclf train` works with it, and start a new search: --name",
            )


def search_goes_on(study: SharedStudy, minutes: float | None, seconds: float) -> bool:
    """Whether one more trial fits into the time, if it takes as long as half of the others did at most."""
    if minutes is None:
        return True
    known = [float(one.user_attrs[SECONDS]) for one in study.trials() if SECONDS in one.user_attrs]
    return seconds + (statistics.median(known) if known else 0.0) < 60 * minutes


def _check_profile(profile: Profile) -> None:
    """Refuse profiles that one training does not make.

    Raises:
        InputError: It is one.
    """
    train_ = profile.train
    for key, given in (("train.folds", train_.folds), ("train.refit", train_.refit), ("train.minutes", train_.minutes)):
        if given:
            raise InputError(f"{key}: a trial of tune trains one model, for a number of epochs", "leave it out")
    if profile.data.exclude is not None:
        raise InputError("data.exclude: tune sets pages apart with it", "leave it out, or make a table without them")


def _check_ends(parameters: tuple[Parameter, ...]) -> None:
    """Refuse a search space whose ends are no valid settings, before any trial.

    Raises:
        ProfileError: An end is not valid; its key is named.
    """
    for one in parameters:
        for end in one.ends():
            load_profile("config", options={one.key: end})


def _apart(index: DocumentIndex, split: Split) -> DocumentIndex:
    return index.take(split.rows(index, APART) if APART in split.names else np.empty(0, np.int64))


def profile_of(files: TuneFolder, settings: Mapping[str, Value]) -> Profile:
    """The starting profile with the settings of a trial."""
    return load_profile(str(files.start), options=settings).profile


def _run(search: _Search, trial: Trial) -> None:
    """Train one trial, and write how it ended.

    Raises:
        Interrupted: The search is stopped; the trial is saved.
        DocclfError: It is no fault of its settings.
    """
    settings, files = values_of(trial), search.files
    began = time.monotonic()
    before = float(trial.user_attrs.get(SECONDS, 0.0))
    shown = ", ".join(f"{key}={_short(value)}" for key, value in settings.items())
    most = f" of {search.options.trials}" if search.options.trials else ""
    logger.info("trial %d%s: %s", trial.number, most, "the starting profile" if trial.number == 0 else shown)
    label = f"trial {trial.number}{most}"
    reason, state, loss, facts = "", "FAIL", None, dict[str, object]()
    try:
        _count_takeovers(search, trial)
        profile = profile_of(files, settings)
        facts = _train(search, trial, _for_trial(profile, files, trial.number, search.apart), label)
        loss, state = float(str(facts.pop(LOSS))), "COMPLETE"
    except _Pruned:
        state = "PRUNED"
    except Interrupted as stopped:
        trial.set_user_attr(SECONDS, before + time.monotonic() - began)
        trial.set_user_attr(TAKEN_OVER, (-1, 0))  # nobody killed it
        raise Interrupted(
            f"stopped in trial {trial.number}; everything is saved in {files.path}",
            "the same command resumes it",
            signal_number=stopped.signal_number,
        ) from stopped
    except (DivergedError, InputError) as error:
        reason = error.message
    except ResourceError as error:
        if "memory" not in error.message:
            raise
        reason = error.message
    except DocclfError:
        raise
    except Exception as error:  # settings that break a library are no reason to lose the other trials
        logger.debug("trial %d", trial.number, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
    if reason:
        logger.warning("trial %d failed: %s", trial.number, reason)
        if trial.number == 0:
            search.study.end(trial, state, None, {REASON: reason})
            _require_start(search.study)
    facts |= {SECONDS: before + time.monotonic() - began, **({REASON: reason} if reason else {})}
    search.study.end(trial, state, loss, facts)
    _remove_checkpoints(search, trial.number)


def _count_takeovers(search: _Search, trial: Trial) -> None:
    """Note that a trial is begun or taken over.

    Raises:
        InputError: That has happened too often.
    """
    tenths = search.study.tenths(trial.number)
    at, times = trial.user_attrs.get(TAKEN_OVER, (-1, 0))
    times = times + 1 if at == tenths else 0
    trial.set_user_attr(TAKEN_OVER, (tenths, times))
    if times > MOST_TAKEN_OVER:
        raise InputError("its process was killed each time; it may need more memory than there is")


def _for_trial(profile: Profile, files: TuneFolder, number: int, apart: bool) -> Profile:
    """The profile of a trial's own run: without the pages set apart, and with few files."""
    train_ = profile.train.model_copy(update={"snapshots": SnapshotConfig(), "checkpoint_every": CheckpointEvery()})
    data = profile.data.model_copy(update={"exclude": str(files.apart.absolute())}) if apart else profile.data
    return profile.model_copy(
        update={"name": files.run(number).path.name, "output": str(files.trials), "train": train_, "data": data}
    )


def _train(search: _Search, trial: Trial, profile: Profile, label: str) -> dict[str, object]:
    """Train a trial, or resume it; returns the loss and facts of its best epoch.

    Raises:
        _Pruned: It is not worth finishing.
    """
    run = search.files.run(trial.number)

    def watch(event: Event) -> None:
        search.emit(replace(event, label=label) if isinstance(event, FitStarted) else event)
        if isinstance(event, EpochDone):
            loss = event.metrics[BLEND_LOSS]
            if search.study.report(trial, event.epoch, profile.train.epochs, loss):
                raise _Pruned

    if not run.finished:
        resume = run.path if run.last.is_file() and run.profile.is_file() else None
        try:
            train(profile, resume=resume, overwrite=True, emit=watch, stop=search.stop)
        except (ChangedRunError, CheckpointError):
            if resume is None:
                raise
            train(profile, overwrite=True, emit=watch, stop=search.stop)
    epoch = int(run.read_state()["best_epoch"])
    best = run.read_history()[epoch - 1]
    return {LOSS: best[BLEND_LOSS], EPOCH: epoch, F1: best["f1_macro"]}


def _remove_checkpoints(search: _Search, number: int) -> None:
    """Keep the checkpoints of the start and of the best trial only; those of ten trials would take a gigabyte."""
    with locked(search.files.path / ".study.lock", search.stop):
        kept = {0, *(one.number for one in search.study.complete()[:1])}
        for one in {number, *(trial.number for trial in search.study.complete())}:
            run = search.files.run(one)
            unwanted = [run.last, run.path / "last.previous.ckpt", *([] if one in kept else [run.best])]
            for path in unwanted:
                path.unlink(missing_ok=True)


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
