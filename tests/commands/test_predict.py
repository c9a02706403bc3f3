"""`docclf predict` as people run it."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Outcome
from page_cases import write_checkpoint, write_images, write_pdf

Docclf = Callable[..., Outcome]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "run" / "best.ckpt", ("form", "letter", "bill"))


def test_tables_json_and_exit_codes(docclf: Docclf, checkpoint: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 3)
    write_pdf(tmp_path / "in" / "doc.pdf", [1, 2])
    shown = docclf("predict", "in", "--checkpoint", "run", "--min-confidence", "0.9")
    assert shown.code == 0, shown.stderr
    assert "5 pages by class" in shown.stdout
    (tmp_path / "in" / "p0001.png").write_bytes(b"")
    outcome = docclf("predict", "in", "--checkpoint", "run", "-o", "b", "--json")
    assert outcome.code == 3
    assert "all files are written" in outcome.stderr
    assert (outcome.json["pages"], outcome.json["unreadable"], outcome.json["precision"]) == (5, 1, "fp32")
    with (tmp_path / "b" / "predictions.csv").open() as file:
        assert [(row["path"], row["page"]) for row in csv.DictReader(file)] == [
            ("in/doc.pdf", "1"), ("in/doc.pdf", "2"), *((f"in/p000{number}.png", "1") for number in range(3)),
        ]  # fmt: skip


def test_wrong_use_is_named(docclf: Docclf, checkpoint: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 1)
    cases = [
        ((), 2, "name either inputs or --split test"),
        (("in", "--split", "test"), 2, "name either inputs or --split test"),
        (("gone",), 2, "gone: there is no such file"),
        (("in", "--format", "xml"), 2, "csv, jsonl"),
        (("in", "--format", "jsonl", "-o", "x.csv"), 2, "contradict each other"),
        (("in", "--precision", "fp8"), 2, "fp8"),
        (("in", "--precision", "bf16", "--backend", "onnx"), 2, "the onnx backend computes in fp32"),
        (("in", "--target-precision", "0.99"), 2, "the confidence threshold cannot be computed"),
    ]
    for args, code, text in cases:
        outcome = docclf("predict", *args, "--checkpoint", checkpoint)
        assert (outcome.code, text in outcome.stderr) == (code, True), outcome.stderr
        assert "Traceback" not in outcome.stderr
