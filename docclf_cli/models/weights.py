"""Read weight files as data, and load them strictly into a network."""

import importlib
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from docclf_cli.errors import CheckpointError

SHOWN_FAULTS = 12
_WRAPPERS = ("model", "state_dict", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.", "model.")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a `.safetensors` file, or in a file of `torch.save`, read as data and never as code.

    What training programs commonly put around it (a dict with `model` or `state_dict`, names that all start with
    `module.`) is taken off.

    Raises:
        CheckpointError: The file is missing, damaged or not a state dict.
    """
    content = _safetensors(path) if path.suffix == ".safetensors" else read_data(path)
    state = _unwrapped(content)
    if not state:
        raise CheckpointError(f"{path}: holds no weights (a dict of tensors, or one under 'model' or 'state_dict')")
    return state


def read_data(path: Path) -> Any:
    """Read a file of `torch.save` that holds only tensors and plain values.

    Raises:
        CheckpointError: The file is missing, damaged, or holds anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: damaged, or holds something other than tensors and plain values, and is not opened",
            "ask its author to save only the state dict",
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # an unpickler that meets damaged bytes raises whatever comes up
        raise CheckpointError(
            f"{path}: damaged, or not a checkpoint",
            "name a file of weights (.safetensors, .pth), or the checkpoint of a run",
        ) from error


def fit_weights(model: Any, state: Mapping[str, torch.Tensor], origin: str, *, may_lack: str) -> bool:
    """Load weights strictly; only a classifier for other classes is left out.

    Args:
        model: A timm model.
        state: The weights.
        origin: Where they come from, for messages.
        may_lack: Prefix of names that may be absent together, because the weights were made without that block.

    Returns:
        Whether the classifier stays as it was initialised.

    Raises:
        CheckpointError: Any other name is missing, unknown or of another shape; all are counted, the first are named.
    """
    state, expected = adapted(model, state), model.state_dict()
    head = tuple(f"{name}." for name in classifier_names(model))
    for name in [name for name in state if name.startswith(head) and name in expected]:
        if state[name].shape != expected[name].shape:
            del state[name]
    optional = head if any(name.startswith(may_lack) for name in state) else (*head, may_lack)
    if faults := list(_faults(state, expected, optional)):
        shown, rest = faults[:SHOWN_FAULTS], len(faults) - SHOWN_FAULTS
        lines = [*shown, f"and {rest} more"] if rest > 0 else shown
        architecture = model.pretrained_cfg["architecture"]
        raise CheckpointError(
            "\n  ".join([f"{origin}: the weights do not fit {architecture}:", *lines]),
            "is it the architecture they were made with? (--model)",
        )
    model.load_state_dict(state, strict=False)
    return not any(name.startswith(head) for name in state)


def misfit(model: Any, state: Mapping[str, torch.Tensor]) -> str:
    """Say in one line how weights do not fit a network; empty where they do, perhaps but for a classifier for other classes."""
    state, expected = adapted(model, state), model.state_dict()
    head = tuple(f"{name}." for name in classifier_names(model))
    body = {name: tensor for name, tensor in state.items() if not name.startswith(head) or name not in expected}
    faults = list(_faults(body, expected, head))
    return "" if not faults else faults[0] if len(faults) == 1 else f"{faults[0]}, and {len(faults) - 1} more faults"


def _faults(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], optional: tuple[str, ...]
) -> Iterator[str]:
    for name, tensor in expected.items():
        if name not in state and not name.startswith(optional):
            yield f"{name} is missing"
        elif name in state and state[name].shape != tensor.shape:
            yield f"{name} is {list(state[name].shape)} instead of {list(tensor.shape)}"
    yield from (f"{name} is not part of the model" for name in state if name not in expected)


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged, or not a safetensors file ({first_line(error)})") from error


def _unwrapped(content: Any) -> dict[str, torch.Tensor]:
    wrapper = next(
        (key for key in _WRAPPERS if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)), None
    )
    state = content if wrapper is None else content[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        return {}
    names = list(state)
    while prefix := next((prefix for prefix in _PREFIXES if names and all(n.startswith(prefix) for n in names)), ""):
        names = [name.removeprefix(prefix) for name in names]
    return dict(zip(names, state.values(), strict=True))


def adapted(model: Any, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights with timm's names and with position embeddings resized to the model, by timm's own filter."""
    module = importlib.import_module(type(model).__module__)
    adapt = getattr(module, "checkpoint_filter_fn", None)
    return dict(state if adapt is None else adapt(dict(state), model))


def classifier_names(model: Any) -> tuple[str, ...]:
    """The layers of a timm model that end in logits: one, or two of a distilled transformer."""
    """The layers of a timm model that end in logits: one, or two of a distilled transformer."""
    names = model.pretrained_cfg["classifier"]
    return (names,) if isinstance(names, str) else tuple(names)


def first_line(error: Exception) -> str:
    """The first line of an error of a library, short enough for a message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
