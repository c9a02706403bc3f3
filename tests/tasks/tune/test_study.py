"""Waiting for another process of a search."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from docclf_cli.errors import Interrupted
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.tune import study
from docclf_cli.tasks.tune.study import locked

HOLDER = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A lock that another process holds."""
    path = tmp_path / ".study.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        yield path
        holder.communicate()


def test_waiting_is_said_and_ends_with_a_signal(
    held: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "docclf")
    monkeypatch.setattr(study, "SAY_AFTER", 0.0)
    stop = StopFlag()
    threading.Timer(0.3, lambda: setattr(stop, "signal_number", 2)).start()
    with pytest.raises(Interrupted, match="another process held"), locked(held, stop):
        pytest.fail("the lock is not free")
    assert caplog.text.count(f"waiting for the process that holds {held}") == 1


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / ".study.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    killer = threading.Timer(0.3, holder.kill)
    killer.start()
    with locked(path):
        assert holder.wait() != 0
    holder.stdout.close()
