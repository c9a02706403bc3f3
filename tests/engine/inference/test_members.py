"""From checkpoints and runs to predictions: fresh ones are read, the others made."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from member_runs import make_folds, make_run, predictions_of, untrained, with_shuffled_classes

from docclf_cli.data.index.index import load_index
from docclf_cli.data.index.splits import Split
from docclf_cli.data.loading import pages as page_source
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.inference import run_inference as looking
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.members import (
    Indices,
    data_of,
    merge_checkpoints,
    requests_of,
)
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.trained_model import TrainedModel, members_at
from docclf_cli.errors import CheckpointError, InputError, Interrupted
from docclf_cli.events import Event, Progress
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import StopFlag

ONE_PROCESS = RuntimeConfig(workers=0)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_samples(tmp_path_factory.mktemp("pages") / "data", pages_per_class=6, test_pages_per_class=2)


@pytest.fixture
def root(pages: Path, tmp_path: Path) -> Path:
    """Pages that a test may change."""
    return Path(shutil.copytree(pages, tmp_path / "data"))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many predictions were made, call by call."""
    counted: list[int] = []
    run_requests = looking.run_requests

    def counting(requests: list[PredictionRequest], *rest: object) -> list[Predictions]:
        counted.append(len(requests))
        return run_requests(requests, *rest)

    monkeypatch.setattr(looking, "run_requests", counting)
    yield counted


class Flipped:
    quick = True
    name = "flipped"

    def __call__(self, page: np.ndarray, row: int) -> np.ndarray:
        return np.ascontiguousarray(page[:, ::-1])


def last_predictions(run: Path, split: str = "val", **options: object) -> Predictions:
    return predictions_of(TrainedModel.load(run), split, runtime_config=ONE_PROCESS, **options)


def test_what_is_stored_is_read_until_something_changes(root: Path, tmp_path: Path, looks: list[int]) -> None:
    run = make_run(tmp_path / "a", root, seed=0)
    first = last_predictions(run)
    assert looks == [1]
    again = last_predictions(run)
    assert looks == [1]
    np.testing.assert_array_equal(first.log_probs, again.log_probs)
    assert again.targets.tolist() == first.targets.tolist()
    untrained(root, seed=1).save(run / "best.ckpt")
    other = last_predictions(run)
    assert looks == [1, 1]
    assert not np.array_equal(other.log_probs, first.log_probs)
    page = root / "train" / first.ids[0]
    shutil.copyfile(root / "train" / first.ids[1], page)
    changed = last_predictions(run)
    assert looks == [1, 1, 1]
    np.testing.assert_array_equal(changed.log_probs[0], changed.log_probs[1])


def test_a_changed_page_is_noticed_where_size_and_time_are_the_same(
    root: Path, tmp_path: Path, looks: list[int]
) -> None:
    run = make_run(tmp_path / "a", root, seed=0)
    page = root / "train" / last_predictions(run).ids[0]
    before = page.stat()
    content = page.read_bytes()
    page.write_bytes(content)
    os.utime(page, ns=(before.st_atime_ns, before.st_mtime_ns))
    last_predictions(run)
    assert looks == [1, 1]


def test_a_corrected_label_needs_no_model(root: Path, tmp_path: Path, looks: list[int]) -> None:
    run = make_run(tmp_path / "a", root, seed=0)
    first = last_predictions(run)
    table = (root / "train.csv").read_text()
    line = next(line for line in table.splitlines() if line.startswith(f"{first.ids[0]},"))
    label = (first.targets[0] + 1) % 10
    (root / "train.csv").write_text(table.replace(line, f"{first.ids[0]},{label}"))
    assert last_predictions(run).targets[0] == label
    assert looks == [1]


