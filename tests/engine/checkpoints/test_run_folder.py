"""One writer of a run folder, also where the file system has no locks."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from docclf_cli import files
from docclf_cli.engine.checkpoints.run_folder import FINISHED, RUNNING, RunFolder, new_run_folder
from docclf_cli.errors import InputError, ResourceError

HOLDER = """
import sys, pathlib
from docclf_cli.engine.checkpoints.run_folder import RunFolder
with RunFolder(pathlib.Path(sys.argv[1])).writing():
    print("held", flush=True)
    sys.stdin.read()
"""


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file system that answers with an error number."""

    def lockf(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", lockf)
    monkeypatch.setattr(files, "_warned", set())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_a_run_is_written_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    refuse_locks(monkeypatch, number)
    for name in ("a", "b"):
        with RunFolder(tmp_path / name).writing():
            pass
    assert len(caplog.records) == 1
    assert "no locks" in caplog.text


def test_an_error_that_is_no_lack_of_locks_blames_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.EIO)
    with pytest.raises(ResourceError, match="cannot be locked"), RunFolder(tmp_path).writing():
        pass


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"is being written by process {holder.pid}"), RunFolder(tmp_path).writing():
        pass
    holder.stdin.close()
    assert holder.wait() == 0
    with RunFolder(tmp_path).writing():
        pass


def test_a_new_run_needs_a_folder_that_may_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ResourceError, match="cannot be written to"):
        new_run_folder(tmp_path / "runs", "a", "resnet18")


def test_a_run_that_is_not_finished_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = RunFolder(tmp_path / "r")
    run.path.mkdir()
    run.write_state(RUNNING)
    run.say_unfinished()
    assert "is not finished: its best checkpoint so far is used" in caplog.text
    caplog.clear()
    run.write_state(FINISHED)
    run.say_unfinished()
    assert caplog.text == ""
