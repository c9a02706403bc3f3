"""The process in which W&B runs, apart from the one that trains.

Whatever wandb does (prompts, signal and exit hooks, retries, a crash) happens here, and a process can be ended.
It reads one JSON object a line, `{"call": name, ...arguments}`, and writes events the same way:
`{"event": "started" | "failed" | "finished", ...}`. When its input ends without `finish`, the run is marked as failed.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from docclf_cli.services.tracking.wandb_mode import Mode, resolve_mode, server

Emit = Callable[..., None]
CLOSING_SECONDS = 3.0


class Mirror:
    """One W&B run.

    Args:
        emit: Called with the name of an event and its facts.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._run: Any = None
        self._step: int | None = None

    def start(self, init: Mapping[str, Any], settings: Mapping[str, Any], mode: Mapping[str, Any] | None) -> None:
        """Open the run, offline where the server turns it away; `mode` is what an earlier run found."""
        import wandb

        found = Mode(**mode) if mode else resolve_mode(os.environ, server())
        if found.name == "online":
            try:
                self._open(init, settings, "online")
            except Exception as error:
                found = Mode("offline", f"the server refused the run: {one_line(error)}", unwanted=True)
                # Only a new service takes the same run ID again.
                wandb.teardown()
        if self._run is None:
            self._open(init, settings, found.name)
        self._emit("started", mode=asdict(found), sync_dir=self._run.settings.sync_dir, url=self._run.url)

    def _open(self, init: Mapping[str, Any], settings: Mapping[str, Any], mode: Any) -> None:
        import wandb

        self._run = wandb.init(**init, mode=mode, settings=wandb.Settings(**settings))

    def log(self, metrics: Mapping[str, Any], step: int | None) -> None:
        """Metrics of a step."""
        self._step = step
        self._run.log(dict(metrics), step=step)

    def image(self, name: str, path: str) -> None:
        """A picture from a file."""
        import wandb

        self._run.log({name: wandb.Image(path)}, step=self._step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table."""
        import wandb

        self._run.log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])}, step=self._step)

    def artifact(self, path: str, name: str, metadata: Mapping[str, Any]) -> None:
        """A checkpoint; the file is not copied."""
        import wandb

        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name), type="model", metadata=dict(metadata))
        artifact.add_file(path, policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact)

    def finish(self, summary: Mapping[str, Any], exit_code: int) -> None:
        """Close the run."""
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=exit_code)
        # wandb closes its file a moment after it says so.
        patience = time.monotonic() + CLOSING_SECONDS
        while not (whole := is_whole(Path(self._run.settings.sync_file))) and time.monotonic() < patience:
            time.sleep(0.05)
        if not whole:
            raise OSError("its file could not be written to the end; is the disk full?")
        self._emit("finished")


def is_whole(path: Path) -> bool:
    """Whether a `.wandb` file ends with the record that ends a run.

    The file is a 7-byte header and blocks of 32 KiB in the log format of LevelDB; a record's header is a checksum
    (4 bytes), a length (2 bytes) and its type. wandb itself reports success where the disk was full.
    """
    import wandb.proto.wandb_internal_pb2 as records

    content = path.read_bytes() if path.is_file() else b""
    place, data, record = 7, b"", records.Record()  # type: ignore[attr-defined]
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        data = (
            content[place + 7 : place + 7 + length]
            if kind in (1, 2)
            else data + content[place + 7 : place + 7 + length]
        )
        place += 7 + length
    try:
        record.ParseFromString(data)
    except Exception:
        return False
    return record.WhichOneof("record_type") in ("exit", "footer", "final")


def one_line(error: BaseException) -> str:
    """The message of an error, short enough for a warning."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def serve(lines: Sequence[str] | Any, emit: Emit) -> None:
    """Do what each line says, until one fails, the run is finished, or the lines end."""
    mirror = Mirror(emit)
    try:
        for line in lines:
            message = json.loads(line)
            name = message.pop("call")
            getattr(mirror, name)(**message)
            if name == "finish":  # loader workers that were forked meanwhile may keep the pipe open
                return
        if mirror._run is not None:
            mirror._run.finish(exit_code=1)
    except BaseException as error:
        emit("failed", why=one_line(error))


def main() -> None:
    """Serve standard input, and leave without waiting for anything wandb still wants to do."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What wandb prints, and what its own child process inherits, goes nowhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def emit(event: str, **facts: Any) -> None:
        print(json.dumps({"event": event, **facts}), file=events, flush=True)

    serve(sys.stdin, emit)
    os._exit(0)
