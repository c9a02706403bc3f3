"""Where the arithmetic runs: device, number formats, threads, ranks, seeds, and the flag that stops loops."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from typing import Any

import torch

from docclf_cli.engine.stop import NEVER, StopFlag
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import RuntimeConfig

__all__ = ["NEVER", "Runtime", "StopFlag", "reseed_layers", "resolve_runtime", "seed_of"]


@dataclass(frozen=True)
class Runtime:
    """Resolved numerics of a run.

    Attributes:
        device: Where the model lives.
        precision: "fp32", "bf16" or "fp16" of the forward and backward pass.
        channels_last: Memory layout of images and convolutions.
        compile: Whether the model is compiled.
        workers: Loader processes.
        rank: This process among `world_size`.
        world_size: How many processes train together.
    """

    device: torch.device
    precision: str = "fp32"
    channels_last: bool = False
    compile: bool = False
    workers: int = 0
    rank: int = 0
    world_size: int = 1

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout as torch names it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context of a forward pass."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def place(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model on the device, in the memory layout."""
        return model.to(device=self.device, memory_format=self.memory_format)  # type: ignore[call-overload]

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor on the device; copies from pinned memory do not wait."""
        return tensor.to(self.device, non_blocking=True)


def resolve_runtime(config: RuntimeConfig) -> Runtime:
    """Settle what `auto` leaves open, set threads, and read the process's rank.

    Raises:
        InputError: The device does not exist here.
    """
    device = _device(config.device)
    cores = _cores()
    torch.set_num_threads(config.threads or cores)
    torch.use_deterministic_algorithms(config.deterministic, warn_only=False)
    workers = config.workers if config.workers is not None else min(cores, 8)
    precision = config.precision if config.precision != "auto" else ("bf16" if _has_fast_bf16(device) else "fp32")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("runtime.precision: fp16 needs a GPU", "use bf16 or fp32 on a CPU")
    channels_last = config.memory_format == "channels_last" or (
        config.memory_format == "auto" and device.type == "cuda"
    )
    return Runtime(
        device=device,
        precision=precision,
        channels_last=channels_last,
        compile=config.compile == "on",
        workers=workers,
        rank=int(os.environ.get("RANK", "0")),
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
    )


def is_first_process() -> bool:
    """Whether this process is the only one, or the first, of those that train together."""
    return int(os.environ.get("RANK", "0")) == 0


def settled(config: RuntimeConfig, runtime: Runtime) -> RuntimeConfig:
    """The section with what `auto` was settled to, so that it is picked once for a run; workers compute nothing."""
    return config.model_copy(
        update={
            "device": str(runtime.device),
            "precision": runtime.precision,
            "memory_format": "channels_last" if runtime.channels_last else "contiguous",
            "compile": "on" if runtime.compile else "off",
            "threads": torch.get_num_threads(),
        }
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"runtime.device: '{name}' is not a device", "use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"runtime.device: there is no '{name}' here", "`docclf env-check` lists the devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("runtime.device: there is no 'mps' here", "`docclf env-check` lists the devices")
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"runtime.device: '{name}' is not supported", "use auto, cpu, cuda, cuda:N or mps")
    return device


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _has_fast_bf16(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed computed from `parts`, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def reseed_layers(seed: int, step: int, micro_step: int, rank: int) -> None:
    """Set the generators that layers use (dropout, drop path) from the position in the run alone."""
    torch.manual_seed(seed_of("layers", seed, step, micro_step, rank))
