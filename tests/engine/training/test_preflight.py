"""What cannot work is refused before any page is read and before the folder of the run is there."""

import csv
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import draw_pages, no_plots, tiny_profile

from docclf_cli.engine.runtime.device import Numerics, resolve_runtime
from docclf_cli.engine.runtime.numerics_benchmark import Workload, fastest
from docclf_cli.engine.training.trainer import TRAINING_COLUMNS
from docclf_cli.engine.training.validator import measured_metrics
from docclf_cli.errors import CheckpointError, DocclfError, InputError
from docclf_cli.events import EpochDone, Event, FitStarted
from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import ModelConfig, Profile, RuntimeConfig
from docclf_cli.tasks import train as train_module
from docclf_cli.tasks.train import train

Make = Callable[..., Profile]
__all__ = ["no_plots"]
pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 6)


@pytest.fixture
def make(pages: Path, tmp_path: Path) -> Make:
    usual = {"name": "a", "train.epochs": 1, "train.snapshots.keep": "none"}
    return lambda **options: tiny_profile(pages, tmp_path / "runs", **{**usual, **options})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("docclf"), "propagate", True)
    return caplog


CONTRADICTIONS: list[tuple[dict[str, object], str]] = [
    ({"data.val_fraction": 0.0}, "data.val_fraction is 0"),
    (
        {"train.monitor": "f1_macro_degraded", "data.degraded_validation": False},
        "train.monitor: 'f1_macro_degraded' is not available; data.degraded_validation is off",
    ),
    ({"train.monitor": "top3_accuracy"}, "train.monitor: 'top3_accuracy' is not available"),  # of three classes
    (
        {"scheduler": "plateau", "scheduler.params.monitor": "f1"},
        "scheduler.params.monitor: 'f1' is not available",
    ),
    ({"train.refit": True, "train.folds": 2, "train.fold": 0}, "train.refit needs all folds"),
    ({"train.refit": True, "scheduler": "plateau"}, "train.refit: the schedule 'plateau' needs validation metrics"),
    ({"loss.params.class_weights": [1.0, 2.0]}, "class_weights: 2 weights for 3 classes"),
    ({"optimizer": "sgd", "optimizer.params.momentum": 0.0}, "nesterov needs momentum"),
    ({"train.accumulate": 4}, "cannot be trained on one page at a time, and a step has 4 pages in 4 parts"),
    ({"train.batch_size": 1}, "cannot be trained on one page at a time, and a step has 1 page in 1 part"),
    ({"data.limit": 1}, "cannot be trained on one page at a time"),
    ({"model": "test_vit", "data.image_size": 40}, "data.image_size: test_vit cannot be trained on pages of 40 x 40"),
    ({"model": "vgg11", "data.image_size": 16}, "data.image_size: vgg11 cannot be trained on pages of 16 x 16"),
    ({"model.pretrained": True, "model.checkpoint_path": "nowhere.pth"}, "nowhere.pth"),
    ({"train.folds": 7}, "fewer pages than 7 folds"),
]


@pytest.mark.parametrize(("options", "text"), CONTRADICTIONS, ids=[text[:50] for _, text in CONTRADICTIONS])
def test_what_cannot_work_is_refused_before_a_page_is_read(
    make: Make, tmp_path: Path, options: dict[str, object], text: str
) -> None:
    events: list[Event] = []
    with pytest.raises(DocclfError, match=re.escape(text)) as refused:
        train(make(**options), emit=events.append)
    assert isinstance(refused.value, InputError | CheckpointError)
    assert not events
    assert not (tmp_path / "runs").exists()


def test_weights_that_do_not_fit_are_refused_before_a_page_is_read(make: Make, tmp_path: Path) -> None:
    config = ModelConfig(name="test_efficientnet", model_name="test_efficientnet", pretrained=False)
    torch.save(create_model(config, 3).state_dict(), tmp_path / "other.pth")
    events: list[Event] = []
    with pytest.raises(CheckpointError, match="do not fit test_resnet"):
        train(
            make(**{"model.pretrained": True, "model.checkpoint_path": str(tmp_path / "other.pth")}), emit=events.append
        )
    assert not events


def test_a_label_too_long_for_a_checkpoint_is_named(tmp_path: Path) -> None:
    pages = draw_pages(tmp_path / "data", 4)
    rows = [(str(path.relative_to(pages)), path.parent.name) for path in sorted(pages.rglob("*.png"))]
    text = "".join(f"{name},{'receipts' * 75 if label == 'receipt' else label}\n" for name, label in rows)
    (tmp_path / "data.csv").write_text("ID,target\n" + text)
    with pytest.raises(InputError, match="has 600 characters, and a class name has 1 to 512"):
        train(tiny_profile(tmp_path / "data.csv", tmp_path / "runs"))


