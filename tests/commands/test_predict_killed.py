"""`docclf predict` is killed with SIGKILL, again and again, and ends with the bytes of an undisturbed run."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import CliProcess, Outcome
from page_cases import write_checkpoint, write_images, write_tiff

pytestmark = pytest.mark.slow
PAGES = 2000


def test_killed_at_random_moments(
    docclf: Callable[..., Outcome], start: Callable[..., CliProcess], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "run" / "best.ckpt", ("form", "letter", "bill"))
    write_images(tmp_path / "in", PAGES - 500)
    for number in range(5):
        write_tiff(tmp_path / "in" / f"t{number}.tif", range(number, number + 100))
    asked = ("predict", "in", "--checkpoint", "run", "--min-confidence", "0.9")
    assert docclf(*asked, "-o", "whole", "--copy-to", "whole/sorted").code == 0
    chance, work = random.Random(0), tmp_path / "out" / ".docclf-predict"
    moments: list[Callable[[], bool]] = [
        work.is_dir,
        lambda: len(list(work.glob("part-*"))) >= 1,
        lambda: len(list(work.glob("part-*"))) >= 3,
        (work / "publishing").is_file,
        lambda: len(list((tmp_path / "out" / "sorted").rglob("*"))) > 400,
    ]
    for moment in moments:
        process = start(*asked, "-o", "out", "--copy-to", "out/sorted")
        _wait_for(moment, process)
        time.sleep(chance.uniform(0, 0.2))
        process.kill_group()
        process.wait()
    outcome = docclf(*asked, "-o", "out", "--copy-to", "out/sorted")
    assert outcome.code == 0, outcome.stderr
    assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")


def _wait_for(moment: Callable[[], bool], process: CliProcess) -> None:
    end = time.monotonic() + 120
    while not moment():
        assert process.process.exitcode is None, process.stderr
        assert time.monotonic() < end
        time.sleep(0.005)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
