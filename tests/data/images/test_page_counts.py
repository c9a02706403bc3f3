"""Pages are counted in a process of its own, which a file may end or keep."""

import logging
import os
import signal
import time
from pathlib import Path

import pytest
from page_cases import write_tiff

from docclf_cli.data.images import page_counts as page_counts_module
from docclf_cli.data.images.page_counts import page_counts
from docclf_cli.data.images.page_files import PageReader


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [write_tiff(tmp_path / f"{name}.tif", range(count)) for name, count in (("a", 2), ("bad", 1), ("c", 3))]
    return [*made, tmp_path / "missing.tif"]


@pytest.mark.parametrize("fault", ["crash", "kill", "hang"])
def test_a_file_that_ends_or_keeps_the_process_has_no_pages(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    count = PageReader.count

    def faulty(self: PageReader, path: Path, root: Path | None = None) -> int:
        if path.name == "bad.tif":
            if fault == "hang":
                time.sleep(60)
            os.kill(os.getpid(), signal.SIGSEGV if fault == "crash" else signal.SIGKILL)
        return count(self, path, root)

    monkeypatch.setattr(PageReader, "count", faulty)
    monkeypatch.setattr(page_counts_module, "LIMIT_SECONDS", 0.5 if fault == "hang" else 60.0)
    with caplog.at_level(logging.WARNING, "docclf"):
        assert page_counts(files, files[0].parent, PageReader(10**6)) == [2, 0, 3, 0]
    assert "bad.tif" in caplog.text
    assert "missing.tif" not in caplog.text
