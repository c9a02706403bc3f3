"""The study of `docclf tune`: optuna's trials in a journal that survives a kill, shared by several processes.

A trial belongs to the process that holds its lock. Where that process has died, the lock is free and the trial is still marked as
running: the next process takes it over, and its training goes on where it was saved.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from docclf_cli.engine.runtime.device import seed_of
from docclf_cli.errors import InputError, ResourceError
from docclf_cli.files import LOCKS, lacks
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.tune.space import Parameter, Value

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

STUDY = "docclf"
TENTHS = 10  # a trial reports its loss at each tenth of its epochs, so that trials of any length can be compared
WARM_UP = 3  # tenths in which no trial is ended
FEWEST = 5  # trials that have to be complete before one is ended early
FEWEST_FOR_IMPORTANCE = 8
SAY_AFTER = 5.0  # seconds of waiting for another process
REASON, SECONDS, EPOCH, F1 = "reason", "seconds", "best_epoch", "f1_macro"
logger = logging.getLogger("docclf")


def require_optuna() -> Any:
    """The module `optuna`, quiet.

    Raises:
        InputError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            "tune needs the package optuna, which is not installed", "pip install 'docclf[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@dataclass
class SharedStudy:
    """The trials of one folder.

    Args:
        folder: Holds the journal and the locks.
        parameters: What is varied.
        seed: With its number, it decides what a trial tries.
        stop: Ends the waiting for other processes.
    """

    folder: Path
    parameters: Sequence[Parameter]
    seed: int
    stop: StopFlag = NEVER
    study: Study = field(init=False)

    def __post_init__(self) -> None:
        optuna = require_optuna()
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        journal = self.folder / "journal.log"
        try:
            with locked(self.folder / ".study.lock", self.stop):
                _cut_half_a_line(journal)
                lock: Any = _JournalLock(self.folder / ".journal.lock", self.stop)
                storage = JournalStorage(JournalFileBackend(str(journal), lock))
                pruner = optuna.pruners.MedianPruner(n_startup_trials=FEWEST, n_warmup_steps=WARM_UP)
                self.study = optuna.create_study(
                    storage=storage, study_name=STUDY, direction="minimize", pruner=pruner, load_if_exists=True
                )
                if not self.study.get_trials(deepcopy=False):
                    self.study.enqueue_trial({one.key: one.start for one in self.parameters})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{journal}: damaged ({error})", "start a new search: --name") from error

    @contextlib.contextmanager
    def next_trial(self, most: int | None) -> Iterator[Trial | None]:
        """A trial of this process: one whose process has died, else a new one; None where there are enough.

        Args:
            most: Trials of the search, those of all processes together; None for any number.
        """
        with contextlib.ExitStack() as stack:
            with locked(self.folder / ".study.lock", self.stop):
                trial = self._orphan(stack)
                if trial is None and (most is None or self._begun() < most):
                    trial = self._new(stack)
            if trial is not None:
                for one in self.parameters:
                    one.suggest(trial)
            yield trial

    def _begun(self) -> int:
        """Trials that are done or at work; one that waits in the queue is still to come."""
        return sum(trial.state.name != "WAITING" for trial in self.study.get_trials(deepcopy=False))

    def _orphan(self, stack: contextlib.ExitStack) -> Trial | None:
        from optuna import Trial

        for frozen in self.study.get_trials(deepcopy=False):
            if frozen.state.name == "RUNNING" and _taken(stack, self._lock_of(frozen.number)):
                return Trial(self.study, frozen._trial_id)
        return None

    def _new(self, stack: contextlib.ExitStack) -> Trial:
        from optuna.samplers import TPESampler

        number = self._begun()
        # Several processes do not try the same: a trial at work counts as a bad one.
        with warnings.catch_warnings(action="ignore"):  # these two are called experimental
            seed = seed_of("tune", self.seed, number) % 2**32
            self.study.sampler = TPESampler(seed=seed, constant_liar=True)
            trial = self.study.ask()
        if not _taken(stack, self._lock_of(trial.number)):  # on a file system without locks all are free
            raise ResourceError(
                f"{self._lock_of(trial.number)} is locked by another process", "start the command again"
            )
        return trial

    def _lock_of(self, number: int) -> Path:
        return self.folder / f".trial-{number:04d}.lock"

    def report(self, trial: Trial, epoch: int, epochs: int, loss: float) -> bool:
        """Note the loss of an epoch, and say whether the trial is to be ended; the first trial, the start, never is."""
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        for tenth in range(1, TENTHS * epoch // epochs + 1):
            if tenth not in known:
                trial.report(loss, tenth)
        return trial.number > 0 and trial.should_prune()

    def tenths(self, number: int) -> int:
        """How many tenths of a trial are done and reported."""
        return len(self.study.get_trials(deepcopy=False)[number].intermediate_values)

    def end(self, trial: Trial, state: str, value: float | None, facts: Mapping[str, Any]) -> None:
        """Write how a trial ended.

        Args:
            trial: A trial of this process.
            state: `COMPLETE`, `PRUNED` or `FAIL`.
            value: Its loss, where it is complete.
            facts: Attributes beside it.
        """
        from optuna.trial import TrialState

        for key, fact in facts.items():
            trial.set_user_attr(key, fact)
        self.study.tell(trial, value, state=TrialState[state])

    def trials(self) -> list[FrozenTrial]:
        """All trials that have begun, by number."""
        return [one for one in self.study.get_trials(deepcopy=False) if one.state.name != "WAITING"]

    def complete(self) -> list[FrozenTrial]:
        """The complete trials, the best first."""
        found = [one for one in self.trials() if one.state.name == "COMPLETE"]
        return sorted(found, key=lambda one: (one.value, one.number))

    def importances(self) -> dict[str, float]:
        """The share of the spread of the loss that each parameter explains (fANOVA, Hutter et al. 2014).

        Empty where too few trials are complete, or all have the same loss.
        """
        optuna = require_optuna()

        complete = self.complete()
        if len(complete) < FEWEST_FOR_IMPORTANCE or complete[0].value == complete[-1].value:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
        found = optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return {key: float(value) for key, value in found.items()}


def values_of(trial: Trial | FrozenTrial) -> dict[str, Value]:
    """What a trial tries, by key."""
    return dict(trial.params)


@contextlib.contextmanager
def locked(path: Path, stop: StopFlag = NEVER) -> Iterator[None]:
    """Wait for a lock that ends with its process; without effect where the file system has none.

    Another process may hold it for long, as one that is suspended does: the waiting is said, and `stop` ends it.

    Raises:
        Interrupted: `stop` was set before the lock was free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        began, said = time.monotonic(), False
        while not _locks(file, path.parent):
            stop.raise_if_set(f"stopped while another process held {path}", "the same command goes on")
            if not said and time.monotonic() - began > SAY_AFTER:
                said = True
                logger.info("waiting for the process that holds %s", path)
            time.sleep(0.05)
        yield


def _locks(file: IO[str], folder: Path) -> bool:
    """Whether a file could be locked; also where its file system has no locks."""
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # both say that another process holds it
        return False
    except OSError as error:
        if not lacks(LOCKS, error, folder):
            raise
    return True


def _taken(stack: contextlib.ExitStack, path: Path) -> bool:
    """Whether a lock is free; it is then held until the stack is closed."""
    import fcntl

    file = path.open("a")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if not lacks(LOCKS, error, path.parent):
            file.close()
            return False
    stack.callback(file.close)
    return True


class _JournalLock:
    """The lock that optuna takes to write its journal: one that a killed process does not leave behind."""

    def __init__(self, path: Path, stop: StopFlag) -> None:
        self.path = path
        self.stop = stop
        self._stack = contextlib.ExitStack()

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._stack.enter_context(locked(self.path, self.stop))
        return True

    def release(self) -> None:
        """Give it back."""
        self._stack.close()


def _cut_half_a_line(journal: Path) -> None:
    """Remove a last line that a crash cut short; it would make one with the next, and damage the journal."""
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())
