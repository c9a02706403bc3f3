"""Depthwise convolutions with large kernels, whose weights learn faster on a CPU.

The gradient of the weights is a convolution too: of each channel of each page with its own output gradient as the
kernel. Computed so, a 7 x 7 kernel over 56 x 56 pixels took 5 ms where the library's own took 27 to 131 (oneDNN through
torch 2.14, bfloat16, two cores); for 3 x 3 the library is the faster one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

SMALLEST = 5  # side of the kernels that gain


class DepthwiseConv2d(nn.Conv2d):
    """A convolution that is `nn.Conv2d` in everything but how its weights' gradient is computed on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Features [n, channels, h, w] to features of as many channels."""
        learns = self.training and torch.is_grad_enabled() and self.weight.requires_grad
        if not learns or input.device.type != "cpu":
            return super().forward(input)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        out: torch.Tensor = _Convolution.apply(input.to(dtype), self.weight.to(dtype), bias, self.stride, self.padding)
        return out


def quicken(model: nn.Module) -> nn.Module:
    """The same model, its large depthwise convolutions turned into `DepthwiseConv2d`; weights and names stay."""
    for module in model.modules():
        if type(module) is nn.Conv2d and _gains(module):
            # Made anew it would draw first weights, and change those of all layers after it.
            module.__class__ = DepthwiseConv2d
    return model


def weight_gradient(
    images: torch.Tensor, gradient: torch.Tensor, kernel: tuple[int, int], stride: Any, padding: Any
) -> torch.Tensor:
    """Gradient of the weights, float32 [channels, 1, *kernel], of a depthwise convolution.

    Args:
        images: What was convolved, [n, channels, h, w].
        gradient: Of its output, [n, channels, h', w'].
        kernel: Height and width.
        stride: Of the convolution, in both directions.
        padding: Of the convolution, in both directions.
    """
    count, channels = images.shape[:2]
    apart = count * channels
    padded = nn.functional.pad(images, (padding[1], padding[1], padding[0], padding[0]))
    rows = padded.transpose(0, 1).reshape(1, apart, *padded.shape[2:])
    kernels = gradient.transpose(0, 1).reshape(apart, 1, *gradient.shape[2:])
    found = torch.conv2d(rows, kernels, dilation=stride, groups=apart)[:, :, : kernel[0], : kernel[1]]
    return found.view(channels, count, *kernel).float().sum(1, keepdim=True)


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
        of_images = of_bias = None
        if ctx.needs_input_grad[0]:
            of_images = conv2d_input(images.shape, weight, gradient, ctx.stride, ctx.padding, groups=len(weight))
        of_weight = weight_gradient(images, gradient, weight.shape[2:], ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_images, of_weight.to(weight.dtype), of_bias, None, None


def _gains(module: nn.Conv2d) -> bool:
    return (
        module.groups == module.in_channels == module.out_channels
        and module.groups > 1
        and min(module.kernel_size) >= SMALLEST
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )
