"""What a network computes on its way to an answer: the features of several depths, one vector a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

_GRID = 4  # rows and columns of the fields that an inner stage is averaged over


class FeatureRecorder:
    """Remembers what the latest forward pass computed: what the classifier took, and what the last two stages gave.

    A map of a stage counts by its mean, largest value and standard deviation over the page. Pages of classes that
    training never saw stand out in the stages better than before the classifier, which keeps only what tells the known
    classes apart (docs/unknown.md). Hooks work for every architecture of timm, which lists the stages in
    `feature_info`.

    Args:
        model: A timm model; of two classifiers (distilled transformers) the first counts.
    """

    def __init__(self, model: nn.Module) -> None:
        found: Any = model.get_classifier()  # type: ignore[operator]
        classifier = found[0] if isinstance(found, tuple) else found
        classifier.register_forward_pre_hook(self._take_input)
        channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        for place, stage in enumerate(_last_stages(model), 1):
            stage.register_forward_hook(partial(self._take_maps, place, channels_last))
        self._latest = dict[int, torch.Tensor]()  # by place; a pass that ran out of memory is overwritten by the next
        self.widths: tuple[int, ...] = ()  # of the parts of the features; known after a forward pass

    def _take_input(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._latest[0] = inputs[0].detach().float().flatten(1)  # a parameter, in a model that only reads

    def _take_maps(self, place: int, channels_last: bool, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim in (3, 4):
            self._latest[place] = pooled(output, channels_last or output.ndim == 3)

    def take(self) -> torch.Tensor:
        """The features of the latest forward pass, the classifier's input first, float32 [n, sum of `widths`]."""
        parts = [part for _, part in sorted(self._latest.items())]
        self._latest = {}
        self.widths = tuple(part.shape[1] for part in parts)
        return torch.cat(parts, dim=1)

    def classifier_input(self, features: torch.Tensor) -> torch.Tensor:
        """The part of features (`take`) that the classifier took, float32 [n, width]."""
        return features[:, : self.widths[0]]


def pooled(maps: torch.Tensor, channels_last: bool) -> torch.Tensor:
    """Mean, maximum and standard deviation of each map over the page, float32 [n, 3 * channels].

    Args:
        maps: [n, channels, height, width]; or [n, height, width, channels] or [n, tokens, channels].
        channels_last: Which of them it is.
    """
    values = (maps.movedim(-1, 1) if channels_last else maps).flatten(2).float()
    return torch.cat([values.mean(2), values.amax(2), values.std(2, unbiased=False)], dim=1)


def _last_stages(model: nn.Module) -> list[nn.Module]:
    """The stage before the last one, and the last one; none where a model does not list its stages."""
    listed = [one["module"] for one in getattr(model, "feature_info", None) or []]
    if len(listed) < 2:
        return []
    modules = dict(model.named_modules())
    container, _, number = listed[-1].rpartition(".")
    before = f"{container}.{int(number) - 1}" if number.isdigit() else listed[-2]  # some stages are not listed
    return [modules[name] for name in (before if before in modules else listed[-2], listed[-1]) if name in modules]


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
            model.get_submodule(name).register_forward_hook(partial(self._record, name))

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
