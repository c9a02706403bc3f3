"""Runs that earlier versions wrote, on the built-in sample documents, can be used by this one."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cli_process import Outcome

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint

FIXTURES = Path(__file__).parent.parent / "fixtures"
OLD_RUNS = sorted(path.name for path in FIXTURES.glob("run_*"))
Docclf = Callable[..., Outcome]


@pytest.fixture(params=OLD_RUNS)
def old_run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES / request.param, tmp_path / "old")
    return tmp_path / "old"


def test_predict_says_what_it_said(docclf: Docclf, old_run: Path, tmp_path: Path) -> None:
    outcome = docclf("predict", FIXTURES / "sample_pages", "--checkpoint", "old", "-o", "said")
    assert outcome.code == 0, outcome.stderr
    with (tmp_path / "said" / "predictions.csv").open(encoding="utf-8") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    for name, then in json.loads((old_run / "expected.json").read_text()).items():
        assert rows[name]["class"] == then["class"]
        assert float(rows[name]["confidence"]) == pytest.approx(then["confidence"], abs=1e-5)


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "--split", "test"),
        ("evaluate", "--split", "val"),
        ("class-report", "--split", "test"),
        ("export", "--format", "safetensors"),
    ],
)
def test_other_commands_read_it(docclf: Docclf, old_run: Path, command: tuple[str, ...]) -> None:
    model = ("old",) if command[0] == "class-report" else ("--checkpoint", "old")
    outcome = docclf(*command, *model, "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json


def test_it_can_be_a_member_beside_a_new_checkpoint(docclf: Docclf, old_run: Path, tmp_path: Path) -> None:
    old = Checkpoint.load(old_run / "best.ckpt")
    replace(old, temperature=1.0).save(tmp_path / "new" / "best.ckpt")
    outcome = docclf("ensemble", "--members", "old", "--members", "new", "--method", "averaging", "--json")
    assert outcome.code == 0, outcome.stderr


@pytest.mark.parametrize("options", [("--resume", "old"), ("--resume", "auto", "--name", "old", "--output", ".")])
def test_it_is_not_resumed(docclf: Docclf, old_run: Path, options: tuple[str, ...]) -> None:
    before = {path: path.read_bytes() for path in old_run.rglob("*") if path.is_file()}
    outcome = docclf("train", *options)
    assert outcome.code == 2
    assert "old was trained by another version of docclf, and this version cannot resume it" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert {path: path.read_bytes() for path in old_run.rglob("*") if path.is_file()} == before
