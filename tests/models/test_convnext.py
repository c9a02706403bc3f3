import inspect

import pytest
import torch

from docclf_cli.engine.training.losses import LOSSES
from docclf_cli.models.convnext import create_convnext_model
from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import ModelConfig


def test_arguments_are_those_of_the_seed() -> None:
    defaults = {name: p.default for name, p in inspect.signature(create_convnext_model).parameters.items()}
    assert defaults == {
        "model_name": "convnext_tiny",
        "num_classes": 17,
        "dropout_rate": 0.1,
        "pretrained": True,
        "use_attention": False,
        "attention_dim": 256,
        "use_focal_loss": False,
        "alpha": 1.0,
        "gamma": 2.0,
    }


@pytest.mark.parametrize(
    ("name", "millions"),
    [("convnext_tiny", 28), ("convnext_small", 50), ("convnext_base", 88), ("convnext_large", 198)],
)
def test_sizes(name: str, millions: int) -> None:
    with torch.device("meta"):
        model = create_convnext_model(name, num_classes=1000, pretrained=False)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.6)


def test_variants_have_what_they_are_called_after() -> None:
    plain = create_convnext_model("test_convnext", 3, pretrained=False)
    attending = create_convnext_model("test_convnext", 3, pretrained=False, use_attention=True, attention_dim=64)
    assert not hasattr(plain, "loss_fn") and not hasattr(plain, "feature_attention")
    assert attending.feature_attention.qkv.out_features == 3 * 64


def test_the_focal_variant_carries_its_loss() -> None:
    model = create_convnext_model("test_convnext", 2, pretrained=False, use_focal_loss=True, alpha=0.5, gamma=1.0)
    logits = torch.tensor([[0.8, 0.2], [0.5, 0.5]], dtype=torch.float64).log()
    p = torch.tensor([0.8, 0.5], dtype=torch.float64)
    expected = (-0.5 * (1 - p) * p.log()).mean()
    torch.testing.assert_close(model.loss_fn(logits, torch.tensor([0, 1])), expected)
    model.loss_fn(model(torch.randn(2, 3, 64, 64)), torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_it_is_the_focal_loss_of_a_profile(gamma: float) -> None:
    model = create_convnext_model("test_convnext", 3, pretrained=False, use_focal_loss=True, alpha=0.25, gamma=gamma)
    logits, targets = torch.tensor([[200.0, 0, 0], [1, 2, 3], [0, 0, 0.1]], requires_grad=True), torch.tensor([0, 1, 2])
    ours = model.loss_fn(logits, targets)
    theirs = LOSSES.create("focal", (), alpha=0.25, gamma=gamma).mean(logits, targets)
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits), strict=True):
        torch.testing.assert_close(mine, other)


def test_python_and_profile_build_the_same() -> None:
    torch.manual_seed(0)
    ours = create_convnext_model("test_convnext", 3, pretrained=False, use_attention=True)
    torch.manual_seed(0)
    config = ModelConfig(name="x", model_name="test_convnext", pretrained=False, use_attention=True)
    theirs = create_model(config, 3)
    for (name, a), (other, b) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert name == other and torch.equal(a, b)
