"""What goes through a network in a forward pass: what its classifier takes, and what inner stages give."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

_GRID = 4  # rows and columns of the fields that an inner stage is averaged over


class FeatureRecorder:
    """Remembers what the classifier of a network took in its latest forward pass.

    A hook works for every architecture of timm; their heads differ in what they do between features and classifier.

    Args:
        model: A timm model; of two classifiers (distilled transformers) the first counts.
    """

    def __init__(self, model: nn.Module) -> None:
        found: Any = model.get_classifier()  # type: ignore[operator]
        classifier = found[0] if isinstance(found, tuple) else found
        classifier.register_forward_pre_hook(self._record)
        self._latest = torch.empty(0)

    def _record(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._latest = inputs[0]

    def take(self) -> torch.Tensor:
        """The features of the latest forward pass, float32 [n, width]."""
        latest, self._latest = self._latest, torch.empty(0)
        return latest.float().flatten(1)


class StageRecorder:
    """Remembers two inner stages of a network in its latest forward pass, averaged over the fields of a coarse grid.

    How a page lies is seen there: what the classifier takes was trained to be the same for turned and mirrored pages.

    Args:
        model: A timm model.
        modules: Names of the modules whose outputs are the stages.
    """

    def __init__(self, model: nn.Module, modules: Sequence[str]) -> None:
        self._prefix_tokens = int(getattr(model, "num_prefix_tokens", 0))
        self._latest: dict[str, torch.Tensor] = {}
        self._modules = tuple(modules)
        for name in modules:
            model.get_submodule(name).register_forward_hook(functools.partial(self._record, name))

    @classmethod
    def of(cls, model: nn.Module) -> StageRecorder | None:
        """A recorder of the stages at half and three quarters of the depth; None where timm names no stages of the model."""
        info: Any = getattr(model, "feature_info", None)
        modules = [one["module"] for one in info] if isinstance(info, list) else []
        if len(modules) < 3:
            return None
        last = len(modules) - 1
        return cls(model, [modules[last // 2], modules[3 * last // 4]])

    def _record(self, name: str, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        found = output[0] if isinstance(output, tuple) else output
        if found.dim() == 3:  # tokens, those of patches last
            patches = found[:, self._prefix_tokens :]
            side = math.isqrt(patches.shape[1])
            found = patches[:, : side * side].transpose(1, 2).unflatten(2, (side, side))
        elif found.shape[1] == found.shape[2] and found.shape[2] != found.shape[3]:  # channels last
            found = found.permute(0, 3, 1, 2)
        self._latest[name] = nn.functional.adaptive_avg_pool2d(found.float(), _GRID).flatten(1)

    def take(self) -> torch.Tensor:
        """The stages of the latest forward pass, float32 [n, width]."""
        latest, self._latest = self._latest, {}
        return torch.cat([latest[name] for name in self._modules], dim=1)
