"""The folder of a run: its name, its files, and the lock that allows one writer."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import logging
import os
import shlex
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from docclf_cli.data.index.cells import to_cell
from docclf_cli.errors import InputError, ResourceError
from docclf_cli.files import LOCKS, TEMP_PREFIX, lacks, require_writable, write_json, write_text

RUNNING, STOPPED, FAILED, FINISHED = "running", "stopped", "failed", "finished"
NO_CHECKPOINT = "`docclf runs` lists the runs"  # hint where a run is named that does not exist
_LOCK = ".lock"
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class RunFolder:
    """Paths of the files of a run (or of one fold of it).

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def profile(self) -> Path:
        """The resolved profile; training with it repeats the run."""
        return self.path / "profile.yaml"

    @property
    def split(self) -> Path:
        """The split of each page."""
        return self.path / "split.csv"

    @property
    def metrics(self) -> Path:
        """Metrics of each epoch."""
        return self.path / "metrics.csv"

    @property
    def timings(self) -> Path:
        """Wall time and pages per second of each epoch."""
        return self.path / "timings.csv"

    @property
    def pace(self) -> Path:
        """How the epochs of a fit were fitted to its time, by step."""
        return self.path / "pace.csv"

    @property
    def best(self) -> Path:
        """Checkpoint of the best epoch."""
        return self.path / "best.ckpt"

    @property
    def refit(self) -> Path:
        """Checkpoint that was trained on all pages, with `train.refit`."""
        return self.path / "refit.ckpt"

    @property
    def last(self) -> Path:
        """Checkpoint to resume from."""
        return self.path / "last.ckpt"

    @property
    def state(self) -> Path:
        """State of the run, and its final metrics."""
        return self.path / "run.json"

    @property
    def temperature(self) -> Path:
        """The temperatures of a folds run."""
        return self.path / "temperature.json"

    @property
    def provenance(self) -> Path:
        """Versions, pages and typed paths that the run was started with."""
        return self.path / "provenance.json"

    def read_provenance(self) -> dict[str, Any]:
        """The content of `provenance.json`, called `origin.json` in runs of earlier versions; empty where it is missing."""
        for path in (self.provenance, self.path / "origin.json"):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):  # missing, or the run was stopped before it was written
                continue
            if isinstance(content, dict):
                return content
        return {}

    @property
    def quarantine(self) -> Path:
        """Pages that could not be read, with the reason."""
        return self.path / "quarantine.csv"

    def predictions(self, name: str) -> Path:
        """Stored predictions of `val`, `train` or `test`."""
        return self.path / "predictions" / f"{name}.npz"

    def snapshot(self, epoch: int) -> Path:
        """Checkpoint of an epoch for a snapshot ensemble."""
        return self.path / "snapshots" / f"epoch-{epoch:04d}.ckpt"

    def snapshots(self) -> list[Path]:
        """All snapshots, by epoch."""
        return sorted((self.path / "snapshots").glob("epoch-*.ckpt"))

    def fold(self, number: int) -> RunFolder:
        """The folder of one fold."""
        return RunFolder(self.path / f"fold-{number}")

    def read_state(self) -> dict[str, Any]:
        """Read `run.json`; empty if it is missing or damaged."""
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def read_history(self) -> tuple[dict[str, float], ...]:
        """Read the rows of `metrics.csv`; empty if it is missing."""
        if not self.metrics.is_file():
            return ()
        with self.metrics.open(encoding="utf-8", newline="") as file:
            return tuple({key: float(value) for key, value in row.items()} for row in csv.DictReader(file))

    def write_state(self, status: str, **facts: Any) -> None:
        """Write the state of the run."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(self.state, {"status": status, "time": now, **facts})

    @property
    def finished(self) -> bool:
        """Whether the run is complete."""
        return self.read_state().get("status") == FINISHED

    @property
    def trained(self) -> bool:
        """Whether there is a checkpoint to predict with, of the run or of a fold."""
        return self.best.is_file() or any(self.path.glob("fold-*/best.ckpt"))

    @property
    def is_being_written(self) -> bool:
        """Whether a process is the folder's writer; true where that cannot be known."""
        import fcntl

        try:
            with (self.path / _LOCK).open() as lock:
                fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    @contextlib.contextmanager
    def writing(self, hint: str = "wait for it, or choose another --name") -> Iterator[None]:
        """Lock the folder, so that the block is its only writer.

        Args:
            hint: What to do where another process is.

        Raises:
            InputError: Another process writes to the folder.
        """
        import fcntl

        # lockf, not flock: loader processes forked from this one must not keep the lock.
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / _LOCK).open("a+")
        except OSError as error:
            raise ResourceError(
                f"{self.path}: {error.strerror}", "name a folder you may write to with --output"
            ) from error
        with lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                lock.seek(0)
                holder = lock.read().strip() or "another process"
                raise InputError(f"{self.path} is being written by {holder}", hint) from error
            except OSError as error:
                if not lacks(LOCKS, error, self.path):
                    raise ResourceError(f"{self.path} cannot be locked: {error.strerror}") from error
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}")
            lock.flush()
            for orphan in self.path.rglob(f"{TEMP_PREFIX}*"):
                orphan.unlink(missing_ok=True)
            yield

    def require_free(self, overwrite: bool) -> None:
        """Refuse to start a run in a folder with content; a run that failed before its first checkpoint does not count.

        Raises:
            InputError: The folder has content, and `overwrite` is not set.
        """
        failed = self.read_state().get("status") == FAILED and not any(self.path.rglob("*.ckpt"))
        if overwrite or failed or not self._content():
            return
        hint = "choose another --name, or add --overwrite to replace it"
        if self.profile.is_file() and not self.finished:
            hint = f"resume it ({shlex.join(['docclf', 'train', '--resume', str(self.path)])}), {hint}"
        raise InputError(f"{self.path} exists", hint)

    def say_unfinished(self) -> None:
        """Warn that the best checkpoint may not be the last word."""
        if self.state.is_file() and not self.finished:
            logger.warning("%s is not finished: its best checkpoint so far is used", self.path)

    def clear(self) -> None:
        """Remove everything in the folder except the lock; only its writer may call this."""
        for path in self._content():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _content(self) -> list[Path]:
        return [path for path in self.path.iterdir() if path.name != _LOCK] if self.path.is_dir() else []