def test_one_page_at_a_time_is_enough_for_a_network_without_batch_norm(make: Make) -> None:
    train(make(**{"model": "test_vit", "train.batch_size": 1, "train.max_steps": 2}))


def test_a_frozen_batch_norm_needs_no_second_page(make: Make) -> None:
    train(make(**{"train.batch_size": 1, "train.max_steps": 2, "train.freeze_epochs": 1}))


@pytest.mark.parametrize("part", ["train", "val"])
def test_pages_that_turn_out_unreadable_may_leave_too_few(make: Make, tmp_path: Path, part: str) -> None:
    own = draw_pages(tmp_path / "own", 2)
    for path in sorted(own.rglob("*.png")):
        path.rename(path.with_name(f"own-{path.name}"))
    pages = draw_pages(tmp_path / "mine", 2)
    for path in (pages if part == "train" else own).rglob("*.png"):
        path.write_bytes(b"no image")
    events: list[Event] = []
    profile = make(**{"data.root": str(pages), "data.val": str(own), "data.max_unreadable": 1.0})
    with pytest.raises(InputError, match="no readable page" if part == "train" else "no held-out page can be read"):
        train(profile, emit=events.append)
    assert not [event for event in events if isinstance(event, FitStarted)]


@pytest.mark.parametrize("degraded", [True, False])
def test_the_metrics_that_are_promised_are_those_of_an_epoch(make: Make, degraded: bool) -> None:
    events: list[Event] = []
    train(make(**{"data.degraded_validation": degraded}), emit=events.append)
    (epoch,) = [event for event in events if isinstance(event, EpochDone)]
    assert {*epoch.metrics} == {*TRAINING_COLUMNS, *measured_metrics(3, degraded)}


def test_a_batch_larger_than_the_pages_is_said_and_counts_as_what_it_is(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: pytest.LogCaptureFixture
) -> None:
    settled: list[Profile] = []
    original = train_module.resolve_numerics

    def resolve_numerics(profile: Profile, *args: int) -> Profile:
        settled.append(profile)
        return original(profile, *args)

    monkeypatch.setattr(train_module, "resolve_numerics", resolve_numerics)
    train(make(**{"train.batch_size": 100_000, "train.accumulate": 4}))
    assert "train.batch_size: 100000 is more than the 12 training pages" in told.text
    assert [profile.train.batch_size for profile in settled] == [12]
    with (tmp_path / "runs" / "a" / "timings.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["images_per_second"]) * float(row["train_seconds"]) == pytest.approx(12, rel=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_a_probe_draws_no_more_pages_than_it_uses(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    used: list[int] = []
    original = torch.rand

    def rand(count: int, *shape: int) -> torch.Tensor:
        drawn.append(count)
        return original(count, *shape)

    def build() -> torch.nn.Module:
        model = create_model(ModelConfig(model_name="test_resnet", pretrained=False), 5, weights=False)
        model.register_forward_pre_hook(lambda _, inputs: used.append(len(inputs[0])))
        return model

    monkeypatch.setattr(torch, "rand", rand)
    runtime = resolve_runtime(RuntimeConfig(device="cpu", threads=1))
    work = Workload(build, runtime, 5, 32, batch=100_000, pages=2400, training=training)
    assert work.largest_batch == 2400
    fastest(work, [Numerics("fp32", False), Numerics("fp32", True)])
    assert max(drawn) == max(used) <= 2400


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"train.snapshots.keep": "cycle"}, "no cycle of 'warmup_cosine' ends in 1 epochs"),
        ({"train.snapshots.keep": "every", "train.snapshots.k": 2}, "2 is more than the 1 epochs"),
    ],
)
def test_what_is_asked_for_and_will_not_come_is_said(
    make: Make, told: pytest.LogCaptureFixture, options: dict[str, object], text: str
) -> None:
    train(make(**{"scheduler": "warmup_cosine", **options}))
    assert text in told.text


def test_a_validation_set_that_is_cut_into_folds_is_said(
    make: Make, tmp_path: Path, told: pytest.LogCaptureFixture
) -> None:
    own = draw_pages(tmp_path / "own", 2)
    for path in sorted(own.rglob("*.png")):
        path.rename(path.with_name(f"own-{path.name}"))
    train(make(**{"data.val": str(own), "train.folds": 2, "train.fold": 0}))
    assert "the 6 pages of the validation set are cut into folds" in told.text
