"""Numbers that are none: never trained on, never saved, never read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

LOWER = (
    "lower --lr, or clip harder (--set train.clip_grad=0.5); the last good checkpoints are still there: --resume RUN "
    "--allow-changes continues from them"
)


def not_finite(weights: Mapping[str, Any]) -> str:
    """Name of the first tensor that holds an infinite number or none; empty where all are finite."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return name
    return ""


class StepMetrics:
    """The metrics of an optimizer step, on their way from the device to the host, which may queue more work meanwhile.

    Args:
        values: Losses of the parts of the step and the norm of its gradient [parts + 1].
        step: Which step of the fit it is, counted from 1.
        weight: What its loss weighs in the mean of the epoch.
        rows: The pages that each part was made of.
    """

    def __init__(self, values: torch.Tensor, step: int, weight: float, rows: Sequence[np.ndarray]) -> None:
        self.step, self.weight, self.rows = step, weight, rows
        self._values, self._there = values, None
        if values.is_cuda:
            self._values = values.to("cpu", non_blocking=True)
            self._there = torch.cuda.current_stream(values.device).record_event()

    def read(self) -> list[float]:
        """The values, as soon as the device has come to them."""
        if self._there is not None:
            self._there.synchronize()
        return self._values.tolist()


class Buffers:
    """Buffers of a model (running means of batch norms) as they were, for a step that turns out not to count.

    A forward pass changes them before the loss is known.
    """

    def __init__(self, buffers: Iterable[torch.Tensor]) -> None:
        self._buffers = list(buffers)
        self._kept = [buffer.clone() for buffer in self._buffers]

    def restore(self) -> None:
        """Put them back."""
        with torch.no_grad():
            for buffer, kept in zip(self._buffers, self._kept, strict=True):
                buffer.copy_(kept)


def gradient_norm(parameters: Iterable[torch.nn.Parameter], largest: float | None) -> torch.Tensor:
    """The norm of all gradients before they are clipped to `largest` (None leaves them), a scalar on their device."""
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    if largest is not None:
        return torch.nn.utils.clip_grad_norm_(with_gradient, largest)
    return torch.nn.utils.get_total_norm(parameter.grad for parameter in with_gradient)  # type: ignore[misc]
