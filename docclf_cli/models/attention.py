"""Self-attention over the last feature map of a convolutional network."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

HEAD_WIDTH = 64
ATTENTION_PREFIX = "feature_attention."


class FeatureAttention(nn.Module):
    """Pre-norm multi-head self-attention between the positions of a feature map, added to it.

    `x + out(attention(norm(x)))` with queries, keys and values of width `dim` (Vaswani et al. 2017; the pre-norm
    residual form of Dosovitskiy et al. 2021). Each position of the map is a token, so that a stamp at the bottom of
    a page can be read together with the heading. The output projection starts at zero: with pretrained weights the
    network begins as it was without the block, which then learns.

    Args:
        channels: Channels of the feature map.
        dim: Width of the attention; heads are about 64 wide.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.heads = next(count for count in range(max(1, dim // HEAD_WIDTH), 0, -1) if dim % count == 0)
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * dim)
        self.out = nn.Linear(dim, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """From [n, channels, height, width] to the same shape."""
        tokens = self.norm(features.flatten(2).transpose(1, 2))
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        added = self.out(mixed.transpose(1, 2).flatten(2))
        return features + added.transpose(1, 2).unflatten(2, features.shape[2:])


def add_attention(model: Any, channels: int, dim: int) -> None:
    """Put a `FeatureAttention` between the features and the head of a timm model, in place.

    The model's class becomes a subclass of its own: parameter names, layer groups, the classifier and the weight
    decay exemptions stay what timm knows them to be, which a module around the model would have to repeat.
    """
    architecture: Any = type(model)

    def forward_features(self: Any, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.feature_attention(architecture.forward_features(self, images))
        return features

    members = {"forward_features": forward_features, "__module__": architecture.__module__}
    model.feature_attention = FeatureAttention(channels, dim)
    model.__class__ = type(f"Attending{architecture.__name__}", (architecture,), members)
