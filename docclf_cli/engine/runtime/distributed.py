"""Several processes that work as one, started by `torchrun`.

The first process leads: it runs the command as if it were alone, and hands long work out as jobs. The others follow:
they do their share of each job and neither write a file (but for parts of `predict`) nor say a word. Inside a job all
processes come to the same collective calls in the same order. With one process everything here does nothing.

Gradients are summed after the last micro-batch of a step, in one piece, rather than by `DistributedDataParallel`,
which averages means: shares of a batch may be of unequal size, and layers may be frozen for some epochs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous
from torch.nn.modules.batchnorm import _BatchNorm

from docclf_cli.errors import DivergedError, DocclfError, Interrupted, ResourceError
from docclf_cli.hardware import local_rank, process_count
from docclf_cli.stop import StopFlag

STEP_TIMEOUT = timedelta(minutes=10)  # between two optimizer steps; the first may wait for a compiler
JOB_TIMEOUT = timedelta(days=7)  # the leader may be reading a million pages meanwhile
COMMON = (Interrupted, DivergedError)  # errors that all processes come to in the same step
T = TypeVar("T")


class Job(Protocol):
    """A follower's side of some work; it can be pickled."""

    def __call__(self, stop: StopFlag) -> None:
        """Do this process's share."""
        ...


class LostProcessError(ResourceError):
    """Another of the processes has ended, or no longer answers."""


class _Agreed(Exception):  # noqa: N818  (the leader raises the error itself)
    """All processes know of an error; a follower waits for what the leader makes of it."""


@dataclass
class _Group:
    control: Any = None  # a process group for objects, on the CPU and with patience
    busy: bool = False  # whether followers are in the middle of a job


_group = _Group()


def lead(command: Callable[[], int]) -> int:
    """Run a command to its exit code, and end the followers with the same code."""
    with _joined():
        code = command()
        if not _group.busy:  # else they notice that the leader has gone
            share(code)
        return code


def follow() -> int:
    """Do the leader's jobs until it ends, and return its exit code.

    Raises:
        DocclfError: This process failed on its own.
    """
    logging.getLogger("docclf").setLevel(logging.ERROR)
    try:
        with _joined():
            job: Any
            while not isinstance(job := share(None), int):
                with contextlib.suppress(_Agreed, *COMMON), StopFlag().installed() as stop:
                    job(stop)
            return job
    except LostProcessError as error:  # the leader says it, or torchrun where there is no leader any more
        return error.exit_code


@contextlib.contextmanager
def handed_out(job: Job) -> Iterator[None]:
    """Let the followers begin a job; the block is the leader's share of it."""
    if not is_distributed():
        yield
        return
    share(job)
    _group.busy = True
    try:
        yield
    except COMMON:
        _group.busy = False
        raise
    _group.busy = False


def is_distributed() -> bool:
    """Whether this process works with others."""
    return dist.is_initialized()


def rank() -> int:
    """The number of this process; the leader is 0."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if is_distributed() else 1


def is_leader() -> bool:
    """Whether this process writes and speaks."""
    return rank() == 0


def share(value: T) -> T:
    """The leader's value, in every process."""
    if not is_distributed():
        return value
    box = [value]
    with _peers():
        dist.broadcast_object_list(box, src=0, group=_group.control)
    return box[0]


def together(work: Callable[[], T]) -> list[T]:
    """What each process makes of its share, by rank, in every process.

    Raises:
        DocclfError: That of the first process that failed.
    """
    if not is_distributed():
        return [work()]
    mine: T | DocclfError
    try:
        mine = work()
    except DocclfError as error:
        mine = error
    found: list[Any] = [None] * world_size()
    with _peers():
        dist.all_gather_object(found, mine, group=_group.control)
    for one in found:
        if isinstance(one, DocclfError):
            _group.busy = False
            raise one if is_leader() else _Agreed
    return found


