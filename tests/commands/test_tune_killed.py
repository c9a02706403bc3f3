"""kill -9 at any moment of a search, again and again: no trial is lost, and the running one goes on where it was saved."""

import csv
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import CliProcess
from tiny import PLAIN, draw_pages

pytest.importorskip("optuna")
pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("DOCCLF_TEST_KILLS", "3"))
TRIALS = 6
Start = Callable[..., CliProcess]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("pages")
    pages = draw_pages(folder / "data", 25)
    (folder / "space.yaml").write_text(
        "optimizer: {lr: {times: [0.1, 2], log: true}}\ntrain: {epochs: {low: 2, high: 4}}\n"
    )
    keys = {
        "model": "test_resnet", "model.pretrained": "false", "augmentation": "light", "data.image_size": 32, "train.batch_size": 8,
        "train.epochs": 3, "optimizer.lr": 5e-3, "runtime.workers": 0, "runtime.threads": 1, **PLAIN,
    }  # fmt: skip
    sets = [text for key, value in keys.items() for text in ("--set", f"{key}={value}")]
    options = ("--profile", "config", "--trials", str(TRIALS), "--space", str(folder / "space.yaml"), "--name", "s")
    return ("tune", str(pages), *options, *sets)


def finished_trials(folder: Path) -> dict[str, str]:
    """Each finished trial's row in the run folders that are there: its metrics by number."""
    runs = folder.glob("tune/s/trials/*/run.json")
    return {
        run.parent.name: (run.parent / "metrics.csv").read_text() for run in runs if '"finished"' in run.read_text()
    }


@pytest.mark.timeout(120 * KILLS + 300)
def test_killed_at_any_moment_no_trial_is_lost(start: Start, command: tuple[str, ...], tmp_path: Path) -> None:
    rng, kills, before = random.Random(os.environ.get("DOCCLF_TEST_SEED", "0")), 0, dict[str, str]()
    while True:
        process = start(*command)
        if kills < KILLS:
            process.process.join(rng.uniform(1.0, 8.0))
            if process.process.exitcode is None:
                process.send(signal.SIGKILL)
                assert process.wait().code == -signal.SIGKILL
                kills += 1
                now = finished_trials(tmp_path)
                assert before.items() <= now.items()
                before = now
                continue
        outcome = process.wait()
        assert outcome.code == 0, outcome.stderr
        break
    with (tmp_path / "tune" / "s" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == [str(number) for number in range(TRIALS)]
    assert {row["state"] for row in rows} <= {"complete", "pruned"}
    assert before.items() <= finished_trials(tmp_path).items()
    # What each trial tries depends on its number and the trials before it, not on the kills.
    undisturbed = start(*command, "--output", "undisturbed").wait()
    assert undisturbed.code == 0, undisturbed.stderr
    with (tmp_path / "undisturbed" / "s" / "trials.csv").open() as file:
        others = list(csv.DictReader(file))
    for name in ("optimizer.lr", "train.epochs", "loss"):
        assert [row[name] for row in others] == [row[name] for row in rows]
