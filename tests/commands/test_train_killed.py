"""kill -9 at any moment, again and again: the run ends, byte for byte, where the undisturbed run ends."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import CliProcess
from run_files import contents, differing
from tiny import PLAIN, draw_pages

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("DOCCLF_TEST_KILLS", "4"))
SECONDS_PER_KILL = 60
Start = Callable[..., CliProcess]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Two folds of three epochs with snapshots, an average of the weights and loader processes; saved at each step."""
    pages = draw_pages(tmp_path_factory.mktemp("pages") / "data", 10)
    keys = {
        "train.snapshots.keep": "every", "train.snapshots.k": 1, "train.ema": 0.9, "train.checkpoint_every.steps": 1,
        "runtime.workers": 2, "runtime.threads": 1, "tracking.backend": "none", "optimizer.lr": 5e-3, **PLAIN,
    }  # fmt: skip
    sets = [text for key, value in keys.items() for text in ("--set", f"{key}={value}")]
    return (
        "train", "--data", str(pages), "--profile", "config", "--model", "test_resnet", "--no-pretrained", "--image-size", "32",
        "--batch-size", "4", "--augmentation", "light", "--epochs", "3", "--folds", "2", *sets,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(
    command: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory, cache_home: Path
) -> tuple[dict[str, bytes], float]:
    """The undisturbed run, and the seconds it took."""
    folder, env = tmp_path_factory.mktemp("whole"), {"XDG_CACHE_HOME": str(cache_home)}
    CliProcess(("--version",), folder, env).wait()  # the first process waits for torch to be imported
    started = time.monotonic()
    outcome = CliProcess((*command, "--name", "whole"), folder, env).wait()
    assert outcome.code == 0, outcome.stderr
    return contents(folder / "runs" / "whole"), time.monotonic() - started


@pytest.mark.timeout(SECONDS_PER_KILL * KILLS + 300)
def test_killed_at_any_moment_it_ends_the_same(
    start: Start, command: tuple[str, ...], tmp_path: Path, whole: tuple[dict[str, bytes], float]
) -> None:
    undisturbed, seconds = whole
    rng, kills, runs = random.Random(os.environ.get("DOCCLF_TEST_SEED", "0")), 0, 0
    while kills < KILLS:
        runs += 1
        kills += _kill_until_finished(start, (*command, "--name", f"k{runs}"), seconds, rng, KILLS - kills)
        assert differing(contents(tmp_path / "runs" / f"k{runs}"), undisturbed) == []
    print(f"{kills} kills in {runs} runs; an undisturbed one takes {seconds:.1f} s")


def _kill_until_finished(start: Start, command: tuple[str, ...], seconds: float, rng: random.Random, most: int) -> int:
    """Start or resume a run, and kill it after a random time, until it ends by itself; how often it was killed."""
    kills = 0
    while True:
        process = start(*command, "--resume", "auto")
        if kills < most:
            process.process.join(rng.uniform(0.02, 0.6) * seconds)
            if process.process.exitcode is None:
                # Half of the kills spare the loader processes, which then have to find out by themselves.
                process.kill_group() if rng.random() < 0.5 else process.send(signal.SIGKILL)
                assert process.wait().code == -signal.SIGKILL
                kills += 1
                continue
        outcome = process.wait()
        assert outcome.code == 0, outcome.stderr
        return kills


def test_the_comparison_notices_one_lost_step(
    start: Start, command: tuple[str, ...], tmp_path: Path, whole: tuple[dict[str, bytes], float]
) -> None:
    process = start(*command, "--name", "cut")
    process.wait_for("\n    1 ")
    process.kill_group()
    assert process.wait().code == -signal.SIGKILL
    (path,) = (tmp_path / "runs" / "cut").glob("fold-0/last.ckpt")
    last = Checkpoint.load(path)
    last.training["state"]["step"] += 1
    last.save(path)
    outcome = start("train", "--resume", "runs/cut").wait()
    assert outcome.code == 0, outcome.stderr
    assert "stopped without an error message" in outcome.stderr
    different = differing(contents(tmp_path / "runs" / "cut"), whole[0])
    assert {"fold-0/last.ckpt", "fold-0/metrics.csv"} <= set(different)
    assert not [name for name in different if name.startswith("fold-1")]