def test_asking_again_imports_no_torch(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", root, seed=0)
    first = last_predictions(run, "test")
    code = (
        "import sys; from pathlib import Path; from docclf_cli.engine.inference.get_predictions import get_predictions\n"
        "from docclf_cli.engine.inference.members import Indices, requests_of\n"
        "from docclf_cli.engine.inference.trained_model import TrainedModel\n"
        f"member = TrainedModel.load(Path({str(run)!r}))\n"
        "(found,) = get_predictions(requests_of(member, 'test', Indices(member.info.data)))\n"
        "print(len(found), [name for name in ('torch', 'timm', 'sklearn') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split(maxsplit=1) == [str(len(first)), "[]\n"]


def test_metadata_survives_copies_and_corrupt_files(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "a", root, seed=0, temperature=1.5)
    assert TrainedModel.load(run).temperature == 1.5
    shutil.copytree(run, tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "load", lambda path: pytest.fail("read again"))
        assert TrainedModel.load(tmp_path / "b").info.sha256 == TrainedModel.load(run).info.sha256
    kept = run / "predictions" / "best.ckpt.info.json"
    content = json.loads(kept.read_text())
    for corruption in ("{", "[]", json.dumps({**content, "info": {}}), json.dumps({"info": content["info"]})):
        kept.write_text(corruption)
        assert TrainedModel.load(run).temperature == 1.5
        assert json.loads(kept.read_text())["info"] == content["info"]


def test_a_folds_run_is_one_member(root: Path, tmp_path: Path) -> None:
    run = make_folds(tmp_path / "f", root, k=3, seed=1)
    index = load_index(DataConfig(root=str(root)), "train")
    out_of_fold = last_predictions(run)
    assert sorted(out_of_fold.ids.tolist()) == sorted(index.ids.tolist())
    stored = Split.load(run / "split.csv")
    for number in range(3):
        alone = last_predictions(run / f"fold-{number}")
        assert set(alone.ids) == set(stored.ids[stored.parts == f"fold-{number}"])
        rows = [out_of_fold.ids.tolist().index(page) for page in alone.ids.tolist()]
        np.testing.assert_array_equal(out_of_fold.log_probs[rows], alone.log_probs)
    alone = [np.exp(last_predictions(run / f"fold-{number}", "test").log_probs) for number in range(3)]
    np.testing.assert_allclose(np.exp(last_predictions(run, "test").log_probs), np.mean(alone, axis=0), atol=1e-6)


def test_each_fold_trained_on_all_other_folds(root: Path, tmp_path: Path) -> None:
    run = make_folds(tmp_path / "f", root, k=3, seed=1)
    trained, held_out = last_predictions(run / "fold-1", "train"), last_predictions(run / "fold-1", "val")
    assert not set(trained.ids) & set(held_out.ids)
    assert len(trained) + len(held_out) == 60


def test_nothing_is_held_out_from_a_refit(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", root, seed=0)
    untrained(root, 5, metrics={}).save(run / "refit.ckpt")
    with pytest.raises(InputError, match="refitted on all pages"):
        last_predictions(run / "refit.ckpt")
    assert len(last_predictions(run / "refit.ckpt", "test")) == 20
    untrained(root, 5, metrics={}, training={"step": 3}).save(run / "last.ckpt")
    assert len(last_predictions(run / "last.ckpt")) == len(last_predictions(run))


def test_snapshots_are_members_that_share_the_weight(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", root, seed=0)
    with pytest.raises(CheckpointError, match="no snapshots"):
        members_at(run, "snapshots")
    for epoch in (2, 4):
        untrained(root, epoch).save(run / "snapshots" / f"epoch-000{epoch}.ckpt")
    members = members_at(run, "snapshots", weight=3.0)
    assert [(member.name, member.weight) for member in members] == [("a epoch-0002", 1.5), ("a epoch-0004", 1.5)]
    held_out = predictions_of(members[0], "val", runtime_config=ONE_PROCESS)
    assert held_out.ids.tolist() == last_predictions(run).ids.tolist()


def test_classes_in_another_order_are_the_same_predictions(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", root, seed=0)
    shuffled = make_run(tmp_path / "b", root, seed=0)
    with_shuffled_classes(untrained(root, 0)).save(shuffled / "best.ckpt")
    one, other = last_predictions(run), last_predictions(shuffled)
    assert one.class_names != other.class_names
    columns = [other.class_names.index(name) for name in one.class_names]
    np.testing.assert_allclose(other.log_probs[:, columns], one.log_probs, atol=1e-5)
    named = [[each.class_names[target] for target in each.targets] for each in (one, other)]
    assert named[0] == named[1]


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_members_and_views_together_are_what_they_are_alone(root: Path, tmp_path: Path, cache: str) -> None:
    runs = [make_run(tmp_path / "a", root, seed=0), make_run(tmp_path / "b", root, seed=1)]
    runs.append(make_run(tmp_path / "larger", root, seed=2, size=48))
    indices = Indices(DataConfig(root=str(root), cache=cache))
    requests = [
        one
        for run in runs
        for split in ("val", "test")
        for view in (None, Flipped())
        for one in requests_of(TrainedModel.load(run), split, indices, view)
    ]
    view_dataset: list[Event] = []
    together = get_predictions(requests, runtime_config=ONE_PROCESS, emit=view_dataset.append)
    done = [event for event in view_dataset if isinstance(event, Progress) and event.task == looking.TASK]
    assert done[-1].done == done[-1].total == sum(len(one.rows) for one in requests)
    for run in runs:
        shutil.rmtree(run / "predictions")
    for one, found in zip(requests, together, strict=True):
        (alone,) = get_predictions([one], runtime_config=ONE_PROCESS)
        np.testing.assert_allclose(found.log_probs, alone.log_probs, atol=1e-4)
        assert found.ids.tolist() == alone.ids.tolist()
    plain, flipped = together[0], together[1]
    assert not np.allclose(plain.log_probs, flipped.log_probs, atol=1e-2)


@pytest.mark.parametrize(("cache", "times"), [("auto", 1), ("off", 1)])
def test_each_page_is_decoded_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str, times: int
) -> None:
    runs = [make_run(tmp_path / name, root, seed) for seed, name in enumerate("abc")]
    read: list[str] = []
    original = page_source.read_page
    monkeypatch.setattr(
        page_source, "read_page", lambda path, **options: (read.append(path.name), original(path, **options))[1]
    )
    indices = Indices(DataConfig(root=str(root), cache="off" if cache == "off" else str(tmp_path / "cache")))
    requests = [
        one
        for run in runs
        for view in (None, Flipped())
        for one in requests_of(TrainedModel.load(run), "test", indices, view)
    ]
    get_predictions(requests, runtime_config=ONE_PROCESS)
    assert sorted(read) == sorted(set(read))
    assert len(read) == 20 * times


def test_an_unreadable_page_keeps_its_row(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", root, seed=0)
    index = load_index(DataConfig(root=str(root)), "test")
    index.path(3).write_bytes(b"<html>")
    for found in (last_predictions(run, "test"), last_predictions(run, "test")):
        assert np.flatnonzero(np.isnan(found.log_probs).any(axis=1)).tolist() == [3]
        assert "HTML" in found.status[3]


def test_what_is_finished_stays_when_the_rest_is_stopped(root: Path, tmp_path: Path, looks: list[int]) -> None:
    runs = [make_run(tmp_path / "a", root, seed=0), make_run(tmp_path / "b", root, seed=1)]
    stop = StopFlag()

    def stop_in_the_second(event: Event) -> None:
        if isinstance(event, Progress) and event.task == looking.TASK and event.done == 20:
            stop.signal_number = 2

    indices = Indices(DataConfig(root=str(root)))
    requests = [one for run in runs for one in requests_of(TrainedModel.load(run), "test", indices)]
    with pytest.raises(Interrupted, match="20 of 40"):
        get_predictions(requests, runtime_config=ONE_PROCESS, emit=stop_in_the_second, stop=stop)
    get_predictions(requests, runtime_config=ONE_PROCESS)
    assert looks == [2, 1]


def test_other_pages_are_read_as_the_training_pages_were(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", root, seed=0)
    other = Path(shutil.copytree(root, tmp_path / "other"))
    member = TrainedModel.load(run)
    config = data_of(member.info.data, str(other))
    np.testing.assert_array_equal(
        last_predictions(run, "test").log_probs, last_predictions(run, "test", data=config).log_probs
    )
    found = get_predictions(requests_of(member, "test", Indices(config)), runtime_config=ONE_PROCESS)
    assert merge_checkpoints(member, "test", found) is found[0]


def test_wrong_members_are_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(CheckpointError, match=path.name):
            TrainedModel.load(path)
    run = make_run(tmp_path / "a", root, seed=0)
    with pytest.raises(CheckpointError, match="no folds"):
        members_at(run, "folds")
    (run / "split.csv").unlink()
    with pytest.raises(InputError, match=r"no split\.csv"):
        last_predictions(run)


def test_facts_are_those_of_the_file(root: Path, tmp_path: Path) -> None:
    checkpoint = replace(untrained(root, 0), temperature=2.0, epoch=7)
    checkpoint.save(tmp_path / "x.ckpt")
    info = TrainedModel.load(tmp_path / "x.ckpt").info
    assert (info.temperature, info.epoch, info.model_name) == (2.0, 7, "test_resnet")
    assert (info.class_names, info.preprocess) == (checkpoint.class_names, checkpoint.preprocess)
    assert info.data.root == str(root)
