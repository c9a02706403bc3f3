"""What a class report says, and which predictions it is made from."""

import dataclasses
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from member_runs import make_folds, make_run, predictions_of
from prediction_cases import naming

from docclf_cli.data.samples.samples import render_samples
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import CheckpointError, InputError
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.class_report.class_report import (
    ReportInputs,
    class_index,
    class_report,
    inputs_of,
    inputs_of_file,
    one_class,
)

ONE_PROCESS = RuntimeConfig(workers=0)


def _inputs(folder: Path, predictions: Predictions, **more: Predictions) -> ReportInputs:
    return ReportInputs(folder, folder / "report", "val", predictions, **more)


def test_each_class_its_confusions_and_its_files(tmp_path: Path) -> None:
    pages = naming(targets=[0, 0, 0, 0, 1, 1], named=[0, 0, 0, 1, 1, 1], classes=2)
    result = class_report(_inputs(tmp_path, pages))
    first, second = result.scores.classes
    assert (first.accuracy.value, first.precision.value, first.support) == (0.75, 1.0, 4)
    assert (second.accuracy.value, second.precision.value) == (1.0, pytest.approx(2 / 3))
    (pair,) = result.confused
    assert (pair.target, pair.predicted, pair.pages, pair.examples) == ("class 0", "class 1", 1, ("page3.jpg",))
    assert result.gaps == ()
    names = {path.name for path in result.files}
    assert {"val_class_metrics.csv", "val_class_performance.png", "confusion_matrix.png"} <= names
    assert "train_val_comparison.png" not in names
    assert all(path.is_file() for path in result.files)


def test_the_gap_between_training_and_validation_is_measured_and_drawn(tmp_path: Path) -> None:
    targets = [0] * 100 + [1] * 100
    train = naming(targets, targets, 2)
    val = naming(targets, [0] * 50 + [1] * 150, 2)
    result = class_report(_inputs(tmp_path, val, train=train, val=val))
    assert [gap.gap.value for gap in result.gaps] == [0.5, 0.0]
    assert [gap.overfits for gap in result.gaps] == [True, False]
    assert result.files[-1].name == "train_val_comparison.png"


def test_one_class_has_both_sides_of_its_confusions(tmp_path: Path) -> None:
    pages = naming(targets=[0, 0, 1, 1, 2, 2], named=[0, 1, 1, 2, 2, 1], classes=3)
    found = one_class(_inputs(tmp_path, pages, train=pages, val=pages), "class 1")
    assert (found.index, found.row.name, found.row.support) == (1, "class 1", 2)
    assert [(pair.target, pair.predicted) for pair in found.false_negatives] == [("class 1", "class 2")]
    assert {pair.target for pair in found.false_positives} == {"class 0", "class 2"}
    assert found.gap is not None
    assert found.gap.gap.value == 0.0
    assert list(tmp_path.iterdir()) == []


def test_a_class_is_looked_up_by_name_and_then_by_index() -> None:
    names = ("receipt", "0", "영수증")
    assert class_index(names, "0") == 1
    assert class_index(names, "2") == 2
    assert class_index(names, "영수증") == 2
    for wrong in ("receit", "3", "-1", "²"):
        with pytest.raises(InputError, match="no class"):
            class_index(names, wrong)
    with pytest.raises(InputError, match="did you mean 'receipt'"):
        class_index(names, "receit")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_samples(tmp_path_factory.mktemp("pages") / "data", pages_per_class=6, test_pages_per_class=2)


def _kept(run: Path) -> Path:
    (path,) = (run / "predictions").glob("val-*.npz")
    return path


