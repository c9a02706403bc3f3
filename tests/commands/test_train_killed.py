"""What kill -9 leaves behind: whole files, or none."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import CliProcess

from docclf_cli.data.samples import render_samples
from docclf_cli.engine.checkpoint import Checkpoint
from docclf_cli.files import TEMP_PREFIX

KILLS = int(os.environ.get("DOCCLF_TEST_KILLS", "4"))


@pytest.mark.slow
@pytest.mark.timeout(60 * KILLS + 60)
def test_checkpoints_are_whole_whenever_the_run_is_killed(
    start: Callable[..., CliProcess], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pages = render_samples(tmp_path_factory.mktemp("pages") / "data", pages_per_class=4, test_pages_per_class=1)
    rng = random.Random(0)
    for number in range(KILLS):
        process = start(
            *("train", "--data", pages, "--model", "test_resnet", "--no-pretrained", "--image-size", "48"),
            *(
                "--batch-size",
                "4",
                "--epochs",
                "1000",
                "--name",
                f"k{number}",
                "--set",
                "train.checkpoint_every.steps=1",
            ),
        )
        process.wait_for("epoch 1:")
        time.sleep(rng.uniform(0, 2))
        process.kill_group()
        assert process.wait().code == -9
        run = tmp_path / "runs" / f"k{number}"
        assert Checkpoint.load(run / "last.ckpt").training["state"]["epoch"] >= 1
        assert Checkpoint.load(run / "best.ckpt").epoch >= 1
        rows = (run / "metrics.csv").read_text().splitlines()
        assert len({row.count(",") for row in rows}) == 1
        unfinished = [path.name for path in run.iterdir() if path.name.startswith(TEMP_PREFIX)]
        assert len(unfinished) <= 1
