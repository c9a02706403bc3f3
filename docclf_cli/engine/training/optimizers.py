"""Optimizers, and the learning rate and weight decay of each parameter."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from docclf_cli.errors import InputError
from docclf_cli.profile.schema import Flag, Fraction, OptimizerConfig, Positive
from docclf_cli.registry import Registry

if TYPE_CHECKING:
    import torch

Betas = tuple[Fraction, Fraction]
Groups = list[dict[str, Any]]

OPTIMIZERS: Registry[Callable[..., "torch.optim.Optimizer"]] = Registry("optimizer")


@OPTIMIZERS.register("adam")
def adam(
    groups: Groups, *, betas: Betas = (0.9, 0.999), eps: Positive = 1e-8, amsgrad: Flag = False
) -> "torch.optim.Optimizer":
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient, so keep it small."""
    import torch

    return torch.optim.Adam(groups, betas=betas, eps=eps, amsgrad=amsgrad, fused=_fused(groups))


@OPTIMIZERS.register("adamw")
def adamw(
    groups: Groups, *, betas: Betas = (0.9, 0.999), eps: Positive = 1e-8, amsgrad: Flag = False
) -> "torch.optim.Optimizer":
    """Adam with weight decay apart from the gradient (Loshchilov & Hutter 2019)."""
    import torch

    return torch.optim.AdamW(groups, betas=betas, eps=eps, amsgrad=amsgrad, fused=_fused(groups))


@OPTIMIZERS.register("sgd")
def sgd(groups: Groups, *, momentum: Fraction = 0.9, nesterov: Flag = True) -> "torch.optim.Optimizer":
    """Stochastic gradient descent with momentum."""
    import torch

    if nesterov and not momentum:
        raise InputError("optimizer.params.nesterov needs momentum above 0", "set nesterov to false")
    return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov, fused=_fused(groups))


def build_optimizer(config: OptimizerConfig, model: "torch.nn.Module") -> "torch.optim.Optimizer":
    """Build the optimizer of a profile over the groups of `param_groups`.

    Raises:
        InputError: The name is unknown, or parameters do not fit.
    """
    optimizer: torch.optim.Optimizer = OPTIMIZERS.create(config.name, param_groups(model, config), **config.params)
    return optimizer


def load_state(optimizer: "torch.optim.Optimizer", state: dict[str, Any]) -> None:
    """Load an optimizer's state except its settings, which stay as built (only the current learning rate is loaded).

    Raises:
        ValueError: The state belongs to other parameters.
    """
    settings = [
        {key: value for key, value in group.items() if key not in ("params", "lr")} for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def param_groups(model: "torch.nn.Module", config: OptimizerConfig) -> Groups:
    """Group parameters by learning rate and weight decay.

    Norms, biases and parameters that the architecture exempts have no weight decay. Layer group i of n, as timm groups
    them, has layer_decay^(n - i) of the learning rate (Bao et al. 2022), and the classifier has `head_lr` if given.

    Args:
        model: A timm model; parameters that are frozen now are left out.
        config: The optimizer section.

    Returns:
        Groups with `params`, `weight_decay`, `lr_scale` (share of the schedule's rate) and `lr`.
    """
    merged: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for parameter, scale, decay in _scales_and_decays(model, config):
        merged.setdefault((scale, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale, "lr": config.lr * scale}
        for (scale, decay), parameters in merged.items()
    ]


def _scales_and_decays(model: Any, config: OptimizerConfig) -> Iterator[tuple["torch.nn.Parameter", float, float]]:
    """Yield each trainable parameter with its share of the learning rate and its weight decay."""
    from timm.optim import param_groups_layer_decay

    exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    layers = param_groups_layer_decay(
        model, config.weight_decay, no_weight_decay_list=exempt, layer_decay=config.layer_decay
    )
    head = _classifier_parameters(model) if config.head_lr is not None else set()
    head_scale = (config.head_lr or config.lr) / config.lr
    for layer in layers:
        for parameter in layer["params"]:
            scale = head_scale if id(parameter) in head else layer["lr_scale"]
            yield parameter, scale, layer["weight_decay"]


def _classifier_parameters(model: Any) -> set[int]:
    classifier = model.get_classifier()
    # Distilled transformers have two.
    heads = classifier if isinstance(classifier, tuple | list) else (classifier,)
    return {id(parameter) for parameter in chain.from_iterable(head.parameters() for head in heads)}


def _fused(groups: Groups) -> bool:
    """Return whether torch has a fused step for the devices of the parameters."""
    return all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])