def ready(prepare: Callable[[], T]) -> T:
    """What this process prepares for itself, as soon as all are ready.

    Raises:
        DocclfError: That of the first process that failed.
    """
    prepared: list[T] = []
    together(lambda: prepared.append(prepare()))
    return prepared[0]


def shares(rows: np.ndarray, processes: int) -> list[np.ndarray]:
    """Which rows each process looks at: every row once, no share larger than another by more than one."""
    return [rows[number::processes] for number in range(processes)]


def interleaved(parts: Sequence[np.ndarray]) -> np.ndarray:
    """What the processes found for their `shares`, in the order of the rows."""
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=parts[0].dtype)
    for number, part in enumerate(parts):
        whole[number :: len(parts)] = part
    return whole


def raise_if_set(stop: StopFlag, message: str) -> None:
    """Leave the loop, in all processes at once, when one of them is to stop.

    Raises:
        Interrupted: The flag of a process was set before all have been asked; what comes later is told the next time.
    """
    if is_distributed():
        (number,) = _reduced([float(stop.signal_number or 0)], dist.ReduceOp.MAX)
        if not number:
            return
        stop.signal_number = int(number)
    stop.raise_if_set(message)


def totals(*values: float) -> list[float]:
    """The sum of each value over all processes."""
    return _reduced(values, dist.ReduceOp.SUM) if is_distributed() else list(values)


def _reduced(values: Sequence[float], operation: Any) -> list[float]:
    tensor = torch.tensor(values, dtype=torch.float64)
    with _peers():
        dist.all_reduce(tensor, op=operation)
    return tensor.tolist()


def same_weights(model: torch.nn.Module) -> None:
    """Give every process the leader's parameters and buffers."""
    if is_distributed():
        with _peers():
            for tensor in (*model.parameters(), *model.buffers()):
                dist.broadcast(tensor.detach(), src=0)


def merge_step(model: torch.nn.Module) -> None:
    """Sum the gradients of all processes, and average what batch norms have seen in them."""
    if not is_distributed():
        return
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    statistics = list(_running_statistics(model))
    with torch.no_grad(), _peers():
        # A parameter without a gradient anywhere (a layer that is not used) must stay so: weight decay would move it.
        used = torch.tensor([float(one.grad is not None) for one in parameters], device=parameters[0].device)
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        everything = torch.cat([tensor.flatten() for tensor in (*gradients, *statistics, used)])
        dist.all_reduce(everything)
        *pieces, used = everything.split([tensor.numel() for tensor in (*gradients, *statistics, used)])
        for parameter, gradient, piece, count in zip(parameters, gradients, pieces, used.tolist(), strict=False):
            parameter.grad = gradient.copy_(piece.view_as(gradient)) if count else None
        for tensor, piece in zip(statistics, pieces[len(parameters) :], strict=True):
            tensor.copy_(piece.view_as(tensor) / world_size())


def _running_statistics(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    for part in model.modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None and part.running_var is not None:
            yield from (part.running_mean, part.running_var)


@contextlib.contextmanager
def _joined() -> Iterator[None]:
    """Meet the other processes; where they are and who is who torchrun has put into the environment."""
    for number in (signal.SIGINT, signal.SIGTERM):  # while nothing is under way, a signal ends the process at once
        signal.signal(number, signal.SIG_DFL)
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    with _peers():
        store, rank, size = next(rendezvous("env://", timeout=STEP_TIMEOUT))
        # After a restart the same store still holds the addresses of the processes that are gone.
        store = dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=STEP_TIMEOUT)
        _group.control = dist.new_group(backend="gloo", timeout=JOB_TIMEOUT)
    try:
        yield
    finally:
        _group.control = None  # its threads must end before the interpreter does
        dist.destroy_process_group()


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """Say plainly what torch says about a process that is gone.

    Raises:
        LostProcessError: One is.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise LostProcessError(
            f"another of the {process_count()} processes has ended, or has not answered for "
            f"{STEP_TIMEOUT // timedelta(minutes=1)} minutes",
            "its own error is printed above; training can be resumed with --resume",
        ) from error
