"""What the training section can ask for besides plain epochs, and what is looked at when they are over."""

import csv
import gc
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import draw_pages, no_plots, tiny_profile

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime.device import seed_of
from docclf_cli.engine.training import fit as fit_module
from docclf_cli.engine.training.trainer import Trainer
from docclf_cli.engine.training.validator import Validator
from docclf_cli.events import Event, Progress
from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import Profile
from docclf_cli.tasks.train import train

Make = Callable[..., Profile]
__all__ = ["no_plots"]
pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 6)


@pytest.fixture
def make(pages: Path, tmp_path: Path) -> Make:
    return lambda **options: tiny_profile(pages, tmp_path / "runs", **{"name": "a", **options})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "a")


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_while_the_backbone_is_frozen_what_is_new_learns(make: Make, run: RunFolder) -> None:
    profile = make(
        model__use_attention=True, model__attention_dim=16, train__freeze_epochs=1, train__epochs=2, train__ema=None
    )
    train(profile)
    torch.manual_seed(seed_of("init", profile.seed))
    initial = create_model(profile.model, 3, image_size=profile.data.image_size).state_dict()
    first, second = (dict(Checkpoint.load(run.snapshot(epoch)).model) for epoch in (1, 2))
    learned = changed(dict(initial), first)
    assert {"fc.weight", "feature_attention.qkv.weight", "feature_attention.out.weight"} <= learned
    assert {name.split(".")[0] for name in learned} == {"fc", "feature_attention"}
    backbone = {name for name in first if not name.startswith(("fc.", "feature_attention."))}
    assert {"conv1.weight", "bn1.running_mean"} & backbone & changed(first, second)


def test_snapshots_at_the_end_of_each_cycle(make: Make, run: RunFolder) -> None:
    restarts = {"scheduler": "cosine_warm_restart", "scheduler.params.T_0": 1, "scheduler.params.T_mult": 2}
    train(make(train__epochs=3, train__snapshots__keep="cycle", **restarts))
    assert [path.stem for path in run.snapshots()] == ["epoch-0001", "epoch-0003"]


def test_a_snapshot_every_other_epoch(make: Make, run: RunFolder) -> None:
    train(make(train__epochs=3, train__snapshots__k=2))
    (path,) = run.snapshots()
    kept = Checkpoint.load(path)
    assert kept.epoch == 2
    assert kept.metrics["epoch"] == 2


def test_the_best_epochs_are_kept_and_the_others_go(make: Make, run: RunFolder) -> None:
    train(make(train__epochs=4, train__snapshots__keep="best", train__snapshots__k=2))
    with run.metrics.open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["val_loss"]))
    assert {int(path.stem[-4:]) for path in run.snapshots()} == {int(row["epoch"]) for row in rows[:2]}


def test_a_validation_set_of_ones_own_holds_out_nothing(make: Make, run: RunFolder, tmp_path: Path) -> None:
    own = draw_pages(tmp_path / "own", 2)
    for path in sorted(own.rglob("*.png")):
        path.rename(path.with_name(f"own-{path.name}"))
    result = train(make(data__val=str(own), train__epochs=1))
    with run.split.open() as file:
        components = {row["ID"]: row["split"] for row in csv.DictReader(file)}
    assert {name for name, part in components.items() if part == "val"} == {
        f"{label}/own-{label}-{number}.png" for label in ("form", "letter", "receipt") for number in range(2)
    }
    assert list(components.values()).count("train") == 18
    assert result.val.support == 6


def test_nothing_large_is_left_to_the_garbage_collector(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[weakref.ref[object]] = []
    original = fit_module.build_trainer

    def build(*args: Any) -> Trainer:
        trainer = original(*args)
        components = trainer.components
        built.extend(
            map(weakref.ref, (trainer, components.model, components.optimizer, components.loader, trainer.validate))
        )
        return trainer

    monkeypatch.setattr(fit_module, "build_trainer", build)
    gc.disable()
    try:
        train(make(train__folds=2, train__epochs=1, runtime__workers=2))
        assert len(built) == 10
        assert [one() for one in built] == [None] * 10
    finally:
        gc.enable()


def forgetful(validator: Validator, model: torch.nn.Module) -> Mapping[str, float]:
    metrics = validator.measure(model)
    validator.last_predictions.clear()
    return metrics


@pytest.mark.parametrize(
    ("monitor", "kept", "looked_at"),
    [
        ("epoch", 3, {"training pages"}),
        ("lr", 1, {"training pages", "validation pages", "degraded validation pages"}),
    ],
)
def test_what_the_last_validation_said_is_not_asked_again(
    make: Make, run: RunFolder, monkeypatch: pytest.MonkeyPatch, monitor: str, kept: int, looked_at: set[str]
) -> None:
    profile = make(train__epochs=3, train__monitor=monitor, scheduler="cosine", data__degraded_validation=True)
    events: list[Event] = []
    assert train(profile, emit=events.append).best_epoch == kept
    asked = {event.task for event in events if isinstance(event, Progress)}
    assert {task for task in asked if task.endswith("pages")} - {"reading pages"} == looked_at
    stored = {path.name: dict(np.load(path)) for path in run.path.rglob("predictions/*.npz")}
    assert len(stored) == 3
    monkeypatch.setattr(Validator, "measure", Validator.__call__, raising=False)
    monkeypatch.setattr(Validator, "__call__", forgetful)
    train(profile, overwrite=True)
    for path in run.path.rglob("predictions/*.npz"):
        again = np.load(path)
        for name, values in stored.pop(path.name).items():
            np.testing.assert_array_equal(again[name], values)
    assert not stored
