"""What the classifier of a network takes: the features of the layer before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


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
