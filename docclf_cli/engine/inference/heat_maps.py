"""Heat maps: which parts of a page speak for a class, by LayerCAM (Jiang et al. 2021) on the last feature map.

LayerCAM weights each place of a feature map by the positive part of its own gradient, so it needs no pooling layer and
works for convolutional networks and, on their patch tokens, for vision transformers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.engine.inference.predictor import Network, normalise
from docclf_cli.errors import InputError

if TYPE_CHECKING:
    from docclf_cli.engine.inference.trained_model import TrainedModel
    from docclf_cli.profile.schema import RuntimeConfig

Reshape = Callable[[torch.Tensor], torch.Tensor]


def require_heat_maps() -> None:
    """Raise an `InputError` that says what to install where heat maps cannot be drawn.

    Raises:
        InputError: The package is missing.
    """
    if importlib.util.find_spec("torchcam") is None:
        raise InputError("heat maps need the package torchcam, which is not installed", "pip install 'docclf[explain]'")


def heat_map(model: nn.Module, images: torch.Tensor, class_index: int) -> np.ndarray:
    """Where an input speaks for a class.

    Args:
        model: A timm model in evaluation mode.
        images: float32 [1, 3, size, size], normalised, on the model's device.
        class_index: The class.

    Returns:
        float32 [size, size] in 0..1; all zero where no place of the last feature map raises the class's logit.

    Raises:
        InputError: torchcam is missing, or the model has no feature map that can be read.
    """
    require_heat_maps()
    from torchcam.methods import LayerCAM

    layer, reshape = _last_features(model)
    with torch.enable_grad(), LayerCAM(model, target_layer=layer, reshape_transform=reshape) as cam:
        scores = model(images.detach().clone().requires_grad_())
        (found,) = cam(class_index, scores)
    heat = torch.nan_to_num(found.detach().float()).clamp(0, 1).reshape(1, 1, *found.shape[-2:])
    size = images.shape[-2:]
    return np.asarray(nn.functional.interpolate(heat, size, mode="bilinear", align_corners=False)[0, 0].cpu())


@dataclass(frozen=True)
class HeatMaps:
    """A trained model that draws heat maps of pages.

    Attributes:
        network: Its network, in fp32; of a folds run the first.
        class_names: Names along the class axis.
    """

    network: Network
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, model: TrainedModel, config: RuntimeConfig) -> HeatMaps:
        """Load a model for heat maps.

        Raises:
            CheckpointError: A checkpoint is damaged.
            InputError: torchcam is missing, or it is an ONNX file, which has no gradients.
        """
        require_heat_maps()
        if model.path.suffix == ".onnx":
            raise InputError(f"{model.path}: an ONNX file has no gradients, so no heat maps", "name the run")
        if model.info.text is not None and model.info.text.alone:
            raise InputError(
                f"{model.path}: the model only reads, so no part of a picture speaks for a class",
                "the words that spoke for it: --explain-text FILE.csv",
            )
        plain = config.model_copy(update={"precision": "fp32", "memory_format": "contiguous", "compile": "off"})
        predictor = model.predictor(plain)
        return cls(predictor.networks[0], predictor.class_names)

    @property
    def preprocess(self) -> Preprocess:
        """How a page becomes the input."""
        return self.network.preprocess

    def __call__(self, page: np.ndarray, label: str) -> np.ndarray:
        """The heat map of an input page.

        Args:
            page: uint8 [size, size, 3].
            label: A class of the model.

        Returns:
            float32 [size, size] in 0..1.

        Raises:
            InputError: The model does not know the class.
        """
        if label not in self.class_names:
            raise InputError(
                f"the model does not know the class {label!r}",
                "`docclf train --add review_labels.csv` teaches it new classes",
            )
        images = torch.from_numpy(np.ascontiguousarray(page)).movedim(-1, 0)[None]
        ready = normalise(images, self.preprocess, self.network.runtime)
        return heat_map(self.network.model, ready, self.class_names.index(label))


def stronger_half(heat: np.ndarray) -> np.ndarray:
    """A heat map with its weaker half at 0 and the rest stretched to 0..1, so that a picture of it has contrast.

    Args:
        heat: float32 of any shape, in 0..1.
    """
    middle = float(np.median(heat))
    return np.clip((heat - middle) / max(float(heat.max()) - middle, 1e-6), 0, 1).astype(np.float32)


def on_page(heat: np.ndarray, height: int, width: int, preprocess: Preprocess) -> np.ndarray:
    """A heat map of the square input as one of the whole page, float32 [h, w] in the page's proportions.

    Args:
        heat: float32 [size, size].
        height: Of the page.
        width: Of the page.
        preprocess: How the page became the input.
    """
    size = len(heat)
    if preprocess.resize_mode == "squash":
        return heat
    if preprocess.resize_mode == "letterbox":
        across, down = (max(1, round(side * size / max(width, height))) for side in (width, height))
        top, left = (size - down) // 2, (size - across) // 2
        return heat[top : top + down, left : left + across]
    across, down = (max(size, round(side * size / min(width, height))) for side in (width, height))
    whole = np.zeros((down, across), np.float32)  # what was cut off speaks for nothing
    top, left = (down - size) // 2, (across - size) // 2
    whole[top : top + size, left : left + size] = heat
    return whole


def _last_features(model: Any) -> tuple[nn.Module, Reshape | None]:
    """The layer whose output is the last feature map, and how that becomes [n, channels, height, width].

    Of a transformer it is the input of the last block's attention: behind that block only the class token matters, so
    that the other tokens have no gradient.

    Raises:
        InputError: There is no such layer.
    """
    blocks: Any = getattr(model, "blocks", None)
    embed: Any = getattr(model, "patch_embed", None)
    if blocks is not None and hasattr(embed, "grid_size") and hasattr(blocks[-1], "norm1"):
        rows, columns = embed.grid_size
        prefix = getattr(model, "num_prefix_tokens", 0)

        def on_grid(tokens: torch.Tensor) -> torch.Tensor:
            return tokens[:, prefix:].reshape(len(tokens), rows, columns, -1).movedim(-1, 1)

        return blocks[-1].norm1, on_grid
    info = getattr(model, "feature_info", None)
    names = [one["module"] for one in info] if info else []
    modules = dict(model.named_modules())
    for name in reversed(names):
        if name in modules:
            return modules[name], _channels_first(model)
    raise InputError(f"{type(model).__name__}: no feature map is known of this architecture, so no heat map")


def _channels_first(model: Any) -> Reshape | None:
    """For networks whose feature maps end with the channels (Swin), how to move them to the second place."""
    if getattr(model, "output_fmt", "NCHW") == "NHWC":
        return lambda features: features.movedim(-1, 1)
    return None