def test_evidence_is_what_the_member_says_at_its_temperature(pages: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", pages, seed=0, temperature=1.5)
    found = inputs_of(run, "val", runtime_config=ONE_PROCESS)
    said = predictions_of(TrainedModel.load(run), "val")
    np.testing.assert_array_equal(found.predictions.log_probs, said.log_probs)
    assert found.val is found.predictions
    assert (found.train, found.temperature, found.folder) == (None, 1.5, run / "class-report" / "val")


def test_stored_training_pages_stand_beside_the_validation_pages(pages: Path, tmp_path: Path) -> None:
    """`train` stores a part of them; what other checkpoints and views have stored does not count."""
    run = make_run(tmp_path / "a", pages, seed=0)
    val = inputs_of(run, "val", runtime_config=ONE_PROCESS).predictions
    part = dataclasses.replace(val.take(range(5)), fingerprint={**val.fingerprint, "data": "a part"})
    part.save(run / "predictions" / "train-1.npz")
    for number, (key, value) in enumerate([("checkpoint", "another"), ("view", "mirror")], start=2):
        other = dataclasses.replace(val.take(range(6)), fingerprint={**val.fingerprint, key: value})
        other.save(run / "predictions" / f"train-{number}.npz")
    found = inputs_of(run, "val")
    assert found.train is not None
    assert len(found.train) == 5
    assert len(inputs_of(run, "train").predictions) == 5


def test_without_its_data_a_run_is_reported_as_stored(
    pages: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(pages, tmp_path / "data"))
    run = make_run(tmp_path / "a", root, seed=0)
    first = inputs_of(run, "val", runtime_config=ONE_PROCESS).predictions
    (run / "predictions" / "val-0.npz").write_bytes(b"PK no archive")
    shutil.rmtree(root)
    with caplog.at_level(logging.WARNING, "docclf"):
        again = inputs_of(run, "val").predictions
    np.testing.assert_array_equal(again.log_probs, first.log_probs)
    assert "does not exist" in caplog.text
    assert "val-0.npz" in caplog.text
    with pytest.raises(InputError, match="data"):
        inputs_of(run, "test")


def test_a_cross_validation_is_reported_out_of_fold(pages: Path, tmp_path: Path) -> None:
    run = make_folds(tmp_path / "f", pages, k=2, seed=0)
    found = inputs_of(run, "val", runtime_config=ONE_PROCESS)
    assert len(found.predictions) == len(set(found.predictions.ids.tolist())) == 60
    assert (found.train, found.val, found.folder) == (None, None, run / "class-report" / "val")
    with pytest.raises(InputError, match="all folds but one"):
        inputs_of(run, "train")


def test_a_file_beside_its_checkpoint_is_reported_with_it_and_another_by_itself(pages: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", pages, seed=0, temperature=1.5)
    inputs_of(run, "val", runtime_config=ONE_PROCESS)
    inside = inputs_of_file(_kept(run))
    assert (inside.split, inside.folder, inside.temperature) == ("val", run / "class-report" / "val", 1.5)
    naming([0, 1], [1, 1], 2).save(run / "predictions" / "all.npz")
    alone = inputs_of_file(run / "predictions" / "all.npz")
    assert (alone.split, alone.run, alone.temperature) == ("all", None, 1.0)
    assert alone.folder == run / "predictions" / "class-report" / "all"


def test_unlabelled_pages_are_refused_before_the_model_looks_at_them(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(pages, tmp_path / "data"))
    ids = (root / "test.csv").read_text().splitlines()[1:]
    (root / "test.csv").unlink()
    (root / "sample_submission.csv").write_text("ID,target\n" + "\n".join(line.split(",")[0] + ",0" for line in ids))
    run = make_run(tmp_path / "a", root, seed=0)
    monkeypatch.setattr(
        "docclf_cli.tasks.class_report.class_report.get_predictions", lambda *_, **__: pytest.fail("looked")
    )
    with pytest.raises(InputError, match="no labels"):
        inputs_of(run, "test")


def test_what_is_no_run_is_said(pages: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        inputs_of(tmp_path / "absent")
    with pytest.raises(InputError, match="is a file of predictions"):
        inputs_of(tmp_path / "val-0.npz")
    with pytest.raises(InputError, match="'tset' is not one of"):
        inputs_of(make_run(tmp_path / "a", pages, seed=0), "tset")


def test_unlabelled_predictions_are_refused(tmp_path: Path) -> None:
    pages = dataclasses.replace(naming([0, 1], [0, 1], 2), targets=None)
    with pytest.raises(InputError, match="no labels"):
        class_report(_inputs(tmp_path, pages))
    assert list(tmp_path.iterdir()) == []


def test_other_data_is_reported_apart_and_training_pages_are_no_test(pages: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", pages, seed=0)
    other = Path(shutil.copytree(pages, tmp_path / "scans"))
    found = inputs_of(run, data=str(other), runtime_config=ONE_PROCESS)
    assert (found.split, len(found.predictions)) == ("test", 20)
    assert found.folder == run / "class-report" / "test-scans"
    with pytest.raises(InputError, match="elsewhere"):
        inputs_of(run, "val", data=str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="has no separate test split"):
        inputs_of(run, data=str(pages / "train.csv"), runtime_config=ONE_PROCESS)
