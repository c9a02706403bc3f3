"""Weights that pip has installed: known packages, and packages with an entry point."""

import sys
import zipfile
from pathlib import Path

import pytest
import timm
import torch

from docclf_cli.errors import CheckpointError, DocclfError
from docclf_cli.models.factory import create_model
from docclf_cli.models.packages import KNOWN, find_packaged, packaged_weights
from docclf_cli.models.sources import find_weights, weights_origin
from docclf_cli.profile.schema import ModelConfig
from docclf_cli.tasks.weights import list_weights, pack_weights

NAME = "test_resnet"  # 0.5 million parameters


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(timm.create_model(NAME).state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def installed(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip does with a wheel of pure Python."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for module in [name for name in sys.modules if name.startswith("docclf_weights_")]:
        monkeypatch.delitem(sys.modules, module)


def test_a_packed_wheel_supplies_its_weights(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_packaged(NAME) is None
    packed = pack_weights(NAME, weights, tmp_path)
    assert packed.wheel.name == "docclf_weights_test_resnet-1.0-py3-none-any.whl"
    installed(packed.wheel, tmp_path, monkeypatch)
    config = ModelConfig(name=NAME, model_name=NAME)
    assert weights_origin(config, NAME) == "the installed package docclf_weights_test_resnet"
    source = find_weights(config, NAME)
    expected = torch.load(weights, weights_only=True)
    assert source.state is not None
    assert all(torch.equal(source.state[name], tensor) for name, tensor in expected.items())
    model = create_model(config, 3)
    assert torch.equal(model.state_dict()["conv1.0.weight"], expected["conv1.0.weight"])
    rows = [row for row in list_weights().rows if row.name == NAME]
    assert [(row.kind, row.source, row.bytes > 100_000) for row in rows] == [
        ("package", "docclf_weights_test_resnet", True)
    ]


def test_equal_weights_make_equal_wheels(weights: Path, tmp_path: Path) -> None:
    wheels = [pack_weights(NAME, weights, tmp_path / name).wheel.read_bytes() for name in ("a", "b")]
    assert wheels[0] == wheels[1]


def test_weights_of_another_model_are_refused_in_one_line(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError) as caught:
        pack_weights("resnet18", weights, tmp_path)
    assert "do not fit resnet18: " in caught.value.message
    assert caught.value.message.endswith(" more faults")
    assert "\n" not in caught.value.message
    wheel = pack_weights(NAME, weights, tmp_path).wheel
    installed(wheel, tmp_path, monkeypatch)
    point = tmp_path / "site/docclf_weights_test_resnet-1.0.dist-info/entry_points.txt"
    point.write_text(point.read_text().replace("test_resnet =", "resnet18 ="))
    with pytest.raises(CheckpointError, match="its weights are not those of resnet18: ") as caught:
        find_weights(ModelConfig(name="resnet18", model_name="resnet18"), "resnet18")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("value", ["no.such.module:WEIGHTS", "docclf_weights_test_resnet:NOTHING", "json:dumps"])
def test_a_broken_package_is_named(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    installed(pack_weights(NAME, weights, tmp_path).wheel, tmp_path, monkeypatch)
    point = tmp_path / "site/docclf_weights_test_resnet-1.0.dist-info/entry_points.txt"
    point.write_text(f"[docclf.weights]\n{NAME} = {value}\n")
    with pytest.raises(DocclfError) as caught:
        find_weights(ModelConfig(name=NAME, model_name=NAME), NAME)
    assert "docclf_weights_test_resnet" in caught.value.message
    assert "\n" not in caught.value.message
    assert [row.bytes for row in list_weights().rows if row.name == NAME] == [0]


@pytest.mark.parametrize("name", KNOWN)
def test_known_packages_load_whole(name: str) -> None:
    if find_packaged(name) is None:
        pytest.skip("its package is missing")
    found = find_packaged(f"{name}.in1k")
    assert found is not None
    state = found.read()
    with torch.device("meta"):
        expected = timm.create_model(name).state_dict()
    assert {key: tensor.shape for key, tensor in state.items()} == {
        key: tensor.shape for key, tensor in expected.items()
    }
    assert found in packaged_weights() or found.name == name
    row = next(row for row in list_weights().rows if row.name == name)
    assert "Apache" in row.licence
