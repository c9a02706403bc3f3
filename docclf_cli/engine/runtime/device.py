"""Where the arithmetic runs: device, number formats, threads, ranks, seeds, and the flag that stops loops."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from docclf_cli.data.loading.data_loader import processes_can_talk
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.allocator import keep_freed_memory
from docclf_cli.errors import InputError
from docclf_cli.hardware import cpu_features, local_processes, physical_cores, usable_cores
from docclf_cli.profile.schema import RuntimeConfig

MOST_WORKERS = 16  # more processes take memory and add no speed: one page costs a few milliseconds


@dataclass(frozen=True)
class Numerics:
    """How numbers are stored and multiplied: `precision`, `channels_last` and `compile` of a `Runtime`."""

    precision: str
    channels_last: bool
    compile: bool = False


@dataclass(frozen=True)
class Runtime:
    """Device, numerics and processes of a run.

    Attributes:
        device: Where the model lives.
        precision: "fp32", "bf16" or "fp16" of the forward and backward pass.
        channels_last: Memory layout of images and convolutions.
        compile: Whether the model is compiled.
        workers: Loader processes.
        rank: This process among `world_size`.
        world_size: How many processes work together.
    """

    device: torch.device
    precision: str = "fp32"
    channels_last: bool = False
    compile: bool = False
    workers: int = 0
    rank: int = 0
    world_size: int = 1

    def with_numerics(self, numerics: Numerics) -> Runtime:
        """The same device and processes with other numerics."""
        return replace(self, **asdict(numerics))

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

    def compiled(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model as it is to be called; compiled, each batch size on its own, so that no batch depends on the last."""
        if not self.compile:
            return model
        # A machine may have a CUDA toolkit and no GPU, which is nobody's concern here.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        return torch.compile(model, dynamic=False)  # type: ignore[return-value]

    @property
    def crowded(self) -> bool:
        """Whether the threads of the model and the loader processes are more than the cores they have."""
        return self.device.type == "cpu" and torch.get_num_threads() + self.workers > _share(usable_cores())

    def share_of(self, rows: np.ndarray) -> np.ndarray:
        """Of rows to look at those that are this process's."""
        return distributed.shares(rows, self.world_size)[self.rank]

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor on the device; copies from pinned memory do not wait."""
        return tensor.to(self.device, non_blocking=True)


def resolve_runtime(config: RuntimeConfig) -> Runtime:
    """Set threads and memory, and read the process's rank.

    Numerics that are left to `auto` are plain fp32 here (`numerics.resolve_numerics`).

    Raises:
        InputError: The device does not exist here.
    """
    device = resolve_device(config.device)
    keep_freed_memory()
    torch.set_num_threads(config.threads or _share(physical_cores()))
    torch.use_deterministic_algorithms(config.deterministic, warn_only=False)
    workers = config.workers if config.workers is not None else min(_share(usable_cores()), MOST_WORKERS)
    if workers and not processes_can_talk():
        workers = 0
    if config.precision == "fp16" and device.type == "cpu":
        raise InputError("runtime.precision: fp16 needs a GPU", "use bf16 or fp32 on a CPU")
    return Runtime(
        device=_own(device),
        precision="fp32" if config.precision == "auto" else config.precision,
        channels_last=config.memory_format == "channels_last",
        compile=config.compile == "on",
        workers=workers,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )


def fast_precisions(device: torch.device) -> tuple[str, ...]:
    """Number formats that a device computes with, none of them emulated; the last is the fastest on most networks."""
    if device.type == "cuda":
        return ("fp32", "fp16", "bf16") if torch.cuda.is_bf16_supported(including_emulation=False) else ("fp32", "fp16")
    if device.type == "cpu" and cpu_features() & {"avx512_bf16", "amx_bf16", "bf16"}:
        return "fp32", "bf16"
    return ("fp32",)


def _share(cores: int) -> int:
    """Of the machine's cores those of one process of the several that work together on it."""
    return max(1, cores // local_processes())


def _own(device: torch.device) -> torch.device:
    """Of the machine's GPUs the one of this process, where several work together."""
    one_of_many = distributed.is_distributed() and device.type == "cuda"
    return torch.device("cuda", torch.cuda.current_device()) if one_of_many else device


def resolve_device(name: str) -> torch.device:
    """The device that a profile names.

    Raises:
        InputError: It does not exist here.
    """
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


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed computed from `parts`, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def reseed_layers(seed: int, step: int, micro_step: int, rank: int) -> None:
    """Set the generators that layers use (dropout, drop path) from the position in the run alone."""
    torch.manual_seed(seed_of("layers", seed, step, micro_step, rank))
