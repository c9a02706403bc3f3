"""A depthwise convolution learns the same, only sooner."""

import copy

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import nn

from docclf_cli.models import depthwise
from docclf_cli.models.depthwise import (
    DepthwiseConv2d,
    DepthwiseConv2dSame,
    image_gradient,
    use_fast_gradients,
    weight_gradient,
)

sides = st.integers(5, 9)


@settings(deadline=None)
@given(
    st.integers(1, 3), st.integers(2, 4), sides, sides, st.sampled_from([3, 5, 7]), st.sampled_from([5, 7]),
    st.integers(1, 3), st.integers(2, 3), st.integers(0, 2), st.integers(2, 3), st.booleans(),
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
    use_fast_gradients(ours)
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


@settings(deadline=None)
@given(
    st.integers(1, 3), st.integers(2, 4), sides, sides, st.sampled_from([3, 5]), st.sampled_from([3, 7]),
    st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.booleans(),
)  # fmt: skip
def test_what_was_convolved_gets_the_gradient_of_the_library(
    count: int, channels: int, high: int, wide: int, kernel_high: int, kernel_wide: int, stride_down: int,
    stride_right: int, pad_down: int, pad_right: int, last: bool,
) -> None:  # fmt: skip
    layout = torch.channels_last if last else torch.contiguous_format
    images = torch.randn(count, channels, high, max(wide, kernel_wide), dtype=torch.float64).requires_grad_()
    weight = torch.randn(channels, 1, kernel_high, kernel_wide, dtype=torch.float64)
    stride, padding = (stride_down, stride_right), (pad_down, pad_right)
    out = torch.conv2d(images, weight, None, stride, padding, groups=channels)
    gradient = torch.randn_like(out).contiguous(memory_format=layout)
    out.backward(gradient)
    found = image_gradient(weight, gradient, images.shape[2:], stride, padding)  # type: ignore[arg-type]
    torch.testing.assert_close(found, images.grad)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_network_learns_the_same_in_all_formats(dtype: torch.dtype, layout: torch.memory_format) -> None:
    """Kernels of 3, 5 and 7, strided and not, padded as torch and as TensorFlow do; against float64."""
    layers = [nn.Conv2d(6, 6, side, stride, side // 2, groups=6) for side in (3, 5, 7) for stride in (1, 2)]
    layers += [Conv2dSame(6, 6, side, 2, groups=6, bias=False) for side in (3, 5)]
    for layer in layers:
        images = torch.randn(2, 6, 15, 16).contiguous(memory_format=layout)
        gradients = []
        for one, kind in ((layer, torch.float64), (use_fast_gradients(copy.deepcopy(layer)), dtype)):
            given = images.to(kind).requires_grad_()
            one.to(kind)(given).square().sum().backward()
            gradients.append([given.grad, *(parameter.grad for parameter in one.parameters())])
        for true, found in zip(*gradients, strict=True):
            assert found is not None
            error = (found.double() - true).norm() / true.norm()
            assert error < (0.02 if dtype == torch.bfloat16 else 1e-5), (layer, error)


def test_the_quick_way_is_taken_where_it_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for name in ("image_gradient", "weight_gradient", "conv2d_input", "conv2d_weight"):
        whole = getattr(depthwise, name)
        monkeypatch.setattr(
            depthwise, name, lambda *a, name=name, whole=whole, **k: taken.append(name) or whole(*a, **k)
        )  # type: ignore

    def ways(side: int, stride: int, dtype: torch.dtype, layout: torch.memory_format) -> list[str]:
        taken.clear()
        layer = use_fast_gradients(nn.Conv2d(4, 4, side, stride, side // 2, groups=4)).to(dtype)
        images = torch.randn(2, 4, 16, 16, dtype=dtype).contiguous(memory_format=layout)
        layer(images.requires_grad_()).sum().backward()
        return list(taken)

    last, plain = torch.channels_last, torch.contiguous_format
    assert ways(5, 2, torch.bfloat16, last) == ["image_gradient", "weight_gradient"]
    assert ways(3, 2, torch.bfloat16, plain) == ["image_gradient", "conv2d_weight"]
    assert ways(7, 1, torch.bfloat16, last) == ["conv2d_input", "weight_gradient"]
    assert ways(5, 2, torch.float32, last) == ["conv2d_input", "conv2d_weight"]
    assert ways(5, 1, torch.float32, plain) == ways(7, 1, torch.float32, last) == ["conv2d_input", "weight_gradient"]


def test_padding_like_tensorflow_stays() -> None:
    model = timm.create_model("tf_efficientnet_lite0", num_classes=3)
    kinds = {name: type(module) for name, module in model.named_modules()}
    use_fast_gradients(model)
    changed = [module for module in model.modules() if isinstance(module, DepthwiseConv2dSame)]
    assert [module.kernel_size for module in changed] == [(3, 3), (5, 5), (3, 3), (5, 5)]
    assert sum(kind is Conv2dSame for kind in kinds.values()) == len(changed) + 1  # the stem is no depthwise one


def test_only_depthwise_convolutions_that_gain_change() -> None:
    model = timm.create_model("test_convnext", num_classes=3)
    state, random = {name: weight.clone() for name, weight in model.state_dict().items()}, torch.get_rng_state()
    use_fast_gradients(model)
    changed = [module for module in model.modules() if isinstance(module, DepthwiseConv2d)]
    assert changed
    assert all(module.groups > 1 and module.kernel_size == (7, 7) for module in changed)
    assert model.state_dict().keys() == state.keys()
    assert torch.equal(torch.get_rng_state(), random)
    small = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 5), nn.Conv2d(4, 8, 5, 2, groups=4))
    small.append(nn.Conv2d(4, 4, 3, 2, padding=3, groups=4))
    small.append(nn.Conv2d(4, 4, 5, groups=4, dilation=2)).append(nn.Conv2d(4, 4, 5, groups=4, padding="same"))
    assert {type(module) for module in use_fast_gradients(small)} == {nn.Conv2d}


@pytest.mark.parametrize("training", [True, False])
def test_autocast_is_followed(training: bool) -> None:
    layer = use_fast_gradients(nn.Conv2d(4, 4, 5, groups=4, padding=2)).train(training)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.randn(2, 4, 8, 8))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in layer.parameters())
