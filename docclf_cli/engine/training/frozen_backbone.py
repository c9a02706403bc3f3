"""Frozen backbones: what a classifier would take of a page, from pretrained weights or from a trained model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.engine.inference.predictor import Network
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.runtime.device import resolve_runtime
from docclf_cli.engine.runtime.folded_norms import without_batch_norms
from docclf_cli.engine.training.linear_probe import backbone_digest
from docclf_cli.errors import InputError
from docclf_cli.files import fingerprint_of
from docclf_cli.models.factory import create_model, pretrained_stats
from docclf_cli.models.features import FeatureRecorder
from docclf_cli.profile.schema import Profile, RuntimeConfig


@dataclass(frozen=True, eq=False)
class FrozenBackbone:
    """Computes features of pages, and the log-probabilities of the trained model they come from, if there is one.

    Attributes:
        key: Changes with the weights, the preprocessing or the numerics.
        preprocess: How pages become the input.
        class_names: The classes of the trained model; none for pretrained weights.
        run: From uint8 images [n, 3, size, size] to features and log-probabilities.
    """

    key: str
    preprocess: Preprocess
    class_names: tuple[str, ...]
    run: Callable[[torch.Tensor], tuple[np.ndarray, np.ndarray]]

    def __call__(self, pages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features, float16 [n, width], and log-probabilities, float32 [n, num_classes] (0 classes without a model).

        Args:
            pages: uint8 [n, size, size, 3].
        """
        features, log_probs = self.run(torch.from_numpy(np.ascontiguousarray(pages)).movedim(-1, 1))
        return np.clip(features, -6e4, 6e4).astype(np.float16), log_probs.astype(np.float32)


def pretrained_backbone(profile: Profile, config: RuntimeConfig) -> FrozenBackbone:
    """The pretrained model of a profile.

    Args:
        profile: Names the model and the image size.
        config: Device and threads.

    Raises:
        RemoteError: The weights are out of reach.
        InputError: There is no such model.
    """
    runtime = resolve_runtime(profile.runtime.model_copy(update={"device": config.device, "threads": config.threads}))
    size = profile.data.image_size
    preprocess = Preprocess(size, profile.data.resize_mode, *pretrained_stats(profile.model))
    torch.manual_seed(0)  # for a model without weights
    model = runtime.place(create_model(profile.model, 1, image_size=size))
    key = fingerprint_of(backbone_digest(model), preprocess.fingerprint(), runtime.device.type, runtime.precision)
    model = without_batch_norms(model, size, runtime)
    network = Network(model.eval(), preprocess, runtime, FeatureRecorder(model))

    def run(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        features = network.outputs(images)[1].cpu().numpy()
        return features, np.empty((len(features), 0), np.float32)

    return FrozenBackbone(key, preprocess, (), run)


def trained_backbone(path: Path, config: RuntimeConfig) -> FrozenBackbone:
    """A trained model; of a folds run the features of the first fold, and the log-probabilities of all.

    Args:
        path: What `TrainedModel.load` opens.
        config: Device and numerics.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
        InputError: It is an ONNX file.
    """
    model = TrainedModel.load(path)
    if model.path.suffix == ".onnx":
        raise InputError(f"{path}: an ONNX file gives no features to learn from", "name the run")
    predictor = model.predictor(config)
    recorder = FeatureRecorder(predictor.networks[0].model)

    def run(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        log_probs = predictor.log_probs(images)
        return recorder.take().cpu().numpy(), log_probs

    key = fingerprint_of(model.key, predictor.preprocess.fingerprint(), predictor.precision)
    return FrozenBackbone(key, predictor.preprocess, predictor.class_names, run)
