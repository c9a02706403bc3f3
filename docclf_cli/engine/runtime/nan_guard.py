"""Finds losses, gradients and weights that are not finite, so that they are neither trained on nor saved."""

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
    """Return the name of the first tensor with an infinite or NaN value; empty if all are finite."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return name
    return ""


class StepMetrics:
    """The metrics of an optimizer step, on their way from the device to the host, which may queue more work meanwhile.

    Args:
        values: Losses of the micro-batches and the norm of the gradient, [micro_batches + 1].
        step: Number of the step in the fit, counted from 1.
        weight: Weight of its loss in the mean of the epoch.
        rows: Rows of the pages of each micro-batch.
    """

    def __init__(self, values: torch.Tensor, step: int, weight: float, rows: Sequence[np.ndarray]) -> None:
        self.step = step
        self.weight = weight
        self.rows = rows
        self._values = values
        self._copied = None
        if values.is_cuda:
            self._values = values.to("cpu", non_blocking=True)
            self._copied = torch.cuda.current_stream(values.device).record_event()

    def read(self) -> list[float]:
        """Wait until the device has computed the values, and return them."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._values.tolist()


class Buffers:
    """A copy of a model's buffers (running statistics of batch norms), to undo a step that is skipped.

    A forward pass changes buffers before the loss is known.
    """

    def __init__(self, buffers: Iterable[torch.Tensor]) -> None:
        self._buffers = list(buffers)
        self._copies = [buffer.clone() for buffer in self._buffers]

    def restore(self) -> None:
        """Restore the buffers."""
        with torch.no_grad():
            for buffer, copy in zip(self._buffers, self._copies, strict=True):
                buffer.copy_(copy)


def gradient_norm(parameters: Iterable[torch.nn.Parameter], max_norm: float | None) -> torch.Tensor:
    """Clip all gradients to `max_norm` (None does not clip), and return their norm before, a scalar on their device."""
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    if max_norm is not None:
        return torch.nn.utils.clip_grad_norm_(with_gradient, max_norm)
    return torch.nn.utils.get_total_norm(parameter.grad for parameter in with_gradient)  # type: ignore[misc]
