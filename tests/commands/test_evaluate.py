"""`docclf evaluate` as people run it."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Outcome
from member_runs import make_folds

from docclf_cli.data.images.corruptions import CORRUPTIONS, severity_names
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.profile.load import load_profile
from docclf_cli.tasks.train import train

Docclf = Callable[..., Outcome]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_samples(tmp_path_factory.mktemp("pages") / "data", pages_per_class=6, test_pages_per_class=2)


@pytest.fixture(scope="module")
def trained(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {
        "data.root": str(pages), "data.image_size": 48, "model": "test_resnet", "model.pretrained": False,
        "train.batch_size": 8, "train.epochs": 1, "runtime.workers": 0, "name": "a",
        "output": str(tmp_path_factory.mktemp("runs")),
    }  # fmt: skip
    return train(load_profile("config", options=options).profile).run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(trained, tmp_path / "runs" / "a"))
    state = json.loads((copy / "run.json").read_text())  # a model that few epochs taught little
    (copy / "run.json").write_text(json.dumps(state | {"no_better_than_chance": False}))
    return copy


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_scores_and_predictions_of_the_test_pages(docclf: Docclf, run: Path, pages: Path) -> None:
    outcome = docclf("evaluate", "--checkpoint", run, "--split", "test", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["scores"]["support"] == 20
    rows = table(run / "evaluate" / "test" / "predictions.csv")
    right = sum(row["target"] == row["prediction"] for row in rows)
    metrics = outcome.json["scores"]["metrics"]
    assert metrics["accuracy"]["value"] == pytest.approx(right / 20)
    assert metrics["log_loss"]["value"] == pytest.approx(sum(float(row["loss"]) for row in rows) / 20, abs=1e-5)
    assert [row["ID"] for row in rows] == [row["ID"] for row in table(pages / "test.csv")]


def test_validation_repeats_what_training_found_without_the_model(docclf: Docclf, run: Path) -> None:
    kept = sorted((run / "predictions").glob("*val-*.npz"))
    assert [path.name.split("-")[0] for path in kept] == ["val", "viewed"]  # as they are, and degraded
    first = docclf("evaluate", "--target-precision", "0.9", "--json")
    assert first.code == 0, first.stderr
    assert "newest finished run" in first.stderr
    assert "predicting" not in first.stderr
    assert sorted((run / "predictions").glob("*val-*.npz")) == kept
    again = docclf("evaluate", "--checkpoint", run / "best.ckpt", "--target-precision", "0.9", "--json")
    for key in ("scores", "temperature", "uncalibrated_ece"):
        assert again.json[key] == first.json[key]


def test_a_named_precision_is_computed_and_said_and_leaves_the_other_alone(docclf: Docclf, run: Path) -> None:
    def loss(*options: str) -> tuple[str, float]:
        outcome = docclf("evaluate", "--checkpoint", run, "--json", *options)
        assert outcome.code == 0, outcome.stderr
        return outcome.json["precision"], outcome.json["scores"]["metrics"]["log_loss"]["value"]

    first = loss("--precision", "fp32")
    other = loss("--precision", "bf16")
    assert (first[0], other[0]) == ("fp32", "bf16")
    assert first[1] != other[1]
    assert (loss(), loss("--precision", "bf16")) == (first, other)  # both are stored by now
    wrong = docclf("evaluate", "--checkpoint", run, "--precision", "fp8")
    assert wrong.code == 2
    assert "fp8" in wrong.stderr


def test_all_questions_at_once(docclf: Docclf, run: Path) -> None:
    other = shutil.copytree(run, run.parent / "b")
    asked = ("--compare", other, "--target-precision", "0.9", "--degrade", "--limit", "10")
    outcome = docclf("evaluate", "--checkpoint", run, "--split", "test", *asked, "--json")
    assert outcome.code == 0, outcome.stderr
    comparison, threshold, corruptions = (
        outcome.json[key] for key in ("comparison", "confidence_threshold", "corruptions")
    )
    assert (comparison["pages"], comparison["left_out"], comparison["mcnemar"]) == (20, 0, 1.0)
    assert comparison["sentences"] == ["no significant difference"] * 3
    folder = run / "evaluate" / "test"
    queue = table(folder / "review_queue.csv")
    assert (threshold["on_split"], len(queue), threshold["needs_review"]) == (None, 20, 20)  # one epoch teaches nothing
    assert threshold["held_out"]["pages"] == 2 * sum(row["split"] == "val" for row in table(run / "split.csv"))
    assert (corruptions["pages"], corruptions["total_pages"]) == (10, 20)
    kinds = [(row["kind"], row["severity"]) for row in corruptions["rows"]]
    mixture = [("all", ""), ("all", "mirrored"), ("all", "not mirrored")]
    assert kinds == mixture + [(one.name, name) for one in CORRUPTIONS for name in severity_names(one.name).values()]
    assert corruptions["rows"][1]["pages"] + corruptions["rows"][2]["pages"] == corruptions["rows"][0]["pages"] == 10
    assert [(row["corruption"], row["severity"]) for row in table(folder / "corruptions.csv")] == kinds
    assert all(Path(path).is_file() for path in outcome.json["files"])
    again = docclf("evaluate", "--checkpoint", run, "--split", "test", *asked)
    assert again.code == 0, again.stderr
    assert "predicting" not in again.stderr
    for words in ("McNemar", "about accuracy", "Confidence threshold for", "10 of 20 pages"):
        assert words in again.stdout


def test_a_folds_run_is_one_model(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    run = make_folds(tmp_path / "folds", pages, 2, seed=1)
    outcome = docclf("evaluate", "--checkpoint", run, "--target-precision", "0.9", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["checkpoint"] == str(run)
    rows = table(run / "evaluate" / "val" / "predictions.csv")
    assert [row["ID"] for row in rows] == [row["ID"] for row in table(pages / "train.csv")]
    assert outcome.json["confidence_threshold"]["held_out"]["pages"] == 2 * len(rows)
    on_test = docclf("evaluate", "--checkpoint", run, "--split", "test", "--json")
    assert on_test.json["scores"]["support"] == 20


def test_wrong_input_is_named(docclf: Docclf, run: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.ckpt").write_bytes(b"no checkpoint")
    cases = [
        (("--checkpoint", run, "--split", "tset"), 2, "'tset'"),
        (("--checkpoint", "absent"), 4, "absent"),
        (("--checkpoint", "bad.ckpt"), 4, "bad.ckpt"),
        (("--checkpoint", run, "--split", "test", "--data", "nowhere"), 2, "nowhere"),
        (("--checkpoint", run, "--target-precision", "99"), 2, "--target-precision: 99"),
        (("--checkpoint", run, "--degrade", "--limit", "0"), 2, "--limit"),
    ]
    for args, code, text in cases:
        outcome = docclf("evaluate", *args)
        assert (outcome.code, text in outcome.stderr) == (code, True), outcome.stderr
        assert "Traceback" not in outcome.stderr
