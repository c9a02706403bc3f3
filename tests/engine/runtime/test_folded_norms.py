"""Batch norms with frozen statistics, computed in the convolutions before them while a network trains."""

import copy

import pytest
import timm
import torch

from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.engine.runtime.folded_norms import folded, folds, pairs_to_fold
from docclf_cli.models.batch_norm import norms_of
from docclf_cli.models.freezing import Freezing, set_mode

CPU = Runtime(torch.device("cpu"))


def trained_network(name: str) -> torch.nn.Module:
    """A network whose norms have statistics, scales and shifts of their own; ready for a step with frozen norms."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5, drop_rate=0.0, drop_path_rate=0.0)
    model.train()(torch.randn(4, 3, 64, 64) * 2 + 1)
    for norm in norms_of(model).values():
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.2, 0.2)
    return model


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    model.zero_grad()
    logits = model(torch.randn(6, 3, 64, 64))
    torch.nn.functional.cross_entropy(logits, torch.arange(6) % 5).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {"logits": logits.detach()} | {name: gradient.clone() for name, gradient in found.items()}


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_mambaout", "test_vit"])
def test_a_step_has_the_same_gradients_without_a_pass_for_the_norms(name: str) -> None:
    model = trained_network(name)
    pairs = pairs_to_fold(model, 64, CPU)
    assert len(pairs) == len(norms_of(model))
    set_mode(model, Freezing(norms=True))
    expected, names = gradients(model), list(model.state_dict())
    with folded(pairs):
        found = gradients(model)
        assert list(model.state_dict()) == names
        inside = copy.deepcopy(model)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        assert torch.allclose(found[key], gradient, rtol=1e-3, atol=1e-5), key
    after = gradients(model)
    assert all(torch.equal(after[key], gradient) for key, gradient in expected.items())
    # A copy made inside has norms of its own.
    for norm in norms_of(model).values():
        torch.nn.init.zeros_(norm.weight)
    assert torch.allclose(gradients(inside)["logits"], expected["logits"], rtol=1e-3, atol=1e-5)


def test_a_norm_that_does_not_follow_one_convolution_is_left_alone() -> None:
    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.norm = (
                torch.nn.Conv2d(3, 4, 1),
                torch.nn.Conv2d(3, 4, 1),
                torch.nn.BatchNorm2d(4),
            )

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (self.norm(self.one(images)) + self.norm(self.two(images))).mean((2, 3))

    model = Shared()
    torch.nn.init.uniform_(model.norm.running_var, 2.0, 3.0)  # type: ignore[arg-type]
    assert pairs_to_fold(model, 32, CPU) == ()


def test_only_a_processor_without_a_compiler_folds() -> None:
    assert folds(CPU)
    assert not folds(Runtime(torch.device("cpu"), compile=True))
    assert not folds(Runtime(torch.device("cuda")))
