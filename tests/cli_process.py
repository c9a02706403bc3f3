"""Runs `docclf` as a process of its own, forked from a server that has imported torch and timm once."""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from faults import arrange_fault

WARM = [
    "torch",
    "timm",
    "pandas",
    "sklearn.linear_model",
    "matplotlib.figure",
    "docclf_cli.tasks.review.web.app",
    "docclf_cli.tasks.train",
    "docclf_cli.app",
]
HOOK = "DOCCLF_TEST_FAULT"  # what happens to the process by itself: `faults.arrange_fault`
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(WARM)


@dataclass(frozen=True)
class Outcome:
    """What a finished process left."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class CliProcess:
    """A running `docclf`, in a process group of its own.

    Args:
        args: Command line without the program.
        cwd: Working folder.
        env: Added to the environment; None removes a variable.
    """

    def __init__(self, args: tuple[str, ...], cwd: Path, env: dict[str, str | None] | None = None) -> None:
        self._log = cwd / f".cli-{time.monotonic_ns()}"
        self._out, self._err = self._log.with_suffix(".out"), self._log.with_suffix(".err")
        self.process: BaseProcess = _context.Process(
            target=_child, args=(args, str(cwd), env or {}, str(self._out), str(self._err)), daemon=False
        )
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid

    @property
    def stderr(self) -> str:
        return self._err.read_text() if self._err.exists() else ""

    def send(self, number: int) -> None:
        """Signal the process alone."""
        os.kill(self.pid, number)

    def kill_group(self) -> None:
        """SIGKILL the process and its loader workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait until stderr contains a text."""
        end = time.monotonic() + seconds
        while text not in self.stderr:
            assert self.process.exitcode is None, f"ended before '{text}':\n{self.stderr}"
            assert time.monotonic() < end, f"no '{text}' within {seconds} s:\n{self.stderr}"
            time.sleep(0.02)

    def wait(self, seconds: float = 240) -> Outcome:
        """Wait for the end."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.kill_group()
            raise TimeoutError(f"still running after {seconds} s:\n{self.stderr}")
        outcome = Outcome(self.process.exitcode, self._out.read_text(), self._err.read_text())
        self._out.unlink()
        self._err.unlink()
        return outcome


def _child(args: tuple[str, ...], cwd: str, env: dict[str, str | None], out: str, err: str) -> None:
    os.setpgid(0, 0)
    os.chdir(cwd)
    for name, value in env.items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    for path, stream, fd in ((out, sys.stdout, 1), (err, sys.stderr, 2)):
        stream.flush()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, fd)
        os.close(handle)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="replace", closefd=False, buffering=1)
    sys.argv = ["docclf", *args]
    if hook := os.environ.pop(HOOK, ""):
        arrange_fault(hook)
    from docclf_cli.app import main

    main()
