"""Twenty processes of `docclf predict --part` are killed at random, started again, and joined to the bytes of one call."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import CliProcess, Outcome
from page_cases import write_checkpoint, write_images, write_tiff

PARTS = 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_and_started_again(
    docclf: Callable[..., Outcome], start: Callable[..., CliProcess], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "run" / "best.ckpt", ("form", "letter", "bill"))
    write_images(tmp_path / "in", 64 * PARTS)
    for number in range(40):
        write_tiff(tmp_path / "in" / f"t{number}.tif", range(number, number + 30))
    asked = ("predict", "run/best.ckpt", "in", "--min-confidence", "0.9")
    options = ("--set", "runtime.workers=0")
    assert docclf(*asked, "-o", "whole", *options).code == 0
    chance, left, killed = random.Random(0), list(range(1, PARTS + 1)), 0
    while left:
        chance.shuffle(left)
        batch = {number: start(*asked, "-o", "out", "--part", f"{number}/{PARTS}", *options) for number in left[:4]}
        victims = [process for process in batch.values() if killed < PARTS and chance.random() < 0.6]
        for process in victims:
            time.sleep(chance.uniform(0, 0.4))
            process.kill_group()
        for number, process in batch.items():
            code = process.wait().code
            killed += code == -signal.SIGKILL
            if code == 0:
                left.remove(number)
        joined = docclf("predict", "--join", "out")
        says = "missing or not complete" in joined.stderr
        assert (joined.code, says) == ((2, True) if left else (0, False)), joined.stderr
    assert killed >= 3
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_options_that_part_and_join_take(docclf: Callable[..., Outcome], tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "run" / "best.ckpt", ("form", "letter", "bill"))
    write_images(tmp_path / "in", 2)
    for options, says in (
        (("run/best.ckpt", "in", "--part", "1/2", "--copy-to", "x"), "--copy-to needs all pages"),
        (("run/best.ckpt", "in", "--part", "1/2", "-o", "x.csv"), "--part writes a folder"),
        (("run/best.ckpt", "in", "--part", "3/2"), "is not I/N"),
        (("run/best.ckpt", "--join", "x"), "the parts have decided this already: inputs"),
        (("--join", "x"), "x: there are no parts in it"),
    ):
        outcome = docclf("predict", *options)
        assert (outcome.code, says in outcome.stderr) == (2, True), outcome.stderr
    made = docclf("predict", "run/best.ckpt", "in", "-o", "out", "--part", "1/1")
    assert "docclf predict --join out" in made.stdout
    joined = docclf("predict", "--join", "out", "-o", "all", "--json").json
    assert (joined["pages"], joined["predictions_file"]) == (2, "all/predictions.csv")
