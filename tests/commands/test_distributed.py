"""Two processes that work as one: the same answers, the same files, one output."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_process import CliProcess, Outcome
from tiny import draw_pages

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.results.predictions import Predictions

# Without batch norm and dropout, and with the same arithmetic, only the order of sums differs: see TOLERANCE.
KEYS = {
    "model.dropout_rate": 0, "runtime.workers": 0, "runtime.threads": 1, "runtime.precision": "fp32",
    "runtime.memory_format": "contiguous", "runtime.compile": "off", "tracking.backend": "none",
}  # fmt: skip
TOLERANCE = 1e-5  # of any weight after five epochs
Start = Callable[..., CliProcess]


def _train(pages: Path, model: str = "test_vit", **keys: object) -> tuple[str, ...]:
    sets = [text for key, value in (KEYS | keys).items() for text in ("--set", f"{key}={value}")]
    return (
        "train", "--data", str(pages), "--profile", "config", "--model", model, "--no-pretrained", "--image-size", "32", "--batch-size", "8",
        "--augmentation", "light", "--epochs", "5", *sets,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 11)


@pytest.fixture(scope="module")
def alone(pages: Path, tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> Path:
    """A run that one process has trained."""
    folder = tmp_path_factory.mktemp("alone")
    outcome = CliProcess((*_train(pages), "--name", "run"), folder, {"XDG_CACHE_HOME": str(cache_home)}).wait()
    assert outcome.code == 0, outcome.stderr
    return folder / "runs" / "run"


def _as_two(start: Start, *args: object) -> list[CliProcess]:
    """A command in two processes, with the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [start(*args, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]


def _ended(processes: list[CliProcess]) -> Outcome:
    """What rank 0 said; the other says nothing, and ends with the same code."""
    main, other = (process.wait() for process in processes)
    assert (other.code, other.stdout, other.stderr) == (main.code, "", ""), other.stderr
    return main


def test_two_processes_evaluate_and_predict_as_one(start: Start, alone: Path, pages: Path, tmp_path: Path) -> None:
    one, two = (shutil.copytree(alone, tmp_path / name) for name in ("one", "two"))
    for run in (one, two):
        shutil.rmtree(run / "predictions")
    outcome = start("evaluate", "--checkpoint", one, "--split", "val", "--json").wait()
    shared = _ended(_as_two(start, "evaluate", "--checkpoint", two, "--split", "val", "--json"))
    assert shared.code == outcome.code == 0, shared.stderr
    expected, found = (Predictions.load(next((run / "predictions").glob("val-*.npz"))) for run in (one, two))
    assert found.ids.tolist() == expected.ids.tolist()
    assert np.abs(np.exp(found.log_probs) - np.exp(expected.log_probs)).max() < 1e-5
    assert [row["support"] for row in shared.json["scores"]["classes"]] == [
        row["support"] for row in outcome.json["scores"]["classes"]
    ]
    assert start("predict", pages, "--checkpoint", one, "-o", tmp_path / "a").wait().code == 0
    assert _ended(_as_two(start, "predict", pages, "--checkpoint", one, "-o", tmp_path / "b")).code == 0
    assert (tmp_path / "a" / "predictions.csv").read_bytes() == (tmp_path / "b" / "predictions.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_train_as_one(start: Start, alone: Path, pages: Path, tmp_path: Path, accumulate: int) -> None:
    command = _train(pages, **{"train.accumulate": accumulate})
    assert _ended(_as_two(start, *command, "--name", "two", "--json")).json["best_epoch"] in range(1, 6)
    _require_same(alone, tmp_path / "runs" / "two")
    files = {path.name for path in alone.iterdir()}
    assert {path.name for path in (tmp_path / "runs" / "two").iterdir()} == files


def _require_same(run: Path, other: Path) -> None:
    one, two = (Checkpoint.load(folder / "best.ckpt") for folder in (run, other))
    assert one.epoch == two.epoch
    for name, weights in one.model.items():
        assert (weights - two.model[name]).abs().max() < TOLERANCE, name
    (*_, last), (*_, same) = (csv.DictReader((folder / "metrics.csv").open()) for folder in (run, other))
    assert float(last["val_loss"]) == pytest.approx(float(same["val_loss"]), abs=1e-5)


def test_what_is_refused_ends_all_with_one_message(start: Start, pages: Path) -> None:
    outcome = _ended(_as_two(start, *_train(pages, **{"train.batch_size": 1}), "--batch-size", "1"))
    assert outcome.code == 2
    assert "not enough for 2 processes" in outcome.stderr
    assert _as_two(start, "tta", "--checkpoint", "none")[0].wait().code == 2


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_stops_both_and_the_run_goes_on(start: Start, pages: Path, tmp_path: Path, rank: int) -> None:
    command = _train(pages, **{"train.checkpoint_every.steps": 1})
    processes = _as_two(start, *command, "--epochs", "200", "--name", "cut")
    last = tmp_path / "runs" / "cut" / "last.ckpt"
    while not last.exists():
        time.sleep(0.01)
    processes[rank].send(signal.SIGTERM)
    outcome = _ended(processes)
    assert outcome.code == 143, outcome.stderr[-2000:]
    assert "everything is saved" in outcome.stderr
    assert Checkpoint.load(last).training["state"]["epoch"] < 200


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_starts_again_after_a_kill(
    alone: Path, pages: Path, tmp_path: Path, cache_home: Path, rank: int
) -> None:
    command = (
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1",
        "-m", "docclf_cli", *_train(pages, **{"train.checkpoint_every.steps": 1}), "--resume", "auto", "--name", "cut",
    )  # fmt: skip
    env = {**os.environ, "XDG_CACHE_HOME": str(cache_home), "PYTHONFAULTHANDLER": "1"}
    with (tmp_path / "log").open("w") as output:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=output, stderr=output)
    last = tmp_path / "runs" / "cut" / "last.ckpt"
    while not last.exists():
        assert process.poll() is None, _told(tmp_path / "log")
        time.sleep(0.01)
    os.kill(_process_of_rank(rank, process.pid), signal.SIGKILL)
    assert process.wait(240) == 0, _told(tmp_path / "log")
    log = (tmp_path / "log").read_text()
    assert (log.count("training test_vit"), log.count("test_vit: resuming after step")) == (1, 1), log
    _require_same(alone, tmp_path / "runs" / "cut")


def _told(log: Path) -> str:
    """What went wrong, without the epochs that did not."""
    return "\n".join(line for line in log.read_text().splitlines() if not line.startswith("epoch "))


def _process_of_rank(rank: int, parent: int) -> int:
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            own = status.read_text().rsplit(")", 1)[1].split()[1] == str(parent)
            environment = (status.parent / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if own and f"RANK={rank}".encode() in environment:
            return int(status.parent.name)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["config", "instant"])
def test_two_processes_keep_to_the_minutes(start: Start, pages: Path, tmp_path: Path, profile: str) -> None:
    command = (
        "train", pages, "--profile", profile, "--minutes", "0.3", "--model", "test_efficientnet", "--no-pretrained", "--image-size", "32",
        "--set", "tracking.backend=none", "--set", "train.upright=0", "--name", "a", "--json",
    )  # fmt: skip
    done = _ended(_as_two(start, *command))
    assert done.code == 0, done.stderr
    assert done.json["epochs"] == 1 if profile == "instant" else done.json["epochs"] > 1
    assert (tmp_path / "runs" / "a" / "best.ckpt").is_file()
