"""`docclf evaluate` as people run it."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Outcome

from docclf_cli.data.samples import render_samples

Docclf = Callable[..., Outcome]


@pytest.fixture
def run(docclf: Docclf, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pages = render_samples(tmp_path_factory.mktemp("pages") / "data", pages_per_class=6, test_pages_per_class=2)
    tiny = ("--model", "test_resnet", "--no-pretrained", "--image-size", "48", "--batch-size", "8", "--epochs", "1")
    assert docclf("train", "--data", pages, *tiny, "--name", "a").code == 0
    return tmp_path / "runs" / "a"


def test_scores_and_predictions_of_the_test_pages(docclf: Docclf, run: Path) -> None:
    outcome = docclf("evaluate", "--checkpoint", run, "--split", "test", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["scores"]["support"] == 20
    with (run / "evaluate" / "test" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    right = sum(row["target"] == row["prediction"] for row in rows)
    assert outcome.json["scores"]["figures"]["accuracy"]["value"] == pytest.approx(right / 20)
    with (Path(_root(run)) / "test.csv").open() as file:
        assert [row["ID"] for row in rows] == [row["ID"] for row in csv.DictReader(file)]


def test_validation_repeats_what_training_found_without_the_model(docclf: Docclf, run: Path, tmp_path: Path) -> None:
    first = docclf("evaluate", "--json")
    assert first.code == 0, first.stderr
    assert "newest finished run" in first.stderr
    assert len(list((run / "predictions").glob("val-*.npz"))) == 1
    again = docclf("evaluate", "--checkpoint", run / "best.ckpt", "--json")
    assert again.json == {**first.json, "checkpoint": str(run / "best.ckpt"), "files": again.json["files"]}


def test_wrong_input_is_named(docclf: Docclf, run: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.ckpt").write_bytes(b"no checkpoint")
    cases = [
        (("--checkpoint", run, "--split", "tset"), 2, "'tset'"),
        (("--checkpoint", "absent"), 4, "absent"),
        (("--checkpoint", "bad.ckpt"), 4, "bad.ckpt"),
        (("--checkpoint", run, "--split", "test", "--data", "nowhere"), 2, "nowhere"),
    ]
    for args, code, text in cases:
        outcome = docclf("evaluate", *args)
        assert (outcome.code, text in outcome.stderr) == (code, True), outcome.stderr
        assert "Traceback" not in outcome.stderr


def _root(run: Path) -> str:
    from docclf_cli.profile.load import load_profile

    return load_profile(str(run / "profile.yaml")).profile.data.root
