"""Folds batch norms into the convolutions before them: the same function with fewer passes over memory.

For inference in a copy of the network; in training, where their statistics are frozen, in each step.
"""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from docclf_cli.engine.runtime.device import Runtime

Pairs = tuple[tuple[nn.Conv2d, nn.BatchNorm2d], ...]
_NORM = "_norm_that_follows"


def inference_model(model: nn.Module, size: int, runtime: Runtime) -> nn.Module:
    """The form in which a placed model predicts: in fp32 without batch norms; in shorter formats their fold would be rounded."""
    return without_batch_norms(model, size, runtime) if runtime.precision == "fp32" else model.eval()


def without_batch_norms(model: nn.Module, size: int, runtime: Runtime) -> nn.Module:
    """A copy of a network in evaluation mode, with each batch norm folded into the convolution before it.

    A forward pass of EfficientNet-Lite0 takes a quarter less time at 224 pixels and a third less at 160 (one core, fp32). Norms that
    do not directly follow a convolution stay; a network without batch norms is returned as it is.

    Args:
        model: The network; it is put into evaluation mode.
        size: Side of its input.
        runtime: Where it computes.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return model.eval()
    network = copy.deepcopy(model.eval())
    pairs, page, expected = _pairs(network, size, runtime)
    gone = {id(norm) for _, norm in pairs}
    for conv, norm in pairs:
        weight, bias = _without(conv, norm)
        conv.weight, conv.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in gone:  # timm's norms hold the activation that follows
                setattr(parent, name, nn.Sequential(*child.children()))
    with torch.inference_mode(), runtime.autocast():
        alike = _alike(network(page), expected)
    return network if alike else model  # what a convolution makes may have other readers than the norm


def pairs_to_fold(model: nn.Module, size: int, runtime: Runtime) -> Pairs:
    """The convolutions of a network with the batch norm that directly follows each; it is put into evaluation mode.

    There are none where the network with these norms folded would not be the same function.

    Args:
        model: The network.
        size: Side of its input.
        runtime: Where it computes.
    """
    pairs, page, expected = _pairs(model.eval(), size, runtime)
    with folded(pairs), torch.inference_mode(), runtime.autocast():
        return pairs if _alike(model(page), expected) else ()


def folds(runtime: Runtime) -> bool:
    """Whether folding pays in training: on a CPU, unless a compiler does it."""
    return runtime.device.type == "cpu" and not runtime.compile


@contextlib.contextmanager
def folded(pairs: Pairs) -> Iterator[None]:
    """Inside it, batch norms in evaluation mode are computed in the weights of the convolutions before them.

    The network is the same function of the same parameters, with the same gradients, but activations are passed over fewer times: a
    training step of EfficientNet-Lite0 at 224 pixels takes .77 of the time (`benchmarks/freezing.py`).
    """
    pairs = tuple((conv, norm) for conv, norm in pairs if not norm.training)
    classes = [(type(conv), type(norm)) for conv, norm in pairs]
    for conv, norm in pairs:
        conv.__dict__[_NORM] = (norm,)  # in a tuple, so that it is no part of the convolution
        conv.__class__, norm.__class__ = _with_norm(type(conv)), _only_children(type(norm))
    try:
        yield
    finally:
        for (conv, norm), (kind, kind_of_norm) in zip(pairs, classes, strict=True):
            conv.__class__, norm.__class__ = kind, kind_of_norm
            del conv.__dict__[_NORM]


def _with_norm(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    """A kind of convolution that computes the norm which follows it."""

    def forward(self: Any, images: torch.Tensor) -> torch.Tensor:
        weight, bias = _without(self, self.__dict__[_NORM][0])
        self.__dict__.update(weight=weight, bias=bias)  # they are found before the parameters of these names
        try:
            return kind.forward(self, images)
        finally:
            del self.__dict__["weight"], self.__dict__["bias"]

    return cast(type[nn.Conv2d], type(kind.__name__, (kind,), {"forward": forward}))


def _only_children(kind: type[nn.BatchNorm2d]) -> type[nn.BatchNorm2d]:
    """A kind of norm without the norm: timm's hold the activation that follows."""

    def forward(self: nn.Module, values: torch.Tensor) -> torch.Tensor:
        for child in self.children():
            values = child(values)
        return values

    return cast(type[nn.BatchNorm2d], type(kind.__name__, (kind,), {"forward": forward}))


def _pairs(network: nn.Module, size: int, runtime: Runtime) -> tuple[Pairs, torch.Tensor, torch.Tensor]:
    """Convolutions with the norm that follows each, a page, and what the network, in evaluation mode, makes of it."""
    made: dict[int, tuple[nn.Conv2d, torch.Tensor]] = {}
    found: dict[nn.BatchNorm2d, nn.Conv2d] = {}
    users: Counter[nn.Conv2d] = Counter()

    def note_conv(conv: nn.Module, _: Any, output: torch.Tensor) -> None:
        made[id(output)] = (cast(nn.Conv2d, conv), output)  # the output is kept, so that no other gets its id

    def note_norm(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if id(inputs[0]) in made:
            found[cast(nn.BatchNorm2d, norm)] = made[id(inputs[0])][0]
            users[made[id(inputs[0])][0]] += 1

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [module.register_forward_hook(note_conv) for module in network.modules() if isinstance(module, nn.Conv2d)]
    hooks += [norm.register_forward_pre_hook(note_norm) for norm in norms]
    page = torch.linspace(-1, 1, 3 * size * size, device=runtime.device).view(1, 3, size, size)
    page = page.contiguous(memory_format=runtime.memory_format)
    with torch.inference_mode(), runtime.autocast():
        expected = network(page)
    for hook in hooks:
        hook.remove()
    with_statistics = [(conv, norm) for norm, conv in found.items() if norm.running_var is not None]
    return tuple((conv, norm) for conv, norm in with_statistics if users[conv] == 1), page, expected


def _alike(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max()))


def _without(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution with the scale and shift of the norm that follows it."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    if norm.bias is not None:
        shift = norm.bias + shift
    bias = shift if conv.bias is None else conv.bias * scale + shift
    return conv.weight * scale[:, None, None, None], bias
