"""Checkpoints are data: whatever is in a file, it is a checkpoint or is refused with its fault named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.engine.checkpoints import checkpoint as module
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.errors import CheckpointError, DivergedError
from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import AugmentationConfig, ModelConfig, Profile

CONFIG = ModelConfig(name="test_resnet", model_name="test_resnet", pretrained=False)


def make(**changes: Any) -> Checkpoint:
    torch.manual_seed(0)
    usual: dict[str, Any] = {
        "model": create_model(CONFIG, 2, weights=False).state_dict(), "model_config": CONFIG, "class_names": ("a", "b"),
        "preprocess": Preprocess(32), "augmentation": AugmentationConfig(),
        "profile": Profile().model_dump(mode="json", exclude={"name", "output"}), "epoch": 1, "temperature": 1.5,
        "metrics": {"val_loss": float("nan")}, "training": {"state": {"step": 3}, "ema": {"w": torch.ones(2)}},
    }  # fmt: skip
    return Checkpoint(**usual | changes)


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    saved = make()
    saved.save(tmp_path / "a.ckpt")
    found = Checkpoint.load(tmp_path / "a.ckpt")
    for name in ("model_config", "class_names", "preprocess", "augmentation", "profile", "epoch", "temperature"):
        assert getattr(found, name) == getattr(saved, name), name
    assert found.model.keys() == saved.model.keys()
    assert all(torch.equal(found.model[name], saved.model[name]) for name in saved.model)
    assert torch.equal(found.training["ema"]["w"], torch.ones(2))
    found.save(tmp_path / "b.ckpt")
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()


def forge(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content, and give it the checksum it then should have."""
    make().save(path)
    content = torch.load(path, weights_only=True)
    content.pop("digest")
    change(content)
    content["digest"] = module._digest(content)
    torch.save(content, path)


FORGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no classes": (lambda content: content.update(class_names=[]), "class_names"),
    "a class twice": (lambda content: content.update(class_names=["a", "a"]), "a class appears twice"),
    "a class that is no text": (lambda content: content.update(class_names=["a", 3]), "class_names.1"),
    "a class without end": (lambda content: content.update(class_names=["a", "b" * 10**6]), "class_names.1"),
    "a size without end": (lambda content: content["preprocess"].update(size=10**9), "preprocess"),
    "a deviation of zero": (lambda content: content["preprocess"].update(std=[0.2, 0.0, 0.2]), "preprocess"),
    "an infinite mean": (lambda content: content["preprocess"].update(mean=[0.0, 0.0, float("inf")]), "preprocess"),
    "a temperature of zero": (lambda content: content.update(temperature=0.0), "temperature"),
    "a temperature that is no number": (lambda content: content.update(temperature=float("nan")), "temperature"),
    "an epoch before the first": (lambda content: content.update(epoch=-1), "epoch"),
    "metrics that are texts": (lambda content: content.update(metrics={"f1": "good"}), "metrics.f1"),
    "an unknown key in the profile": (lambda content: content["profile"].update(x=1), "profile.x"),
    "a profile of another kind": (lambda content: content.update(profile=[1]), "profile"),
    "weights without names": (lambda content: content.update(model=[torch.ones(2)]), "model: not weights by name"),
    "weights that are texts": (lambda content: content["model"].update(extra="x"), "model: not weights by name"),
    "no weights": (lambda content: content.update(model={}), "model: not weights by name"),
    "another version": (lambda content: content.update(format_version=2), "format version 2, this docclf reads 1"),
    "a version of another kind": (lambda content: content.update(format_version=torch.ones(0)), "format version"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_right_checksum_proves_nothing(tmp_path: Path, name: str) -> None:
    change, text = FORGED[name]
    forge(tmp_path / "x.ckpt", change)
    with pytest.raises(CheckpointError) as refused:
        Checkpoint.load(tmp_path / "x.ckpt")
    assert str(tmp_path / "x.ckpt") in refused.value.message
    assert text in refused.value.message


def test_sparse_tensors_are_no_weights(tmp_path: Path) -> None:
    make().save(tmp_path / "x.ckpt")
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    content["model"]["fc.weight"] = content["model"]["fc.weight"].to_sparse()
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="checksum"):
        Checkpoint.load(tmp_path / "x.ckpt")


def test_the_checksum_covers_every_tensor() -> None:
    weights = make().model
    stated = module._digest({"model": weights})
    for name, tensor in weights.items():
        raw = tensor.view(-1).view(torch.uint8)
        raw[len(raw) // 2] ^= 1
        assert module._digest({"model": weights}) != stated, name
        raw[len(raw) // 2] ^= 1
    assert module._digest({"model": weights}) == stated


@pytest.mark.parametrize(
    "changes", [{"model": {"w": torch.tensor([torch.nan])}}, {"training": {"ema": {"w": torch.tensor([torch.inf])}}}]
)
def test_what_is_not_finite_is_never_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    make().save(tmp_path / "x.ckpt")
    before = (tmp_path / "x.ckpt").read_bytes()
    with pytest.raises(DivergedError, match="'w' are NaN or infinite"):
        make(**changes).save(tmp_path / "x.ckpt")
    assert (tmp_path / "x.ckpt").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "x.ckpt"]
