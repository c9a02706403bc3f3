"""Validates the content of checkpoints: a checksum proves that a file is intact, not that its content is valid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.errors import CheckpointError
from docclf_cli.profile.schema import AugmentationConfig, ModelConfig, Natural, Positive, Profile

Channels = tuple[float, float, float]
LONGEST_NAME, _LARGEST_SIDE = 512, 4096


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a class appears twice")
    return names


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True, protected_namespaces=())


class _Preprocess(_Part):
    size: Annotated[int, Field(ge=1, le=_LARGEST_SIDE, strict=True)]
    resize_mode: str
    mean: Channels
    std: tuple[Positive, Positive, Positive]
    interpolation: str


def _preprocess(stored: Any) -> Preprocess:
    return Preprocess(**_Preprocess.model_validate(stored).model_dump())


class CheckpointSchema(_Part):
    """The validated content of a checkpoint except its weights."""

    architecture: ModelConfig = Field(alias="model_config")
    class_names: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)], ...],
        Field(min_length=1),
        AfterValidator(_distinct),
    ]
    preprocess: Annotated[Preprocess, BeforeValidator(_preprocess)]
    augmentation: AugmentationConfig
    profile: Profile
    epoch: Natural
    temperature: Positive
    metrics: dict[str, Annotated[float, Field(allow_inf_nan=True)]] = Field(
        validation_alias=AliasChoices("metrics", "figures")  # "figures": checkpoints of the first versions
    )
    training: dict[str, Any]
    novelty: dict[str, torch.Tensor] = Field(default_factory=dict)  # checkpoints of earlier versions have none
    text: dict[str, torch.Tensor] = Field(default_factory=dict)
    orientation: dict[str, torch.Tensor] = Field(default_factory=dict)  # likewise
    boundaries: dict[str, torch.Tensor] = Field(default_factory=dict)  # only where packets were asked for
    adapted: dict[str, Any] = Field(default_factory=dict)  # only in files of `adapt`


def checked_contents(path: Path, content: Mapping[str, Any]) -> CheckpointSchema:
    """Validate the content of a checkpoint file except its weights.

    Raises:
        CheckpointError: A value is not valid; it is named.
    """
    try:
        return CheckpointSchema.model_validate(dict(content))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise CheckpointError(f"{path}: not a checkpoint of docclf ({place}: {fault['msg']})") from error


def checked_weights(path: Path, weights: Any) -> dict[str, torch.Tensor]:
    """Validate that weights are tensors by name.

    Raises:
        CheckpointError: They are not.
    """
    if isinstance(weights, Mapping) and weights:
        found = dict(weights)
        if all(
            isinstance(name, str) and isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
            for name, tensor in found.items()
        ):
            return found
    raise CheckpointError(f"{path}: not a checkpoint of docclf (model: not weights by name)")
