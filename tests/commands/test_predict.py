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
    shown = docclf("predict", "in", "--checkpoint", "run", "--min-confidence", "1")
    assert shown.code == 0, shown.stderr
    assert "Pages by class (5)" in shown.stdout
    lines = {line.split("  ")[0]: line for line in shown.stdout.splitlines()}
    for name in ("in/p0000.png", "in/doc.pdf p. 1", "in/doc.pdf p. 2"):
        assert "review" in lines[name]
        assert any(one in lines[name] for one in ("form", "letter", "bill"))
    (tmp_path / "in" / "p0001.png").write_bytes(b"")
    outcome = docclf("predict", "in", "--checkpoint", "run", "-o", "b", "--json")
    assert outcome.code == 3
    assert "all files are written" in outcome.stderr
    assert (outcome.json["pages"], outcome.json["unreadable"], outcome.json["precision"]) == (5, 1, "fp32")
    assert [(row["path"], row["page"]) for row in outcome.json["predictions"]][:2] == [
        ("in/doc.pdf", 1),
        ("in/doc.pdf", 2),
    ]
    bad = next(row for row in outcome.json["predictions"] if row["path"] == "in/p0001.png")
    assert (bad["predicted"], bad["confidence"], bad["needs_review"]) == (None, None, None)
    assert bad["status"]
    assert outcome.json["predictions_file"] == "b/predictions.csv"
    with (tmp_path / "b" / "predictions.csv").open() as file:
        assert [(row["path"], row["page"]) for row in csv.DictReader(file)] == [
            ("in/doc.pdf", "1"), ("in/doc.pdf", "2"), *((f"in/p000{number}.png", "1") for number in range(3)),
        ]  # fmt: skip


def test_wrong_use_is_named(docclf: Docclf, checkpoint: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 1)
    cases = [
        ((), 2, "there is nothing to predict"),
        (("in", "--split", "test"), 2, "name either inputs or --split test"),
        (("gone",), 2, "gone: there is no such file"),
        (("in", "--format", "xml"), 2, "csv, jsonl"),
        (("in", "--format", "jsonl", "-o", "x.csv"), 2, "contradict each other"),
        (("in", "-o", "x.xlsx"), 2, "'.xlsx' is no table that docclf writes"),
        (("in", "-o", "-", "--json"), 2, "-o - writes pages to stdout"),
        (("in", "--precision", "fp8"), 2, "fp8"),
        (("in", "--precision", "bf16", "--backend", "onnx"), 2, "the onnx backend computes in fp32"),
        (("in", "--target-precision", "0.99"), 2, "the confidence threshold cannot be computed"),
    ]
    for args, code, text in cases:
        outcome = docclf("predict", *args, "--checkpoint", checkpoint)
        assert (outcome.code, text in outcome.stderr) == (code, True), outcome.stderr
        assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_the_table_of_pages_goes_to_stdout(docclf: Docclf, checkpoint: Path, tmp_path: Path, file_format: str) -> None:
    write_images(tmp_path / "in", 3)
    args = ("predict", "in", "--checkpoint", "run", "--format", file_format)
    to_file = docclf(*args, "-o", "out")
    assert to_file.code == 0, to_file.stderr
    before = sorted(tmp_path.rglob("*"))
    piped = docclf(*args, "-o", "-")
    assert piped.code == 0, piped.stderr
    assert piped.stdout == (tmp_path / "out" / f"predictions.{file_format}").read_text()
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and ".cli-" not in path.name] == []


def test_explain_draws_the_pages_that_need_review(docclf: Docclf, checkpoint: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 2)
    write_pdf(tmp_path / "in" / "doc.pdf", [1, 2])
    outcome = docclf("predict", "in", "--checkpoint", "run", "--min-confidence", "1", "--explain", "heat", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["explained"] == 4
    drawn = sorted(path.name for path in (tmp_path / "heat").iterdir())
    assert [name[:7] for name in drawn] == ["00001-1", "00001-2", "00002-1", "00003-1"]
    assert all(name.endswith(("-form.jpg", "-letter.jpg", "-bill.jpg")) for name in drawn)
    none = docclf(
        "predict", "in", "--checkpoint", "run", "--min-confidence", "0", "--explain", "none", "-o", "b", "--json"
    )
    assert none.json["explained"] == 0
    full = docclf("predict", "in", "--checkpoint", "run", "--explain", "heat", "-o", "c")
    assert full.code == 2
    assert "heat has content" in full.stderr
