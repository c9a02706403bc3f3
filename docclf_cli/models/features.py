"""What a network computes on its way to an answer: the features of several depths, one vector a page."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn


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
        self._latest[0] = inputs[0].float().flatten(1)

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
