"""Copies by class, also where the file system has no hard links."""

import errno
import os
from pathlib import Path

import pytest

from docclf_cli import files
from docclf_cli.tasks.predict.sorting import place_numbered


@pytest.mark.parametrize("links", [True, False])
def test_nothing_that_is_there_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
        monkeypatch.setattr(files, "_warned", set())
    wanted, temp = tmp_path / "page.png", tmp_path / "temp"
    for content, new in (("one", True), ("two", True), ("one", False), ("three", True)):
        temp.write_text(content)
        assert place_numbered(temp, wanted)[1] == new
        temp.unlink(missing_ok=True)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"page.png": "one", "page-2.png": "two", "page-3.png": "three"}


def _no_links(*args: object, **options: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
