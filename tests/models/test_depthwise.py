"""A depthwise convolution learns the same, only sooner."""

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from docclf_cli.models.depthwise import DepthwiseConv2d, quicken, weight_gradient

sides = st.integers(5, 9)


@settings(deadline=None)
@given(
    st.integers(1, 3), st.integers(2, 4), sides, sides, st.sampled_from([5, 7]), st.sampled_from([5, 7]),
    st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.integers(2, 3), st.booleans(),
)  # fmt: skip
def test_gradients_are_those_of_the_library(
    count: int, channels: int, high: int, wide: int, kernel_high: int, kernel_wide: int, stride_down: int,
    stride_right: int, pad_down: int, pad_right: int, bias: bool,
) -> None:  # fmt: skip
    options = {"stride": (stride_down, stride_right), "padding": (pad_down, pad_right), "bias": bias}
    size = max(high, kernel_high), max(wide, kernel_wide)
    plain = nn.Conv2d(channels, channels, (kernel_high, kernel_wide), groups=channels, **options).double()
    ours = nn.Conv2d(channels, channels, (kernel_high, kernel_wide), groups=channels, **options).double()
    ours.load_state_dict(plain.state_dict())
    quicken(ours)
    images = torch.randn(count, channels, *size, dtype=torch.float64)
    found = []
    for layer in (plain, ours):
        given_images = images.clone().requires_grad_()
        out = layer(given_images)
        (out * torch.arange(out.numel()).view_as(out).sin()).sum().backward()
        found.append([out, given_images.grad, *(parameter.grad for parameter in layer.parameters())])
    assert isinstance(ours, DepthwiseConv2d)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_gradient_worked_out_by_hand() -> None:
    """One channel, a 2 x 2 page, no padding beyond one: each weight sees the pixel under it once."""
    images = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    gradient = torch.ones(1, 1, 1, 1)
    assert weight_gradient(images, gradient, (2, 2), (1, 1), (0, 0)).tolist() == [[[[1.0, 2.0], [3.0, 4.0]]]]


def test_only_large_depthwise_convolutions_change() -> None:
    model = timm.create_model("test_convnext", num_classes=3)
    state, random = {name: weight.clone() for name, weight in model.state_dict().items()}, torch.get_rng_state()
    quicken(model)
    changed = [module for module in model.modules() if isinstance(module, DepthwiseConv2d)]
    assert changed
    assert all(module.groups > 1 and module.kernel_size == (7, 7) for module in changed)
    assert model.state_dict().keys() == state.keys()
    assert torch.equal(torch.get_rng_state(), random)
    small = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 5), nn.Conv2d(4, 8, 5, groups=4))
    small.append(nn.Conv2d(4, 4, 5, groups=4, dilation=2)).append(nn.Conv2d(4, 4, 5, groups=4, padding="same"))
    assert {type(module) for module in quicken(small)} == {nn.Conv2d}


@pytest.mark.parametrize("training", [True, False])
def test_autocast_is_followed(training: bool) -> None:
    layer = quicken(nn.Conv2d(4, 4, 5, groups=4, padding=2)).train(training)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.randn(2, 4, 8, 8))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in layer.parameters())
