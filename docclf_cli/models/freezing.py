"""What of a network stays as it is while the rest is trained: all but its new parts, its first stages, the statistics of its norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from timm.models import group_modules
from torch import nn

from docclf_cli.errors import InputError
from docclf_cli.models.batch_norm import norms_of
from docclf_cli.models.factory import new_parts
from docclf_cli.profile.schema import TrainConfig

DENSEST = 4  # pixels of a page in each direction for a pixel of the map that a stage makes


@dataclass(frozen=True)
class Freezing:
    """What stays as it is.

    Attributes:
        backbone: Everything but the parts that have no pretrained weights: classifier and attention.
        stages: So many first stages, with the statistics of their norms, or `auto` (`first_stages`).
        norms: The statistics of all batch norms.
    """

    backbone: bool = False
    stages: int | Literal["auto"] = 0
    norms: bool = False

    @classmethod
    def in_epoch(cls, config: TrainConfig, epoch: int) -> Freezing:
        """What stays as it is in an epoch, counted from 0."""
        return cls(epoch < config.freeze_epochs, config.frozen_stages, config.batch_norm == "frozen")

    @property
    def keeps_norms(self) -> bool:
        """Whether some norms keep their statistics in all epochs, so that it pays to fold them."""
        return self.norms or self.stages != 0


def set_mode(model: nn.Module, frozen: Freezing) -> None:
    """Put a network into training mode, but for what is frozen.

    Raises:
        InputError: It has no more stages than are to be frozen.
    """
    model.train(not frozen.backbone)
    model.requires_grad_(not frozen.backbone)
    if frozen.backbone:
        for part in new_parts(model):
            part.train().requires_grad_(True)
    for module in first_stages(model, frozen.stages):
        module.eval().requires_grad_(False)
    if frozen.norms:
        for norm in norms_of(model).values():
            norm.eval()


def first_stages(model: nn.Module, count: int | Literal["auto"]) -> list[nn.Module]:
    """The layers with parameters of the first stages, as timm groups them: the stem, then stages of blocks, in transformers blocks.

    Args:
        model: A timm model.
        count: How many stages; `auto` are those that see at least every fourth pixel of a row (`DENSEST`): none of a network that
            begins with larger patches, or that does not say what it sees.

    Raises:
        InputError: The network has no more stages than that.
    """
    if count == 0:
        return []
    matcher: Any = model.group_matcher(coarse=True)  # type: ignore[operator]
    names = group_modules(model, matcher)
    stages = [names[stage] for stage in sorted(names)]
    if count == "auto":
        last = _last_dense(model)
        count = 1 + max((n for n, stage in enumerate(stages) if _holds(stage, last)), default=-1) if last else 0
    if count >= len(stages):
        raise InputError(
            f"train.frozen_stages: {count} would leave nothing to train, for the network has {len(stages)} stages with its classifier",
            f"choose less than {len(stages)}, or auto",
        )
    return [model.get_submodule(name) for stage in stages[:count] for name in stage]


def _last_dense(model: Any) -> str:
    """The name of the last module whose output has a column for every `DENSEST` pixels or fewer; empty if there is none."""
    features = getattr(model, "feature_info", [])
    dense = [about["module"] for about in getattr(features, "info", features) if about["reduction"] <= DENSEST]
    return dense[-1] if dense else ""


def _holds(stage: list[str], module: str) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for name in stage)
