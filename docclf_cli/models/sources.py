"""The initial weights of a model: from a file, an installed package, or the hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from docclf_cli.errors import CheckpointError
from docclf_cli.models.hub import hub_file, hub_origin
from docclf_cli.models.packages import find_packaged
from docclf_cli.models.weights import read_weights
from docclf_cli.profile.schema import ModelConfig

RANDOM = "its random initialisation"


@dataclass(frozen=True)
class Source:
    """Where the weights of a model come from.

    Attributes:
        origin: Description for messages.
        state: Weights to be fitted strictly, or None.
        file: A file of the hub, for timm to read and adapt, or None.
    """

    origin: str
    state: Mapping[str, torch.Tensor] | None = None
    file: Path | None = None


def find_weights(config: ModelConfig, name: str) -> Source:
    """The first weights of a model: `checkpoint_path`, else nothing unless `pretrained`, else package, cache, hub.

    Args:
        config: The model section.
        name: Its architecture, as timm calls it.

    Raises:
        CheckpointError: The file is missing, damaged or not a state dict.
        InputError: There are no pretrained weights of this architecture.
        RemoteError: The hub cannot be reached.
    """
    if config.checkpoint_path is not None:
        path = Path(config.checkpoint_path)
        return Source(str(path), state=read_weights(path))
    if not config.pretrained:
        return Source(RANDOM)
    if (packaged := find_packaged(name)) is not None:
        return Source(packaged.origin, state=packaged.read())
    file, origin = hub_file(name)
    return Source(origin, file=file)


def weights_origin(config: ModelConfig, name: str) -> str:
    """Where `find_weights` would take the pretrained weights of a model from, without reading or fetching them.

    Raises:
        DocclfError: As `find_weights`, as far as that can be known without reading them.
    """
    if config.checkpoint_path is not None:
        if not Path(config.checkpoint_path).is_file():
            raise CheckpointError(f"{config.checkpoint_path}: there is no such file")
        return config.checkpoint_path
    packaged = find_packaged(name)
    return hub_origin(name) if packaged is None else packaged.origin


def has_package(name: str) -> bool:
    """Whether pip has installed pretrained weights of an architecture."""
    return find_packaged(name) is not None
