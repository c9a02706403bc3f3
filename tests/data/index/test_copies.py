"""Which files are copies of which."""

import os
from pathlib import Path

import pytest

from docclf_cli.data.index.copies import copies_of


def test_copies_are_found_by_their_bytes(tmp_path: Path) -> None:
    contents = {"a": b"one", "b": b"two", "same size": b"six", "copy of b": b"two", "longer": b"three"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    os.link(tmp_path / "a", tmp_path / "link to a")
    files = [str(tmp_path / name) for name in ("copy of b", "same size", "longer", "link to a", "missing")]
    known = [str(tmp_path / name) for name in ("a", "b", "not there")]
    assert copies_of(files, known).tolist() == [1, -1, -1, 0, -1]


def test_only_files_of_one_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / str(number)).write_bytes(b"x" * (number + 1))
    (tmp_path / "new").write_bytes(b"y" * 7)
    read: list[str] = []
    monkeypatch.setattr("docclf_cli.data.index.copies._digest", lambda path: read.append(Path(path).name))
    known = [str(tmp_path / str(number)) for number in range(20)]
    assert copies_of([str(tmp_path / "new")], known).tolist() == [-1]
    assert sorted(read) == ["6", "new"]
