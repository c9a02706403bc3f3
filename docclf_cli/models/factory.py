"""Build a network from the model section of a profile."""

import logging
from typing import Any

import timm
import torch
from torch import nn

from docclf_cli.errors import InputError
from docclf_cli.models.attention import ATTENTION_PREFIX, add_attention
from docclf_cli.models.depthwise import use_fast_gradients
from docclf_cli.models.sources import RANDOM, Source, find_weights
from docclf_cli.models.weights import classifier_names, fit_weights
from docclf_cli.profile.schema import ModelConfig
from docclf_cli.registry import did_you_mean

# Short names of the seed framework, and what timm calls them.
ALIASES = {
    "efficientnet": "efficientnet_b0",
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "vit": "vit_base_patch16_224",
    "convnext": "convnext_tiny",
}

TEXT_MODEL = "text"  # looks at nothing: the text branch of its checkpoint does all
logger = logging.getLogger("docclf")


def resolve_name(name: str) -> str:
    """The timm name behind an alias or a timm name, with its weights tag if it has one.

    Raises:
        InputError: timm has no such model.
    """
    if name == TEXT_MODEL:
        return name
    resolved = ALIASES.get(name, name)
    tagged = "." in resolved
    if not (resolved in timm.list_models(pretrained=True) if tagged else timm.is_model(resolved)):
        known = (*ALIASES, TEXT_MODEL, *timm.list_models(pretrained=tagged))
        raise InputError(
            f"unknown model '{name}'{did_you_mean(name, known)}",
            f"{', '.join(ALIASES)}, {TEXT_MODEL}, or any of the {len(timm.list_models())} models of timm by its own name",
        )
    return resolved


def create_model(
    config: ModelConfig, num_classes: int, *, weights: bool = True, image_size: int | None = None
) -> nn.Module:
    """Build a network, and load its first weights.

    Args:
        config: The model section.
        num_classes: Length of the class axis of its logits.
        weights: False leaves the initialisation, for weights of one's own to be loaded after.
        image_size: Side of its square input; None is the architecture's own.

    Returns:
        A timm model from float [n, 3, image_size, image_size] to logits [n, num_classes].

    Raises:
        InputError: timm has no such model, or cannot build it like this.
        CheckpointError: `checkpoint_path` does not fit; only a classifier for other classes may.
        RemoteError: The pretrained weights are on a hub that cannot be reached.
    """
    name = resolve_name(config.model_name)
    if name == TEXT_MODEL:
        return NoImage(num_classes)
    source = find_weights(config, name) if weights else Source(RANDOM)
    model = _build(name, config, num_classes, image_size, source)
    if config.use_attention:
        add_attention(model, _feature_channels(name, image_size), config.attention_dim)
    new_head = _new_classifier(model, source, num_classes)
    if new_head:
        _start_near_zero(model)
    if weights:
        logger.info("%s: weights from %s%s", name, source.origin, ", with a new classifier" if new_head else "")
    return use_fast_gradients(model)


class NoImage(nn.Module):
    """The network of a model that only reads: the same logits for every image, with what timm models have."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.page = nn.Parameter(torch.zeros(1))  # what it takes every page for
        self.head = nn.Linear(1, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [n, num_classes] of images [n, 3, size, size]."""
        logits: torch.Tensor = self.head(self.page.expand(len(images), 1))
        return logits

    def get_classifier(self) -> nn.Module:
        """The layer that makes logits."""
        return self.head

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layer groups, as timm asks for them."""
        return {"stem": r"^page", "blocks": [(r"^head", None)]}


def new_parts(model: nn.Module) -> tuple[nn.Module, ...]:
    """The modules that start without pretrained weights: the classifiers (distilled transformers have two) and an attention block."""
    found = model.get_classifier()  # type: ignore[operator]
    heads = found if isinstance(found, tuple) else (found,)
    return (*heads, *(child for name, child in model.named_children() if f"{name}." == ATTENTION_PREFIX))


def pretrained_stats(
    config: ModelConfig,
) -> tuple[tuple[float, float, float], tuple[float, float, float], str]:
    """Mean and standard deviation (RGB, pixels in 0..1) and interpolation with which the weights were pretrained.

    Raises:
        InputError: timm has no such model.
    """
    name = resolve_name(config.model_name)
    if name == TEXT_MODEL:
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear"
    about: Any = timm.get_pretrained_cfg(name)
    return about.mean, about.std, about.interpolation


def _new_classifier(model: nn.Module, source: Source, num_classes: int) -> bool:
    """Load the weights; True where the classifier stays at its random initialisation above pretrained features."""
    if source.state is not None:
        return fit_weights(model, source.state, source.origin, may_lack=ATTENTION_PREFIX)
    about: Any = model.pretrained_cfg
    return source.file is not None and num_classes != about["num_classes"]


def _start_near_zero(model: nn.Module) -> None:
    """Initialise the classifier with small weights, so that all classes are about equally likely at the first step.

    Some architectures draw a classifier so wide that the first loss is twice log(num_classes): timm's EfficientNets
    do (loss 4.5 with 9 classes). Its first, large gradients then disturb the pretrained features.
    """
    for name in classifier_names(model):
        classifier: Any = model.get_submodule(name)
        nn.init.trunc_normal_(classifier.weight, std=0.01)
        if classifier.bias is not None:
            nn.init.zeros_(classifier.bias)


def _build(name: str, config: ModelConfig, num_classes: int, image_size: int | None, source: Source) -> nn.Module:
    about: Any = timm.get_pretrained_cfg(name)
    if about.classifier is None:
        raise InputError(f"{name} has no classifier to train", "choose a model that classifies, such as convnext")
    options: dict[str, Any] = {"num_classes": num_classes, "drop_rate": config.dropout_rate}
    options |= _sized(name, image_size)
    if config.drop_path_rate is not None:
        options["drop_path_rate"] = config.drop_path_rate
    if source.file is not None:
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(source.file)}}
    try:
        model: nn.Module = timm.create_model(name, **options)
    except (TypeError, ValueError, AssertionError) as error:
        given = ", ".join(f"{key}={value}" for key, value in options.items() if not key.startswith("pretrained"))
        raise InputError(f"timm cannot build {name} with {given}: {error}") from error
    return model


def _sized(name: str, image_size: int | None) -> dict[str, Any]:
    """Transformers are built for one input size; convolutional networks take any and have no such argument."""
    about: Any = timm.get_pretrained_cfg(name)
    return {"img_size": image_size} if about.fixed_input_size and image_size is not None else {}


def _feature_channels(name: str, image_size: int | None) -> int:
    """Channels of the last feature map, found by a pass without data.

    Raises:
        InputError: The features are no map of [n, channels, height, width].
    """
    with torch.device("meta"):
        model: Any = timm.create_model(name, num_classes=0, **_sized(name, image_size)).eval()
        side = image_size or model.pretrained_cfg["input_size"][-1]
        features = model.forward_features(torch.empty(1, 3, side, side))
    if features.ndim != 4 or getattr(model, "output_fmt", "NCHW") != "NCHW":
        raise InputError(
            f"model.use_attention needs a convolutional feature map, and {name} has none: it already uses attention",
            "set model.use_attention to false, or choose a convolutional model such as convnext",
        )
    return int(features.shape[1])
