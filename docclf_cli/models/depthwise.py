"""Depthwise convolutions with faster gradients on a CPU than the library's own.

Both gradients are convolutions too, and as such have fast kernels. For the weights, each channel of each page is convolved with
its own output gradient as the kernel; a 5 x 5 kernel over 28 x 28 pixels took 14 ms where the library's own took 80. For
the images, the output gradient is dilated by the stride and convolved with the rotated kernel; with a stride of 2 over 17 x 17
pixels 2 ms instead of 53. (oneDNN through torch 2.14, bfloat16, channels_last, one core, 16 pages.) For 3 x 3 the
library's gradient of the weights is the faster one, and so are some of its gradients in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Conv2dSame, pad_same
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input, conv2d_weight

LARGE, VERY_LARGE = 5, 7  # kernel sides from which weight gradients are faster: in most formats, and in all


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with another computation of its gradients on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Features [n, channels, h, w] to features of as many channels."""
        return _convolve(self, input, self.padding) if _needs_gradient(self, input) else super().forward(input)


class DepthwiseConv2dSame(Conv2dSame):
    """`DepthwiseConv2d` for timm's convolution with the padding of TensorFlow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features [n, channels, h, w] to features of as many channels."""
        if not _needs_gradient(self, x):
            out: torch.Tensor = super().forward(x)
            return out
        return _convolve(self, pad_same(x, list(self.kernel_size), list(self.stride)), (0, 0))


FAST_TYPES = {nn.Conv2d: DepthwiseConv2d, Conv2dSame: DepthwiseConv2dSame}


def use_fast_gradients(model: nn.Module) -> nn.Module:
    """Change the depthwise convolutions that get faster by it to the classes above, in place, and return the model.

    Weights and parameter names stay as they are.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and type(module) in FAST_TYPES and _is_faster(module):
            # A new module would draw initial weights, and so change those of all later layers.
            module.__class__ = FAST_TYPES[type(module)]
    return model


def weight_gradient(
    images: torch.Tensor, gradient: torch.Tensor, kernel: tuple[int, int], stride: Any, padding: Any
) -> torch.Tensor:
    """Gradient of the weights, float32 [channels, 1, *kernel], of a depthwise convolution.

    Args:
        images: Input of the convolution, [n, channels, h, w].
        gradient: Gradient of its output, [n, channels, h', w'].
        kernel: Height and width.
        stride: Stride in both directions.
        padding: Padding in both directions.
    """
    count, channels = images.shape[:2]
    planes = count * channels
    padded = nn.functional.pad(images, (padding[1], padding[1], padding[0], padding[0]))
    rows = padded.transpose(0, 1).reshape(1, planes, *padded.shape[2:])
    kernels = gradient.transpose(0, 1).reshape(planes, 1, *gradient.shape[2:])
    gradients = torch.conv2d(rows, kernels, dilation=stride, groups=planes)[:, :, : kernel[0], : kernel[1]]
    return gradients.view(channels, count, *kernel).float().sum(1, keepdim=True)


def image_gradient(
    weight: torch.Tensor, gradient: torch.Tensor, size: tuple[int, int], stride: Any, padding: Any
) -> torch.Tensor:
    """Gradient of the input, [n, channels, *size], of a depthwise convolution.

    Args:
        weight: Weights of the convolution, [channels, 1, kernel height, kernel width].
        gradient: Gradient of its output, [n, channels, h', w'].
        size: Height and width of the input.
        stride: Stride in both directions.
        padding: Padding in both directions, smaller than the kernel.
    """
    kernel = weight.shape[2:]
    unstrided = [size[axis] + 2 * padding[axis] - kernel[axis] + 1 for axis in (0, 1)]
    last = gradient.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    spread = torch.empty(*gradient.shape[:2], *unstrided, dtype=gradient.dtype, memory_format=layout).zero_()
    spread[:, :, :: stride[0], :: stride[1]] = gradient
    around = [kernel[axis] - 1 - padding[axis] for axis in (0, 1)]
    return torch.conv2d(spread, weight.flip(2, 3), padding=around, groups=len(weight))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Any, padding: Any
    ) -> torch.Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(images, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        of_images = of_bias = None
        if ctx.needs_input_grad[0] and gradient.dtype == torch.bfloat16 and max(stride) > 1:
            of_images = image_gradient(weight, gradient, images.shape[2:], stride, padding)
        elif ctx.needs_input_grad[0]:
            of_images = conv2d_input(images.shape, weight, gradient, stride, padding, groups=len(weight))
        if _has_fast_weight_gradient(images, weight):
            of_weight = weight_gradient(images, gradient, weight.shape[2:], stride, padding).to(weight.dtype)
        else:
            of_weight = conv2d_weight(images, weight.shape, gradient, stride, padding, groups=len(weight))
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_images, of_weight, of_bias, None, None


def _convolve(module: nn.Conv2d, images: torch.Tensor, padding: Any) -> torch.Tensor:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype
    bias = None if module.bias is None else module.bias.to(dtype)
    out: torch.Tensor = _Convolution.apply(images.to(dtype), module.weight.to(dtype), bias, module.stride, padding)
    return out


def _needs_gradient(module: nn.Conv2d, images: torch.Tensor) -> bool:
    return module.training and torch.is_grad_enabled() and module.weight.requires_grad and images.device.type == "cpu"


def _has_fast_weight_gradient(images: torch.Tensor, weight: torch.Tensor) -> bool:
    side = min(weight.shape[2:])
    slow = images.dtype != torch.bfloat16 and images.is_contiguous(memory_format=torch.channels_last)
    return side >= (VERY_LARGE if slow else LARGE)


def _is_faster(module: nn.Conv2d) -> bool:
    return (
        module.groups == module.in_channels == module.out_channels
        and module.groups > 1
        and (min(module.kernel_size) >= LARGE or max(module.stride) > 1)
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and all(pad < side for pad, side in zip(module.padding, module.kernel_size, strict=True))
    )
