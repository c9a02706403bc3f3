"""`docclf weights list` and `docclf weights pack` from the command line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from cli_process import Outcome

Docclf = Callable[..., Outcome]


def test_a_wheel_is_packed_and_pip_installs_it(docclf: Docclf, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pth")
    packed = docclf("weights", "pack", "test_resnet", "weights.pth", "--to", "wheels", "--json").json
    wheel = tmp_path / packed["wheel"]
    assert packed["bytes"] == wheel.stat().st_size
    assert packed["install"].startswith("pip install --no-index wheels/docclf_weights_test_resnet-1.0-")
    to = ["--no-index", "--no-deps", "--quiet", "--disable-pip-version-check", "--target", "site"]
    subprocess.run([sys.executable, "-m", "pip", "install", *to, str(wheel)], cwd=tmp_path, check=True)
    assert (tmp_path / "site/docclf_weights_test_resnet/weights.safetensors").is_file()
    shown = docclf("weights", "pack", "test_resnet", "weights.pth", "--to", "wheels")
    assert f"on the other machine: {packed['install']}" in shown.stdout


def test_what_cannot_be_packed_is_said(docclf: Docclf, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pth")
    other = docclf("weights", "pack", "resnet18", "weights.pth")
    assert other.code == 4
    assert "weights.pth: the weights do not fit resnet18: " in other.stderr
    assert docclf("weights", "pack", "nothing-like-it", "weights.pth").code == 2
    assert docclf("weights", "pack", "resnet18", "absent.pth").code == 4
    unreachable = docclf("weights", "pack", "resnet18")
    assert unreachable.code == 5
    assert "docclf weights pack resnet18 FILE" in unreachable.stderr
    assert "--no-pretrained" not in unreachable.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_the_list_is_json(docclf: Docclf) -> None:
    outcome = docclf("weights", "list", "--json")
    assert (outcome.code, list(outcome.json)) == (0, ["rows"])
    assert docclf("weights", "list").code == 0
