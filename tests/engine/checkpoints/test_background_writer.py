"""What is written beside the training is written in order, as it was when it was handed over, and never silently lost."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from docclf_cli.data.samples.samples import render_samples
from docclf_cli.engine.checkpoints import checkpoint as checkpoints
from docclf_cli.engine.checkpoints.background_writer import BackgroundWriter, to_cpu_copy
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.errors import ResourceError
from docclf_cli.events import EpochDone, Event
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile
from docclf_cli.tasks.train import train


def test_jobs_use_one_thread_and_leave_the_others_to_the_training() -> None:
    before, view_dataset = torch.get_num_threads(), list[int]()
    with BackgroundWriter() as background:
        background.run([lambda: view_dataset.append(torch.get_num_threads())])
    assert view_dataset == [1]
    assert torch.get_num_threads() == before


def test_jobs_are_done_in_order_while_the_block_goes_on() -> None:
    done: list[str] = []
    go_on = threading.Event()
    with BackgroundWriter() as background:
        background.run([go_on.wait, lambda: done.append("a"), lambda: done.append("b")])
        assert done == []
        go_on.set()
        background.run([lambda: done.append("c")])
    assert done == ["a", "b", "c"]


def test_what_fails_is_raised_and_ends_its_jobs() -> None:
    done: list[str] = []

    def fail() -> None:
        raise ResourceError("full")

    with pytest.raises(ResourceError, match="full"), BackgroundWriter() as background:
        background.run([fail, lambda: done.append("after")])
    with pytest.raises(ResourceError, match="full"), BackgroundWriter() as background:
        background.run([fail])
        background.run([lambda: done.append("next")])
    assert done == []


def test_copies_do_not_follow_the_training() -> None:
    weight = torch.arange(4.0)
    copy = to_cpu_copy({"a": [weight, {"b": weight}], "n": 3, "none": None})
    weight += 1
    assert copy["a"][0].tolist() == copy["a"][1]["b"].tolist() == [0, 1, 2, 3]
    assert (copy["n"], copy["none"]) == (3, None)


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    pages = render_samples(tmp_path / "pages", pages_per_class=3, test_pages_per_class=1)
    options = {
        "data.root": str(pages), "data.image_size": 32, "model": "test_resnet", "model.pretrained": False,
        "augmentation": "none", "train.epochs": 3, "train.batch_size": 8, "train.monitor": "epoch", "runtime.workers": 0,
        "runtime.precision": "fp32", "data.degraded_validation": False, "output": str(tmp_path / "runs"), "name": "a",
    }  # fmt: skip
    return load_profile("config", options=options).profile


def test_checkpoints_are_of_their_epoch_however_slowly_they_are_written(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, weights = Checkpoint.save, dict[int, Mapping[str, torch.Tensor]]()

    def slow(checkpoint: Checkpoint, path: Path) -> None:
        if checkpoint.epoch == 1:
            time.sleep(0.5)  # the second epoch goes on meanwhile
        save(checkpoint, path)
        weights.setdefault(checkpoint.epoch, checkpoint.model)

    monkeypatch.setattr(Checkpoint, "save", slow)
    train(profile)
    last = Checkpoint.load(tmp_path / "runs" / "a" / "last.ckpt")
    assert last.training["state"]["epoch"] == 3
    assert any(not torch.equal(weights[1][name], last.model[name]) for name in last.model)


def test_a_full_disk_ends_the_run(profile: Profile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    epochs: list[int] = []

    def full(path: Path, save: object) -> None:
        raise ResourceError(f"{path} cannot be written: No space left on device")

    def note(event: Event) -> None:
        if isinstance(event, EpochDone):
            epochs.append(event.epoch)
            if event.epoch == 1:
                monkeypatch.setattr(checkpoints, "save_with", full)

    with pytest.raises(ResourceError, match="No space left"):
        train(profile, emit=note)
    assert epochs[-1] < 3 or not (tmp_path / "runs" / "a" / "val_class_metrics.csv").exists()
