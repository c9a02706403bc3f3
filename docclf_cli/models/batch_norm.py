"""Statistics of batch norms: those of the training, mixed with those of other pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

MEAN, VARIANCE = "running_mean", "running_var"


@dataclass(frozen=True)
class Moments:
    """Mean and variance (of the population) of each channel, float64 [channels]."""

    mean: torch.Tensor
    variance: torch.Tensor


@dataclass
class _Sums:
    """Sums over everything that a norm was given, float64 [channels]."""

    count: int = 0
    first: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    second: torch.Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, count: int, moments: Moments) -> None:
        self.count += count
        self.first = self.first + count * moments.mean
        self.second = self.second + count * (moments.variance + moments.mean**2)

    @property
    def moments(self) -> Moments:
        mean = self.first / self.count
        return Moments(mean, (self.second / self.count - mean**2).clamp(min=0))


def norms_of(model: nn.Module) -> dict[str, _BatchNorm]:
    """The batch norms of a network that have statistics, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None
    }


def share_of_new(pages: int, prior: float) -> float:
    """How much new pages count in a mixture, where what is known counts as much as `prior` pages (0 to infinity)."""
    return pages / (pages + prior) if pages else 0.0


def mixed(known: Moments, new: Moments, share: float) -> Moments:
    """The moments of a mixture, in which `share` is new: two different means make its variance larger than both."""
    mean = (1 - share) * known.mean + share * new.mean
    variance = (1 - share) * known.variance + share * new.variance
    return Moments(mean, variance + share * (1 - share) * (known.mean - new.mean) ** 2)


@torch.no_grad()
def adapted_statistics(
    model: nn.Module, batches: Iterable[torch.Tensor], pages: int, prior: float
) -> dict[str, torch.Tensor]:
    """The statistics of all batch norms, mixed with those of other pages (Schneider et al. 2020).

    One pass. In each batch a norm mixes what it knows with the moments of the batch, and normalises with the mixture, so that the
    layers after it see pages as they will be seen. The moments of all batches together are what is mixed in the end; of one batch
    this is exact.

    Args:
        model: In evaluation mode; it is left with other statistics.
        batches: Input of the network, [n, 3, size, size], on its device.
        pages: How many pages they hold together.
        prior: As how many pages the statistics of the network count.

    Returns:
        The entries of the state dict that change, by name, in their format and on their device. A norm that no page reaches has none.
    """
    share = share_of_new(pages, prior)
    norms = norms_of(model)
    known = {name: _moments_of(norm) for name, norm in norms.items()}
    sums = {name: _Sums() for name in norms}

    def mixing(name: str) -> torch.utils.hooks.RemovableHandle:
        def mix(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            values = inputs[0].float()
            variance, mean = torch.var_mean(values, [axis for axis in range(values.ndim) if axis != 1], correction=0)
            batch = Moments(mean.double(), variance.double())
            sums[name].add(values.numel() // values.shape[1], batch)
            _set(norm, mixed(known[name], batch, share))

        return norms[name].register_forward_pre_hook(mix)

    handles = [mixing(name) for name in norms]
    for batch in batches:
        model(batch)
    for handle in handles:
        handle.remove()
    found = dict[str, torch.Tensor]()
    for name, norm in norms.items():
        if sums[name].count:
            _set(norm, mixed(known[name], sums[name].moments, share))
            found |= {f"{name}.{kind}": getattr(norm, kind) for kind in (MEAN, VARIANCE)}
    return found


def _moments_of(norm: _BatchNorm) -> Moments:
    assert norm.running_mean is not None and norm.running_var is not None
    return Moments(norm.running_mean.double(), norm.running_var.double())


def _set(norm: nn.Module, moments: Moments) -> None:
    getattr(norm, MEAN).copy_(moments.mean)
    getattr(norm, VARIANCE).copy_(moments.variance)
