"""`docclf predict` is killed with SIGKILL, again and again, and ends with the bytes of an undisturbed run."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import CliProcess, Outcome
from page_cases import write_checkpoint, write_images, write_tiff

pytestmark = pytest.mark.slow
PAGES = 2000
ROUNDS = -(-int(os.environ.get("DOCCLF_TEST_KILLS", "4")) // 5)  # of five kills each


@pytest.mark.timeout(60 + 240 * ROUNDS)
def test_killed_at_random_moments(
    docclf: Callable[..., Outcome], start: Callable[..., CliProcess], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "run" / "best.ckpt", ("form", "letter", "bill"))
    write_images(tmp_path / "in", PAGES - 500)
    for number in range(5):
        write_tiff(tmp_path / "in" / f"t{number}.tif", range(number, number + 100))
    asked = ("predict", "in", "--checkpoint", "run", "--min-confidence", "0.9")
    assert docclf(*asked, "-o", "whole", "--copy-to", "whole/sorted").code == 0
    chance = random.Random(int(os.environ.get("DOCCLF_TEST_SEED", "0")))
    for number in range(ROUNDS):
        out = tmp_path / f"out{number}"
        again = (*asked, "-o", out.name, "--copy-to", f"{out.name}/sorted")
        for moment in _moments(out):
            process = start(*again)
            _wait_for(moment, process)
            time.sleep(chance.uniform(0, 0.2))
            process.kill_group()
            assert process.wait().code == -signal.SIGKILL
        outcome = docclf(*again)
        assert outcome.code == 0, outcome.stderr
        assert _contents(out) == _contents(tmp_path / "whole")


def _moments(out: Path) -> list[Callable[[], bool]]:
    work = out / ".docclf-predict"
    return [
        work.is_dir,
        lambda: len(list(work.glob("part-*"))) >= 1,
        lambda: len(list(work.glob("part-*"))) >= 3,
        (work / "publishing").is_file,
        lambda: len(list((out / "sorted").rglob("*"))) > 400,
    ]


def _wait_for(moment: Callable[[], bool], process: CliProcess) -> None:
    while not moment():
        assert process.process.exitcode is None, process.stderr
        time.sleep(0.005)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
