"""The focal rule (Lin et al. 2017), for the loss of a profile and for models that carry their own."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def focal_penalty(alpha: float, gamma: float) -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """`-alpha (1 - p)^gamma log p` as a function of log p; alpha times cross entropy at gamma 0."""

    def penalty(log_probs: "torch.Tensor") -> "torch.Tensor":
        # Where p rounds to 1 and gamma is below 1, the slope of (1 - p)^gamma is infinite; times log p = 0 that is nan.
        missing = (-log_probs.expm1()).clamp_min(1e-12)
        return -alpha * missing**gamma * log_probs

    return penalty