def new_run_folder(output: Path, name: str | None, model: str) -> RunFolder:
    """Return the folder for a new run below `output`.

    Raises:
        InputError: The name is not a plain folder name, or a file has this name.
        ResourceError: Nothing may be written there.
    """
    if file := next((path for path in (output, *output.parents) if path.exists() and not path.is_dir()), None):
        raise InputError(f"--output: {file} is a file", "name a folder; it is made where there is none")
    require_writable(output if name is None else output / name)
    if name is None:
        return RunFolder(_free_path(output / f"{_plain(model)}-{datetime.now(UTC):%Y%m%d-%H%M%S}"))
    if name != _plain(name):
        raise InputError(f"--name: '{name}' is not a plain folder name", "use letters, digits, '.', '-' and '_'")
    path = output / name
    if path.is_file():
        raise InputError(f"{path} is a file", "choose another --name")
    return RunFolder(path)


def newest_finished(output: Path) -> RunFolder:
    """The trained run that finished last below `output` and is better than chance; ensembles have no checkpoint of their own.

    Raises:
        InputError: There is no such run.
    """
    runs = [run for path in output.glob("*/run.json") if (run := RunFolder(path.parent)).finished and run.trained]
    useful = [run for run in runs if not run.read_state().get("no_better_than_chance")]
    if runs and not useful:
        raise InputError(f"no finished run below {output} is better than chance", "train another one, or name a run")
    if not useful:
        raise InputError(f"no finished run below {output}", "train one (`docclf train`), or name a run")
    return max(useful, key=lambda run: (run.read_state().get("time", ""), run.path.name))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write rows as CSV, atomically; numbers are written with all their digits."""
    names = list(columns or rows[0])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(to_cell, names))
    writer.writerows([to_cell(row.get(name, "")) for name in names] for row in rows)
    write_text(path, text.getvalue())


def _plain(name: str) -> str:
    return "".join(char if char.isalnum() or char in "._-" else "_" for char in name).strip(".") or "run"


def _free_path(path: Path) -> Path:
    names = (f"{path.name}-{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([path], map(path.with_name, names)) if not one.exists())
