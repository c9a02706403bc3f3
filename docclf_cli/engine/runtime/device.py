"""Device, number formats, threads, ranks and seeds of a process."""

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

MOST_WORKERS = 16  # more processes take memory without more speed: a page takes a few milliseconds


@dataclass(frozen=True)
class Numerics:
    """Number format, memory layout and compilation: `precision`, `channels_last` and `compile` of a `Runtime`."""

    precision: str
    channels_last: bool
    compile: bool = False


@dataclass(frozen=True)
class Runtime:
    """Device, numerics and processes of a run.

    Attributes:
        device: Device of the model.
        precision: "fp32", "bf16" or "fp16" of the forward and backward pass.
        channels_last: Memory layout of images and convolutions.
        compile: Whether the model is compiled.
        workers: Loader processes.
        rank: Rank of this process, from 0.
        world_size: Number of processes.
    """

    device: torch.device
    precision: str = "fp32"
    channels_last: bool = False
    compile: bool = False
    workers: int = 0
    rank: int = 0
    world_size: int = 1

    def with_numerics(self, numerics: Numerics) -> Runtime:
        """Return the runtime with other numerics."""
        return replace(self, **asdict(numerics))

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory layout as a torch constant."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the autocast context for a forward pass."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def place(self, model: torch.nn.Module) -> torch.nn.Module:
        """Move a model to the device, in the memory layout."""
        return model.to(device=self.device, memory_format=self.memory_format)  # type: ignore[call-overload]

    def compiled(self, model: torch.nn.Module) -> torch.nn.Module:
        """Compile a model if `compile` is set, for each batch size apart, so that no batch depends on the one before."""
        if not self.compile:
            return model
        # torch warns if a machine has a CUDA toolkit and no GPU, which does not matter here.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        return torch.compile(model, dynamic=False)  # type: ignore[return-value]

    @property
    def crowded(self) -> bool:
        """Whether model threads and loader processes are more than the cores of this process."""
        return self.device.type == "cpu" and torch.get_num_threads() + self.workers > _cores_per_process(usable_cores())

    def shard_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the shard of some rows that belongs to this process."""
        return distributed.shards(rows, self.world_size)[self.rank]

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor to the device; copies from pinned memory do not block."""
        return tensor.to(self.device, non_blocking=True)


def resolve_runtime(config: RuntimeConfig) -> Runtime:
    """Configure threads and memory of the process, and return its runtime.

    `auto` numerics are plain fp32 here; `numerics.resolve_numerics` resolves them.

    Raises:
        InputError: There is no such device.
    """
    device = resolve_device(config.device)
    if distributed.is_distributed() and device.type == "cuda":  # the processes of a machine have one GPU each
        device = torch.device("cuda", torch.cuda.current_device())
    keep_freed_memory()
    torch.set_num_threads(config.threads or _cores_per_process(physical_cores()))
    torch.use_deterministic_algorithms(config.deterministic, warn_only=False)
    workers = config.workers if config.workers is not None else min(_cores_per_process(usable_cores()), MOST_WORKERS)
    if workers and not processes_can_talk():
        workers = 0
    if config.precision == "fp16" and device.type == "cpu":
        raise InputError("runtime.precision: fp16 needs a GPU", "use bf16 or fp32 on a CPU")
    return Runtime(
        device=device,
        precision="fp32" if config.precision == "auto" else config.precision,
        channels_last=config.memory_format == "channels_last",
        compile=config.compile == "on",
        workers=workers,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )


def fast_precisions(device: torch.device) -> tuple[str, ...]:
    """Return the number formats that a device has in hardware; the last is the fastest for most networks."""
    if device.type == "cuda":
        return ("fp32", "fp16", "bf16") if torch.cuda.is_bf16_supported(including_emulation=False) else ("fp32", "fp16")
    if device.type == "cpu" and cpu_features() & {"avx512_bf16", "amx_bf16", "bf16"}:
        return "fp32", "bf16"
    return ("fp32",)


def _cores_per_process(cores: int) -> int:
    """Divide the cores of the machine among its processes."""
    return max(1, cores // local_processes())


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
    """Hash `parts` to a 63-bit seed, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def reseed_layers(seed: int, step: int, micro_step: int, rank: int) -> None:
    """Seed the generators of layers (dropout, drop path) by the position in the run."""
    torch.manual_seed(seed_of("layers", seed, step, micro_step, rank))
