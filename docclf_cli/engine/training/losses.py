"""Losses without reduction: the mean is a sum of losses divided by a sum of weights.

So gradient accumulation, uneven batches and several processes give the mean over the whole batch, not a mean of means. Targets are class indices (int64 [n]) or soft (float [n, num_classes], rows sum to 1).
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from docclf_cli.errors import InputError
from docclf_cli.models.focal import focal_penalty
from docclf_cli.profile.schema import Fraction, LossConfig, ModelConfig, NonNegative, Positive
from docclf_cli.registry import Registry

if TYPE_CHECKING:
    import torch

LOSSES: Registry[Callable[..., "Loss"]] = Registry("loss")


def _class_weights(value: object) -> object:
    if value is None or value == "balanced":
        return value
    if isinstance(value, list | tuple) and any(value):
        numbers = (isinstance(one, int | float) and not isinstance(one, bool) for one in value)
        if all(numbers) and all(0 <= one < math.inf for one in value):
            return value
    raise PydanticCustomError(
        "class_weights", "must be 'balanced' or a list of weights, one a class, none negative and not all 0"
    )


ClassWeights = Annotated[Any, PlainValidator(_class_weights)]


class Loss:
    """A sum over classes of target times a penalty of the class's log probability, weighted by class.

    Args:
        penalty: From log probabilities to penalties, element by element.
        smoothing: Share of each target that is spread evenly over all classes (Szegedy et al. 2016).
        class_weights: float [num_classes], or None for equal weights.
    """

    def __init__(
        self,
        penalty: Callable[["torch.Tensor"], "torch.Tensor"],
        smoothing: float = 0.0,
        class_weights: "torch.Tensor | None" = None,
    ) -> None:
        self.penalty, self.smoothing, self.class_weights = penalty, smoothing, class_weights

    def to(self, device: "torch.device | str") -> "Loss":
        """Return the same loss with its class weights on `device`."""
        weights = None if self.class_weights is None else self.class_weights.to(device)
        return Loss(self.penalty, self.smoothing, weights)

    def __call__(self, logits: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Compute the loss of each page, with class weights: [n].

        Args:
            logits: float [n, num_classes].
            targets: int64 [n], or float [n, num_classes].
        """
        soft = _soft(targets, logits) * (1 - self.smoothing) + self.smoothing / logits.shape[1]
        if self.class_weights is not None:
            soft = soft * self.class_weights.to(soft)
        return (soft * self.penalty(logits.log_softmax(dim=1))).sum(dim=1)

    def weights(self, targets: "torch.Tensor") -> "torch.Tensor":
        """Return the weight of each page in a mean, [n]: the class weight of its target, mixed as the target is."""
        import torch

        if self.class_weights is None:
            return torch.ones(len(targets), device=targets.device)
        if targets.is_floating_point():
            return targets @ self.class_weights.to(targets)
        return self.class_weights[targets]

    def mean(self, logits: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Compute the weighted mean over the pages, a scalar."""
        return self(logits, targets).sum() / self.weights(targets).sum()


@LOSSES.register("cross_entropy")
def cross_entropy(
    class_counts: Sequence[int], *, label_smoothing: Fraction = 0.0, class_weights: ClassWeights = None
) -> Loss:
    """Cross entropy, with label smoothing and class weights ('balanced', or one a class)."""
    return Loss(lambda log_probs: -log_probs, label_smoothing, _weights(class_weights, class_counts))


@LOSSES.register("focal")
def focal(
    class_counts: Sequence[int],
    *,
    alpha: Positive = 1.0,
    gamma: NonNegative = 2.0,
    label_smoothing: Fraction = 0.0,
    class_weights: ClassWeights = None,
) -> Loss:
    """Focal loss: alpha (1 - p)^gamma times cross entropy, so that easy pages count less (Lin et al. 2017)."""
    return Loss(focal_penalty(alpha, gamma), label_smoothing, _weights(class_weights, class_counts))


def build_loss(config: LossConfig, model: ModelConfig, class_counts: Sequence[int]) -> Loss:
    """Build the loss of a profile, which `loss` or `model.use_focal_loss` names.

    Args:
        config: The loss section.
        model: The model section.
        class_counts: Training pages of each class; 'balanced' weights are n / (classes x count).

    Raises:
        InputError: The two sections contradict each other, or parameters do not fit.
    """
    resolved = resolve_loss(config, model)
    loss: Loss = LOSSES.create(resolved.name, class_counts, **resolved.params)
    return loss


def resolve_loss(config: LossConfig, model: ModelConfig) -> LossConfig:
    """Return the loss section with `model.use_focal_loss` applied.

    The focal loss replaces plain cross entropy, the default; any other loss contradicts it.

    Raises:
        InputError: The two sections contradict each other.
    """
    if not model.use_focal_loss:
        return config
    stated = {"alpha": model.alpha, "gamma": model.gamma}
    entry = LOSSES.get(config.name)
    if entry.name == "focal":
        return LossConfig(name="focal", params=_merged(config.params, stated))
    untouched = all(entry.parameters.get(key) == value for key, value in config.params.items())
    if entry.name != "cross_entropy" or not untouched:
        raise InputError(
            f"model.use_focal_loss asks for the focal loss, and loss asks for {entry.name} {config.params}",
            "set model.use_focal_loss to false, or remove the loss",
        )
    return LossConfig(name="focal", params=stated)


def _merged(params: dict[str, Any], stated: dict[str, float]) -> dict[str, Any]:
    for key, value in stated.items():
        if params.get(key, value) != value:
            raise InputError(
                f"loss.params.{key} is {params[key]}, and model.{key} (with model.use_focal_loss) is {value}",
                "give it in one of the two places",
            )
    return {**params, **stated}


def _weights(class_weights: ClassWeights, class_counts: Sequence[int]) -> "torch.Tensor | None":
    import torch

    if class_weights is None:
        return None
    counts = torch.as_tensor(list(class_counts), dtype=torch.float64)
    if class_weights == "balanced":
        # A class without pages has weight 0 instead of an infinite one.
        weights = counts.sum() / ((counts > 0).sum() * counts)
        return weights.where(counts > 0, 0.0).float()
    if len(class_weights) != len(counts):
        raise InputError(f"loss.params.class_weights: {len(class_weights)} weights for {len(counts)} classes")
    return torch.tensor(class_weights, dtype=torch.float32)


def _soft(targets: "torch.Tensor", logits: "torch.Tensor") -> "torch.Tensor":
    from torch.nn import functional as F

    return targets if targets.is_floating_point() else F.one_hot(targets, logits.shape[1]).to(logits.dtype)
