"""`docclf train` as people run it, on a few sample pages."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_process import CliProcess, Outcome
from PIL import Image

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.results.predictions import Predictions

TINY = (
    "--profile",
    "config",
    "--model",
    "test_resnet",
    "--no-pretrained",
    "--image-size",
    "48",
    "--batch-size",
    "8",
    "--augmentation",
    "light",
)
Docclf = Callable[..., Outcome]


def test_a_run_leaves_what_it_promises(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    outcome = docclf("train", "--data", pages, *TINY, "--epochs", "2", "--name", "a", "--json")
    assert outcome.code == 0, outcome.stderr
    run = tmp_path / "runs" / "a"
    result = outcome.json
    assert result["best_epoch"] in (1, 2)
    assert 0 <= result["val"]["metrics"]["f1_macro"]["low"] <= result["val"]["metrics"]["f1_macro"]["value"]
    for name in ("profile.yaml", "split.csv", "metrics.csv", "timings.csv", "best.ckpt", "last.ckpt", "run.json"):
        assert (run / name).is_file(), name
    for name in ("class_performance", "confusion_matrix", "train_val_comparison", "augmentation_preview"):
        (found,) = run.glob(f"*{name}.png")
        assert Image.open(found).size[0] > 300
    checkpoint = Checkpoint.load(run / "best.ckpt")
    assert checkpoint.class_names[0] == "bank_statement"
    assert checkpoint.temperature == result["temperature"]
    content = torch.load(run / "best.ckpt", weights_only=True)
    assert {"model", "class_names", "preprocess", "profile", "versions", "format_version"} <= content.keys()


def test_stored_predictions_are_those_of_the_kept_checkpoint(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    result = docclf("train", "--data", pages, *TINY, "--epochs", "1", "--name", "a", "--json").json
    (path,) = (tmp_path / "runs" / "a" / "predictions").glob("val-*.npz")
    stored = Predictions.load(path)
    accuracy = float((stored.predicted() == stored.targets).mean())
    assert accuracy == pytest.approx(result["val"]["metrics"]["accuracy"]["value"])
    with (tmp_path / "runs" / "a" / "split.csv").open() as file:
        held_out = [row["ID"] for row in csv.DictReader(file) if row["split"] == "val"]
    assert sorted(stored.ids.tolist()) == sorted(held_out)


@pytest.mark.slow
def test_the_same_profile_gives_the_same_metrics(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    # Epochs are validated in the format that is picked for predicting. The profile holds the one that was judged good at
    # the end, which may be another; so the format is named.
    validated = ("--set", "runtime.inference.precision=fp32")
    assert docclf("train", "--data", pages, *TINY, "--epochs", "2", "--name", "a", *validated).code == 0
    again = docclf("train", "--profile", "runs/a/profile.yaml", "--name", "b", "--set", "runtime.workers=0")
    assert again.code == 0, again.stderr
    runs = tmp_path / "runs"
    assert (runs / "a" / "metrics.csv").read_text() == (runs / "b" / "metrics.csv").read_text()


def test_folds_hold_out_each_page_once(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    outcome = docclf("train", "--data", pages, *TINY, "--epochs", "1", "--folds", "3", "--name", "f", "--json")
    assert outcome.code == 0, outcome.stderr
    assert [row["fold"] for row in outcome.json["folds"]] == [0, 1, 2]
    pooled = Predictions.load(tmp_path / "runs" / "f" / "out_of_fold.npz")
    assert len(pooled) == len(set(pooled.ids.tolist())) == 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_exits_with_its_code(
    start: Callable[..., CliProcess], pages: Path, tmp_path: Path, number: int
) -> None:
    process = start("train", "--data", pages, *TINY, "--epochs", "500", "--name", "a")
    process.wait_for("\n    1 ")
    process.send(number)
    outcome = process.wait(60)
    assert outcome.code == 128 + number
    assert "everything is saved" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert Checkpoint.load(tmp_path / "runs" / "a" / "last.ckpt").training["state"]["epoch"] >= 1


def test_show_profile_names_sources_and_trains_nothing(docclf: Docclf, tmp_path: Path) -> None:
    outcome = docclf(
        "train",
        "--profile",
        "config",
        "--model",
        "convnext_small",
        "--scheduler",
        "step",
        "--lr",
        "0.01",
        "--show-profile",
        "--json",
    )
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["model.model_name"]["value"] == "convnext_small"
    assert outcome.json["optimizer.lr"] == {"value": 0.01, "source": "option"}
    assert outcome.json["train.epochs"]["source"].startswith("profile")
    assert not (tmp_path / "runs").exists()


def test_show_schedule_draws_the_rate(docclf: Docclf, pages: Path) -> None:
    outcome = docclf(
        "train", pages, "--profile", "config", "--epochs", "3", "--batch-size", "10", "--show-schedule", "--json"
    )
    assert outcome.code == 0, outcome.stderr
    rates = outcome.json["rates"]
    assert len(rates) == 3 * outcome.json["steps_per_epoch"]
    assert max(rates) <= 2e-4
    assert rates[-1] < max(rates)


BAD = [
    (("--model", "convnxt_tiny"), 2, "convnxt_tiny"),
    (("--model", "../../x"), 2, "../../x"),
    (("--scheduler", "cosin"), 2, "did you mean 'cosine'"),
    (("--set", "train.epoch=3"), 2, "did you mean 'train.epochs'"),
    (("--set", "train.lr=3"), 2, "did you mean 'optimizer.lr'"),
    (("--set", "scheduler.params.warmup=3"), 2, "scheduler.params.warmup"),
    (("--epochs", "0"), 2, "train.epochs"),
    (("--lr", "nan"), 2, "optimizer.lr"),
    (("--device", "cuda:7"), 2, "cuda:7"),
    (("--name", "a/b"), 2, "a/b"),
    (("--set", "data.label_column=nope"), 2, "nope"),
    (("--profile", "absent"), 2, "absent"),
]


@pytest.mark.parametrize(("args", "code", "text"), BAD, ids=[" ".join(args) for args, _, _ in BAD])
def test_wrong_input_is_named(docclf: Docclf, pages: Path, args: tuple[str, ...], code: int, text: str) -> None:
    base = ("--profile", "config", "--no-pretrained") if "--model" in args else TINY
    outcome = docclf("train", "--data", pages, *base, *args)
    assert outcome.code == code
    assert text in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""


def test_an_empty_folder_points_to_the_quickstart(docclf: Docclf, tmp_path: Path) -> None:
    outcome = docclf("train", "--data", tmp_path / "nothing")
    assert outcome.code == 2
    assert "--profile quickstart --data samples" in outcome.stderr


def test_missing_images_are_counted_before_training(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(pages, data)
    gone = sorted((data / "train").iterdir())[:3]
    for path in gone:
        path.unlink()
    outcome = docclf("train", "--data", data, *TINY)
    assert outcome.code == 2
    assert gone[0].name in outcome.stderr
    assert "3" in outcome.stderr
    assert not (tmp_path / "runs").exists()


def test_unreadable_pages_are_quarantined_or_stop_the_run(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(pages, data)
    broken = sorted((data / "train").iterdir())[0]
    broken.write_bytes(b"<html>not an image</html>")
    stopped = docclf("train", "--data", data, *TINY, "--epochs", "1", "--name", "a")
    assert stopped.code == 3
    assert broken.name in stopped.stderr
    allowed = docclf("train", "--data", data, *TINY, "--epochs", "1", "--name", "b", "--set", "data.max_unreadable=0.1")
    assert allowed.code == 0, allowed.stderr
    assert broken.name in (tmp_path / "runs" / "b" / "quarantine.csv").read_text()


def test_an_existing_run_is_not_replaced_unasked(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "notes.txt").write_text("mine")
    outcome = docclf("train", "--data", pages, *TINY, "--name", "a")
    assert outcome.code == 2
    assert "--overwrite" in outcome.stderr
    assert (run / "notes.txt").read_text() == "mine"


def test_classes_may_have_korean_names(docclf: Docclf, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, tone in (("영수증", 90), ("여권", 180)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            page = np.clip(tone + rng.normal(0, 20, (40, 30, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(page).save(tmp_path / "data" / name / f"{number}.png")
    outcome = docclf(
        "train", "--data", "data", *TINY, "--batch-size", "4", "--epochs", "1", "--json", env={"LC_ALL": "C.UTF-8"}
    )
    assert outcome.code == 0, outcome.stderr
    assert {row["name"] for row in outcome.json["val"]["classes"]} == {"영수증", "여권"}


def test_json_is_all_there_is_on_stdout(docclf: Docclf, pages: Path) -> None:
    outcome = docclf("train", "--data", pages, *TINY, "--epochs", "1", "--json", "--quiet")
    assert outcome.code == 0
    json.loads(outcome.stdout)
    assert "epoch 1" not in outcome.stderr
    assert os.linesep in outcome.stdout
