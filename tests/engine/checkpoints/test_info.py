"""Where a run looks for its pages: never in the folder that a command happens to be started in."""

import json
import logging
import shutil
from pathlib import Path

import pytest
from member_runs import make_run

from docclf_cli.data.index.index import load_training_index
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.members import data_of
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.tasks.evaluate.evaluate import evaluate

ONE_PROCESS = RuntimeConfig(workers=0)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_samples(tmp_path_factory.mktemp("pages") / "data", pages_per_class=3, test_pages_per_class=2)


@pytest.fixture
def project(pages: Path, tmp_path: Path) -> Path:
    """A project whose run keeps its root as it was typed, as docclf did before."""
    shutil.copytree(pages, tmp_path / "a" / "data")
    run = make_run(tmp_path / "a" / "runs" / "r", tmp_path / "a" / "data", seed=1)
    best = RunFolder(run).best
    checkpoint = Checkpoint.load(best)
    profile = json.loads(json.dumps(dict(checkpoint.profile)))
    profile["data"]["root"] = "data"
    shutil.rmtree(run / "predictions", ignore_errors=True)
    Checkpoint(**{**checkpoint.__dict__, "profile": profile}).save(best)
    index, _ = load_training_index(DataConfig(root=str(tmp_path / "a" / "data")))
    (run / "origin.json").write_text(json.dumps({"data": {"index": index.fingerprint()}}))
    return tmp_path / "a"


def test_a_run_of_before_finds_its_pages_beside_itself(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(project / "data", tmp_path / "b" / "data")
    monkeypatch.chdir(tmp_path / "b")
    assert TrainedModel.load(Path("../a/runs/r")).info.data.root == str(project / "data")
    assert TrainedModel.load(Path("../a/runs/r")).info.data.root == str(project / "data")  # as it is kept by now


def test_other_pages_are_not_taken_for_those_of_a_run_of_before(
    project: Path, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = project / "data" / "train.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    shutil.copytree(pages, tmp_path / "b" / "data")
    monkeypatch.chdir(tmp_path / "b")  # where the very pages are, but nobody said so
    run = project / "runs" / "r"
    with pytest.raises(
        InputError, match="a relative path, and the run does not say relative to which folder"
    ) as caught:
        evaluate(run, "test", runtime_config=ONE_PROCESS)
    assert "--data data" in caught.value.hint
    result = evaluate(run, "val", data="data", runtime_config=ONE_PROCESS)
    assert result.files[0] == run / "evaluate" / "val" / "predictions.csv"


def test_what_belongs_to_moved_training_pages_moves_with_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "new").mkdir()
    for name in ("val.csv", "groups.csv"):
        (tmp_path / "new" / name).touch()
    trained_on = DataConfig(
        root="/old/data", val="/old/data/val.csv", groups="/old/data/groups.csv", relabel="/old/relabel.csv"
    )
    with caplog.at_level(logging.WARNING, "docclf"):
        there = data_of(trained_on, str(tmp_path / "new"), split="val")
    assert (there.val, there.groups) == (f"{tmp_path}/new/val.csv", f"{tmp_path}/new/groups.csv")
    assert there.relabel is None
    assert "data.relabel: /old/relabel.csv does not exist" in caplog.text
    other = data_of(trained_on, str(tmp_path / "new"))
    assert (other.val, other.groups, other.relabel) == (None, None, None)
