"""Mixed statistics of batch norms, against computations of their own."""

import math
from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn

from docclf_cli.models.batch_norm import adapted_statistics, norms_of, share_of_new

KNOWN_MEAN, KNOWN_VARIANCE = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([4.0, 1.0, 0.25])


def one_norm() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    norm.running_mean, norm.running_var = KNOWN_MEAN.clone(), KNOWN_VARIANCE.clone()
    return nn.Sequential(norm).eval()


def pages(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 5, 4, generator=torch.Generator().manual_seed(seed)) * 2 + 3


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("prior", [0.0, 7.0, math.inf])
def test_the_mixture_has_the_moments_of_samples_drawn_from_both(parts: int, prior: float) -> None:
    new = pages(12)
    found = adapted_statistics(one_norm(), new.chunk(parts), 12, prior)
    weight = 12 / (12 + prior)
    values = new.movedim(1, 0).flatten(1).double()
    # E[x] and E[x²] of the mixture, from which its variance follows.
    first = (1 - weight) * KNOWN_MEAN + weight * values.mean(dim=1)
    second = (1 - weight) * (KNOWN_VARIANCE + KNOWN_MEAN**2) + weight * (values**2).mean(dim=1)
    assert torch.allclose(found["0.running_mean"].double(), first, atol=1e-5)
    assert torch.allclose(found["0.running_var"].double(), second - first**2, atol=1e-4)
    if prior == math.inf:
        assert torch.equal(found["0.running_mean"], KNOWN_MEAN)
        assert torch.equal(found["0.running_var"], KNOWN_VARIANCE)


def test_a_later_layer_sees_pages_as_the_mixture_shows_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    new = pages(8)
    found = adapted_statistics(model, [new], 8, 4.0)
    # The model that is left has the new statistics: what its second norm gets is what was measured.
    with torch.no_grad():
        values = model[2](model[1](model[0](new))).movedim(1, 0).flatten(1)
    weight = 8 / 12
    assert torch.allclose(found["3.running_mean"], weight * values.mean(dim=1), atol=1e-5)
    variance = (1 - weight) * 1 + weight * values.var(dim=1, correction=0)
    between = weight * (1 - weight) * values.mean(dim=1) ** 2
    assert torch.allclose(found["3.running_var"], variance + between, atol=1e-5)


def test_a_network_of_timm_keeps_its_weights_and_its_mode() -> None:
    model = timm.create_model("test_resnet", num_classes=3).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1)) + 1
    found = adapted_statistics(model, [images], 6, 0.0)
    assert len(found) == 2 * len(norms_of(model)) > 10
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in found), name
    assert not model.training and not any(module._forward_pre_hooks for module in model.modules())
    # With nothing of the training left, each norm gives channels of mean 0 and variance 1.
    outputs = list[torch.Tensor]()
    first = next(iter(norms_of(model).values()))
    first.register_forward_pre_hook(lambda norm, inputs: outputs.append(inputs[0]))
    with torch.no_grad():
        model(images)
    assert torch.allclose(first.running_mean, outputs[0].mean(dim=(0, 2, 3)), atol=1e-5)


def norm_without_statistics() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.LayerNorm(4))


@pytest.mark.parametrize("build", [norm_without_statistics, lambda: timm.create_model("test_vit")])
def test_other_norms_have_no_statistics(build: Callable[[], nn.Module]) -> None:
    assert norms_of(build()) == {}


def test_no_page_counts_for_nothing() -> None:
    assert share_of_new(0, 0.0) == 0.0
    assert share_of_new(10, 0.0) == 1.0
