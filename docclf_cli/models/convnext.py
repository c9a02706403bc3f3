"""ConvNeXt and its variants from Python, with the arguments of the seed framework."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import ModelConfig


def create_convnext_model(
    model_name: str = "convnext_tiny",
    num_classes: int = 17,
    dropout_rate: float = 0.1,
    pretrained: bool = True,
    use_attention: bool = False,
    attention_dim: int = 256,
    use_focal_loss: bool = False,
    alpha: float = 1.0,
    gamma: float = 2.0,
) -> nn.Module:
    """A ConvNeXt (Liu et al. 2022), optionally with attention over its last feature map, or with a focal loss.

    Args:
        model_name: `convnext_tiny`, `_small`, `_base`, `_large` (28, 50, 88, 198 million parameters), or any timm name.
        num_classes: Length of the class axis of the logits.
        dropout_rate: Dropout before the classifier.
        pretrained: Start from ImageNet weights.
        use_attention: Add `docclf_cli.models.attention.FeatureAttention`.
        attention_dim: Its width.
        use_focal_loss: Give the model a `loss_fn(logits, targets)`, the mean focal loss of a batch.
        alpha: Factor of the focal loss.
        gamma: Focusing exponent of the focal loss.

    Returns:
        A model from float [n, 3, height, width] to logits [n, num_classes].

    Raises:
        InputError: timm has no such model.
        RemoteError: The pretrained weights cannot be reached.
    """
    config = ModelConfig(
        name=model_name,
        model_name=model_name,
        pretrained=pretrained,
        dropout_rate=dropout_rate,
        use_attention=use_attention,
        attention_dim=attention_dim,
        use_focal_loss=use_focal_loss,
        alpha=alpha,
        gamma=gamma,
    )
    model = create_model(config, num_classes)
    if use_focal_loss:
        model.loss_fn = partial(focal_loss, alpha=alpha, gamma=gamma)  # type: ignore[assignment]
    return model


def focal_loss(logits: torch.Tensor, targets: torch.Tensor, *, alpha: float, gamma: float) -> torch.Tensor:
    """Mean of `-alpha (1 - p)^gamma log p` over a batch (Lin et al. 2017); a test compares it with `training.losses`.

    Args:
        logits: float [n, num_classes].
        targets: int64 [n], the class of each page.
        alpha: Factor.
        gamma: Focusing exponent.

    Returns:
        A scalar.
    """
    log_prob = -F.cross_entropy(logits, targets, reduction="none")
    # Where p rounds to 1 the slope of (1 - p)^gamma is infinite for gamma below 1; times log p = 0 that is nan.
    missing = (-log_prob.expm1()).clamp_min(1e-12)
    return (-alpha * missing**gamma * log_prob).mean()
