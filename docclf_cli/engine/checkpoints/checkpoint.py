"""Reads and writes checkpoints: self-describing files that are written atomically and read as data, never as code."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.engine.checkpoints.provenance import versions
from docclf_cli.engine.checkpoints.run_folder import NO_CHECKPOINT
from docclf_cli.engine.checkpoints.schema import checked_contents, checked_weights
from docclf_cli.engine.runtime.nan_guard import LOWER, not_finite
from docclf_cli.ensembling.text_branch import TextBranch
from docclf_cli.errors import CheckpointError, DivergedError, InputError
from docclf_cli.files import bring_back_previous, previous_of, save_with
from docclf_cli.models.factory import create_model
from docclf_cli.models.weights import read_data
from docclf_cli.profile.schema import AugmentationConfig, ModelConfig

FORMAT_VERSION = 1
logger = logging.getLogger("docclf")
_REQUIRED = ("format_version", "model", "model_config", "class_names", "preprocess", "digest")


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to predict with a model and, in `training`, to resume training it.

    Attributes:
        model: State dict of the network.
        model_config: What `create_model` builds it from.
        class_names: Names along the class axis.
        preprocess: How a page becomes the input.
        augmentation: The augmentation policy of training, which decides the default TTA views.
        profile: The resolved profile, as plain data.
        epoch: Number of epochs the weights were trained for.
        temperature: Divides the logits; 1 if none was fitted.
        metrics: Validation metrics of the weights.
        training: Optimizer, schedule, EMA and position; empty in files for prediction only.
        novelty: `NoveltyModel.to_arrays`, which tells unknown pages; empty where none was fitted.
        text: `TextBranch.to_arrays`; empty where the model does not read.
        orientation: `OrientationModel.to_arrays`, which tells how a page lies; empty where none was fitted.
        boundaries: `BoundaryModel.to_arrays`, which splits packets; empty unless `train.packets` asked for it.
        adapted: Where `adapt` took its batch-norm statistics from, as plain data; empty in every other file.
    """

    model: Mapping[str, torch.Tensor]
    model_config: ModelConfig
    class_names: tuple[str, ...]
    preprocess: Preprocess
    augmentation: AugmentationConfig
    profile: Mapping[str, Any]
    epoch: int
    temperature: float = 1.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    novelty: Mapping[str, np.ndarray] = field(default_factory=dict)
    text: Mapping[str, np.ndarray] = field(default_factory=dict)
    orientation: Mapping[str, np.ndarray] = field(default_factory=dict)
    boundaries: Mapping[str, np.ndarray] = field(default_factory=dict)
    adapted: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the file atomically: after a crash either the old or the new one is there.

        Raises:
            DivergedError: Weights, or their moving average, are not finite; the file is not changed.
            ResourceError: The disk is full, or the folder cannot be written to.
        """
        if name := not_finite(self.model) or not_finite(self.training.get("ema") or {}):
            raise DivergedError(f"{path} is not written: the weights of '{name}' are NaN or infinite", LOWER)
        content: dict[str, Any] = {
            "model": dict(self.model),
            "model_config": self.model_config.model_dump(mode="json"),
            "class_names": [str(name) for name in self.class_names],
            "preprocess": self.preprocess.to_dict(),
            "augmentation": self.augmentation.model_dump(mode="json"),
            "profile": dict(self.profile),
            "epoch": self.epoch,
            "temperature": self.temperature,
            "metrics": dict(self.metrics),
            "training": dict(self.training),
            "novelty": {name: torch.from_numpy(np.array(value)) for name, value in self.novelty.items()},
            "text": {name: torch.from_numpy(np.array(value)) for name, value in self.text.items()},
            "orientation": {name: torch.from_numpy(np.array(value)) for name, value in self.orientation.items()},
            "versions": versions(),
            "format_version": FORMAT_VERSION,
        }
        if self.boundaries:
            content["boundaries"] = {name: torch.from_numpy(np.array(one)) for name, one in self.boundaries.items()}
        if self.adapted:
            content["adapted"] = dict(self.adapted)
        content = _canonical(content)
        content["digest"] = _digest(content)
        save_with(path, lambda file: torch.save(content, file))

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read and verify a file that `save` wrote.

        Raises:
            CheckpointError: It is missing, damaged, of another kind or version, or its weights are not finite.
        """
        content = _read(path)
        if missing := [key for key in _REQUIRED if key not in content]:
            raise CheckpointError(
                f"{path}: not a checkpoint of docclf (no '{missing[0]}' in it)",
                "plain weights can be a starting point: --set model.checkpoint_path=FILE",
            )
        version = content["format_version"]
        if type(version) is not int or version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: format version {' '.join(str(version).split())[:20]}, this docclf reads {FORMAT_VERSION}"
            )
        _verify(path, content)
        found = checked_contents(path, content)
        checkpoint = cls(
            model=checked_weights(path, content["model"]),
            model_config=found.architecture,
            class_names=found.class_names,
            preprocess=found.preprocess,
            augmentation=found.augmentation,
            profile=found.profile.model_dump(mode="json", exclude={"name", "output"}),
            epoch=found.epoch,
            temperature=found.temperature,
            metrics=found.metrics,
            training=found.training,
            novelty={name: tensor.numpy() for name, tensor in found.novelty.items()},
            text={name: tensor.numpy() for name, tensor in found.text.items()},
            orientation={name: tensor.numpy() for name, tensor in found.orientation.items()},
            boundaries={name: tensor.numpy() for name, tensor in found.boundaries.items()},
            adapted=found.adapted,
        )
        if name := not_finite(checkpoint.model):
            raise CheckpointError(f"{path}: the weights of '{name}' are NaN or infinite", "use an earlier checkpoint")
        return checkpoint

    @classmethod
    def load_newest(cls, path: Path) -> Checkpoint | None:
        """Load a file or, if it is damaged, the previous version, which then replaces it; None if there is neither.

        Only the process that writes to the folder may call this.
        """
        previous = previous_of(path)
        if not path.exists() and not previous.exists():
            return None
        try:
            return cls.load(path)
        except CheckpointError as error:
            if not previous.exists():
                raise
            logger.warning("%s; resuming from the checkpoint before it", error.message)
            before = cls.load(previous)
            bring_back_previous(path)
            return before

    def text_branch(self, path: Path | None = None) -> TextBranch | None:
        """The text branch; None where the model does not read.

        Raises:
            CheckpointError: What is stored is no text branch for these classes.
        """
        if not self.text:
            return None
        try:
            return TextBranch.from_arrays(self.text, len(self.class_names))
        except ValueError as error:
            prefix = f"{path}: " if path else ""
            raise CheckpointError(f"{prefix}{error}", "use another checkpoint of the run") from error

    def build(self, path: Path | None = None) -> torch.nn.Module:
        """Build the network with its weights, in evaluation mode.

        Raises:
            CheckpointError: The weights do not fit the architecture, or timm has none of that name.
        """
        prefix = f"{path}: " if path else ""
        size = self.preprocess.size
        try:
            model = create_model(self.model_config, len(self.class_names), weights=False, image_size=size)
            model.load_state_dict(dict(self.model))
        except InputError as error:
            raise CheckpointError(f"{prefix}{error.message}", error.hint) from error
        except RuntimeError as error:
            raise CheckpointError(f"{prefix}the weights do not fit {self.model_config.model_name}: {error}") from error
        return model.eval()


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint file for a path: the file itself, or a run folder's `best.ckpt`.

    Raises:
        CheckpointError: There is none.
    """
    if path.is_file():
        return path
    if (best := path / "best.ckpt").is_file():
        return best
    if path.is_dir():
        raise CheckpointError(
            f"{path}: no best.ckpt in this folder",
            "name a checkpoint file, or the folder of a finished run; pages to score are named by --data",
        )
    raise CheckpointError(f"{path}: there is no such checkpoint", NO_CHECKPOINT)


def _read(path: Path) -> dict[str, Any]:
    content = read_data(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of docclf")
    return content


def _verify(path: Path, content: dict[str, Any]) -> None:
    stated = content.pop("digest")
    try:
        fits = bool(isinstance(stated, str) and stated == _digest(content))
    except (RuntimeError, TypeError, AttributeError):  # content that checkpoints never have, such as sparse tensors
        fits = False
    if not fits:
        raise CheckpointError(f"{path}: damaged: its checksum does not match", "use another checkpoint of the run")


def _canonical(value: Any) -> Any:
    """Copy nested plain data so that equal data pickles to equal bytes.

    Pickle writes an object once and refers to it afterwards, so equal texts that are different objects give other bytes;
    and the hash of the file is part of the fingerprint of predictions.
    """
    if isinstance(value, str):
        return sys.intern(str(value))
    if isinstance(value, Mapping):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_canonical, value))
    return value


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 over every key, value and tensor byte of nested plain data."""
    digest = hashlib.sha256()
    for part in _parts(content):
        digest.update(part)
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype}{tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield repr(key).encode()
            yield from _parts(item)
    elif isinstance(value, list | tuple):
        yield f"[{len(value)}".encode()
        for item in value:
            yield from _parts(item)
    else:
        yield repr(value).encode()
