"""The Weights & Biases tracker; training waits for it only at the end, for a bounded time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import secrets
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docclf_cli.errors import ResourceError
from docclf_cli.files import write_text
from docclf_cli.profile.schema import TrackingConfig
from docclf_cli.services.tracking.tracker import RunInfo

logger = logging.getLogger("docclf")
INIT_SECONDS = 6.0
UPLOAD_SECONDS = 10.0
# Only where `tracking.artifacts` asks for an upload that takes its time.
ARTIFACT_SECONDS = 300.0
# Beyond uploading: what a very short run still has to do of its start.
GRACE_SECONDS = 12.0
# After Ctrl-C or SIGTERM: whoever sent it may not be patient.
STOPPED_SECONDS = 5.0
ID_FILE = "wandb-id.txt"
_LAUNCH = (
    "import sys; sys.path.append(sys.argv[1]); from docclf_cli.services.tracking.wandb_process import main; main()"
)


class WandbTracker:
    """Passes all calls to a separate process in which wandb runs.

    A failure is warned about once; from then on nothing more is passed on, and the run goes on as it would without.

    Args:
        config: The tracking section.
        environ: The process's whole environment.
    """

    def __init__(self, config: TrackingConfig, environ: Mapping[str, str]) -> None:
        self._config, self._environ = config, environ
        self._upload_seconds = ARTIFACT_SECONDS if config.artifacts else UPLOAD_SECONDS
        self._mode: dict[str, Any] | None = None
        self._failed = False
        self._unsent: list[str] = []
        self._channel: Channel | None = None
        self._folder = Path()

    def start(self, run: RunInfo) -> None:
        """Start the process; the run is opened while training begins."""
        if self._failed:
            return
        self._folder = run.folder.absolute()
        try:
            run_id = _run_id(self._folder)
            self._channel = Channel(self._environ, announce=self._mode is None)
        except (OSError, ResourceError) as error:
            self._fail(str(error))
            return
        init = {
            "project": self._config.project or self._environ.get("WANDB_PROJECT") or "docclf",
            "dir": str(self._folder), "id": run_id, "resume": "allow", "name": run.name, "config": dict(run.config),
            "group": self._config.group or run.group, "tags": list(self._config.tags),
        }  # fmt: skip
        settings = {
            "init_timeout": INIT_SECONDS, "finish_timeout": self._upload_seconds, "finish_timeout_raises": True,
            "console": "off", "silent": True, "disable_git": True, "disable_code": True, "x_stats_pid": os.getpid(),
        }  # fmt: skip
        self._tell("start", init=init, settings=settings, mode=self._mode)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Mirror the metrics of an epoch."""
        self._tell("log", metrics=dict(metrics), step=step)

    def image(self, name: str, path: Path) -> None:
        """Mirror a picture."""
        self._tell("image", name=name, path=str(path.absolute()))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Mirror a table."""
        self._tell("table", name=name, columns=list(columns), rows=[list(row) for row in rows])

    def artifact(self, path: Path, name: str, metadata: Mapping[str, Any]) -> None:
        """Upload a checkpoint, if `tracking.artifacts` asks for it."""
        if self._config.artifacts:
            self._tell("artifact", path=str(path.absolute()), name=name, metadata=dict(metadata))

    def finish(self, summary: Mapping[str, Any], exit_code: int = 0) -> str:
        """End the run; waits for the upload, but never longer than the limits above.

        Args:
            summary: Final metrics.
            exit_code: Of the run; from 128 on it was stopped by a signal.

        Returns:
            Where the run is to be seen, or how to send it later, with those before it that are not sent either;
            nothing where that is not known.
        """
        channel = self._channel
        if channel is None:
            return ""
        self._tell("finish", summary=dict(summary), exit_code=exit_code)
        patience = STOPPED_SECONDS if exit_code >= 128 else self._upload_seconds + GRACE_SECONDS
        failure = channel.close(patience)
        self._channel = None
        if failure and not self._failed:
            self._fail(failure)
        return "" if channel.started is None else self._last_line(channel.started, bool(failure))

    def _last_line(self, started: Mapping[str, Any], failed: bool) -> str:
        mode = started["mode"]
        # What the first run found holds for those that follow, such as further folds.
        self._mode = {**mode, "unwanted": False}
        if mode["name"] == "online" and not failed:
            return f"wandb: {started['url']}"
        self._unsent += _offline_folders(self._folder, started["sync_dir"])
        state = "incomplete" if failed else "kept offline"  # why has been said at the start
        return f"wandb: {state}; to send it: {shlex.join(['wandb', 'sync', *self._unsent])}"

    def _tell(self, call: str, **arguments: Any) -> None:
        if self._channel is None or self._failed:
            return
        self._channel.send({"call": call, **arguments})
        if self._channel.failure and not self._failed:
            self._fail(self._channel.failure)

    def _fail(self, why: str) -> None:
        self._failed = True
        logger.warning("wandb no longer mirrors this run; training continues: %s", why)


class Channel:
    """The process that wandb runs in: lines go out and events come in on threads, so that nobody waits for it.

    Args:
        environ: The process's whole environment.
        announce: Say in which mode it starts.
    """

    def __init__(self, environ: Mapping[str, str], announce: bool) -> None:
        root = Path(__file__).parents[3]
        self._announce = announce
        self.started: dict[str, Any] | None = None
        self.failure = ""
        self._finished = False
        self._outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # Of what wandb keeps in passing some stays behind where its process is ended.
        self._temporary = tempfile.TemporaryDirectory(prefix="docclf-wandb-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _LAUNCH, str(root)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
            env={
                **environ, "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "TMPDIR": self._temporary.name
            },
            # Ctrl-C is for the run, which then finishes the mirror.
            start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._write, daemon=True).start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Pass a message on, at once and whatever the process does."""
        self._outbox.put(json.dumps(message, default=_plain))

    def close(self, seconds: float) -> str:
        """Wait for the end of the process, at most so long, then end it; returns what went wrong, if anything."""
        self._outbox.put(None)
        self._reader.join(seconds)
        if self._reader.is_alive():
            self.failure = self.failure or f"it did not finish within {seconds:g} s"
        self._process.kill()  # having closed its output it has nothing left to do, and could hang while doing it
        self._process.wait()
        self._temporary.cleanup()
        if not self._finished:
            self.failure = self.failure or "its process ended"
        return self.failure

    def _write(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.stdin as stdin:
            for line in iter(self._outbox.get, None):
                stdin.write(line + "\n")
                stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            kind = event.pop("event")
            if kind == "started":
                self.started = event
                if self._announce:
                    _announce(event["mode"])
            elif kind == "failed":
                self.failure = event["why"]
            else:
                self._finished = True


def _run_id(folder: Path) -> str:
    """The W&B run of a run folder: the one it had before, else a new one."""
    path = folder / ID_FILE
    if path.is_file() and (known := path.read_text(encoding="utf-8").strip()):
        return known
    run_id = secrets.token_hex(4)
    write_text(path, run_id + "\n")
    return run_id


def _announce(mode: Mapping[str, Any]) -> None:
    level = logging.WARNING if mode["unwanted"] else logging.DEBUG  # the last line says where the run is
    logger.log(level, "wandb: %s, because %s", mode["name"], mode["why"])


def _offline_folders(folder: Path, sync_dir: str) -> list[str]:
    """What W&B kept of the run of a folder, now and before it was resumed."""
    run_id = (folder / ID_FILE).read_text(encoding="utf-8").strip()
    return sorted({*map(str, (folder / "wandb").glob(f"offline-run-*-{run_id}")), sync_dir})


def _plain(value: Any) -> Any:
    # numpy's scalars
    return value.item() if hasattr(value, "item") else str(value)
