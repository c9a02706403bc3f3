"""Whole or absent: what is on the disk before, during and after a write."""

import errno
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from docclf_cli import files
from docclf_cli.errors import ResourceError
from docclf_cli.files import (
    TEMP_PREFIX,
    atomic_folder,
    atomic_write,
    bring_back_previous,
    keep_previous,
    previous_of,
    save_with,
    sweep_temporary,
    write_json,
    write_text,
)


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is flushed to the disk and what is renamed, in order; of a file with the bytes it then had."""
    told: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def note_fsync(handle: int) -> None:
        state = os.fstat(handle)
        told.append("fsync of the folder" if stat.S_ISDIR(state.st_mode) else f"fsync of {state.st_size} bytes")
        fsync(handle)

    def noted(kind: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        return lambda path, target: (told.append(f"rename to {Path(target).name}"), kind(path, target))[1]

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", noted(replace))
    monkeypatch.setattr(Path, "rename", noted(rename))
    return told


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_it_is_said(
    tmp_path: Path, flushed: list[str]
) -> None:
    write_text(tmp_path / "a.csv", "0123456789")
    assert flushed == ["fsync of 10 bytes", "rename to a.csv", "fsync of the folder"]


def test_a_folder_that_is_replaced_is_flushed_after_its_rename(tmp_path: Path, flushed: list[str]) -> None:
    with atomic_folder(tmp_path / "out") as new:
        (new / "a").write_text("new")
    assert flushed == ["rename to out", "fsync of the folder"]


def test_before_the_end_of_the_block_the_old_content_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_text(path, "old")
    with atomic_write(path, "w") as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
        assert [other.name.startswith(TEMP_PREFIX) for other in tmp_path.iterdir() if other != path] == [True]
    assert [(other.name, other.read_text()) for other in tmp_path.iterdir()] == [("a.csv", "new")]


def test_an_error_in_the_block_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert [(other.name, other.read_bytes()) for other in tmp_path.iterdir()] == [("a.json", before)]


@pytest.mark.parametrize("room", [10, 1_000, 100_000, 5_000_000])
def test_a_disk_that_fills_up_within_large_weights_is_named(tmp_path: Path, room: int) -> None:
    weights = {name: torch.zeros(1_000_000) for name in "ab"}  # torch hides the error where they meet no buffer
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(ResourceError, match=r"a\.ckpt cannot be written: File too large"):
            save_with(tmp_path / "a.ckpt", lambda file: torch.save(weights, file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_a_folder_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_folder(out) as new:
        (new / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(out) as new:
        (new / "a").write_text("new")
        raise RuntimeError
    with pytest.raises(ResourceError, match="cannot be written: No space left"), atomic_folder(out) as new:
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "a").read_text() == "old"


def test_the_content_before_is_kept_and_brought_back(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    keep_previous(path)  # nothing yet
    assert list(tmp_path.iterdir()) == []
    for content in ("1", "2", "3"):
        keep_previous(path)
        keep_previous(path)  # a writer that was killed in between does it again
        write_text(path, content)
    assert (path.read_text(), previous_of(path).read_text()) == ("3", "2")
    bring_back_previous(path)
    assert [(other.name, other.read_text()) for other in tmp_path.iterdir()] == [("last.ckpt", "2")]


def test_only_what_writers_left_is_swept(tmp_path: Path) -> None:
    left = tmp_path / f"{TEMP_PREFIX}a.csv-1-00"
    for path in (left, tmp_path / f"{TEMP_PREFIX}b.csv-1-00", tmp_path / "a.csv"):
        path.write_text("x")
    assert sweep_temporary(tmp_path, "a.csv") == [left]
    assert len(list(tmp_path.iterdir())) == 2
    sweep_temporary(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def poor(monkeypatch: pytest.MonkeyPatch, place: object, function: str, number: int) -> None:
    """A file system that answers with an error number; `fsync` to folders alone."""
    real = getattr(place, function)

    def call(*args: object, **options: object) -> object:
        if function == "fsync" and not stat.S_ISDIR(os.fstat(args[0]).st_mode):  # type: ignore[arg-type]
            return real(*args, **options)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(place, function, call)
    monkeypatch.setattr(files, "_warned", set())


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links_the_content_before_is_kept_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    poor(monkeypatch, os, "link", number)
    path = tmp_path / "last.ckpt"
    for content in ("1", "2", "3"):
        keep_previous(path)
        keep_previous(path)
        write_text(path, content)
    assert (path.read_text(), previous_of(path).read_text()) == ("3", "2")
    keep_previous(path)  # and a crash before the next is written
    assert previous_of(path).read_text() == "3"
    assert len(caplog.records) == 1
    assert "no hard links" in caplog.text


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS])
def test_folders_that_cannot_be_flushed_take_files_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    poor(monkeypatch, os, "fsync", number)
    for name in ("a", "b"):
        write_text(tmp_path / name, name)
    with atomic_folder(tmp_path / "out") as new:
        (new / "c").write_text("c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "out"]
    assert len(caplog.records) == 1
    assert "power failure" in caplog.text


def test_a_disk_that_fails_to_flush_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poor(monkeypatch, os, "fsync", errno.EIO)
    with pytest.raises(ResourceError, match="cannot be written"):
        write_text(tmp_path / "a", "a")
