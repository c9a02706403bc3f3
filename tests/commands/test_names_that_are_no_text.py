"""File names in another encoding than UTF-8, as archives from Korean Windows hold them, work in every command."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Outcome
from tiny import PLAIN, draw_pages

from docclf_cli.data.index.cells import from_cell

pytestmark = pytest.mark.slow
RECEIPT = os.fsdecode("영수증".encode("cp949"))
SHOWN = RECEIPT.encode("utf-8", "backslashreplace").decode()


def test_from_training_to_prediction(docclf: Callable[..., Outcome], tmp_path: Path) -> None:
    pages = draw_pages(tmp_path / "data", 5)
    for page in sorted(pages.rglob("*.png")):
        page.rename(page.with_name(RECEIPT + page.name))
    (pages / "form").rename(pages / RECEIPT)
    data = f"data-{RECEIPT}"
    pages.rename(tmp_path / data)
    settings = [text for key, value in PLAIN.items() for text in ("--set", f"{key}={value}")]
    train = docclf(
        "train", "--data", data, "--profile", "config", "--model", "test_resnet", "--no-pretrained", "--image-size", "32", "--batch-size", "4",
        "--epochs", "1", "--name", "r", "--set", "tracking.backend=none", "--set", "runtime.workers=0", *settings,
    )  # fmt: skip
    assert train.code == 0, train.stderr
    for arguments in (
        ("train", "--resume", "runs/r"),
        ("evaluate", "--checkpoint", "runs/r"),
        ("class-report", "runs/r", "--html"),
        ("tta", "--checkpoint", "runs/r"),
        ("predict", data, "--checkpoint", "runs/r", "--output", "p"),
        ("predict", data, "--checkpoint", "runs/r", "--output", "p.jsonl"),
        ("audit", "--data", data, "--name", "look"),
    ):
        done = docclf(*arguments)
        assert done.code == 0, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    with (tmp_path / "p" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15
    assert all(SHOWN in row["path"] for row in rows)
    assert {from_cell(row["class"]) for row in rows} <= {SHOWN, "letter", "receipt"}
