"""Several processes that run the same command (SPMD), started by `torchrun`.

Every rank runs the same functions and comes to the same collective calls in the same order; rank 0 alone writes (but
for the shards of `predict`) and prints. An error of one rank leaves the process group, and the others raise it too.
With one process everything here does nothing, and neither torch nor numpy is imported.

Gradients are summed after the last micro-batch of a step, in one piece, rather than by `DistributedDataParallel`,
which averages means: shards of a batch may be of unequal size, and layers may be frozen for some epochs.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from docclf_cli.errors import DocclfError, Interrupted, ResourceError, as_resource_error
from docclf_cli.hardware import local_rank, process_count
from docclf_cli.stop import StopFlag

if TYPE_CHECKING:
    import numpy as np
    import torch

STEP_TIMEOUT = timedelta(minutes=10)  # between two optimizer steps; the first may wait for a compiler
OBJECT_TIMEOUT = timedelta(days=7)  # rank 0 may be reading a million pages meanwhile
LEAVE_SECONDS = 30.0  # a failed rank waits so long for the others to hear of it
T = TypeVar("T")


class LostProcessError(ResourceError):
    """Another of the processes has ended without an error message, or no longer answers."""


@dataclass
class _Group:
    """The processes that work together.

    Attributes:
        rank: Number of this one.
        size: How many there are.
        store: Keys and values that all of them see.
        objects: Process group for Python objects, on the CPU and with a long timeout; None with one process.
        broken: Whether the collectives no longer work, since a rank has failed.
    """

    rank: int = 0
    size: int = 1
    store: Any = None
    objects: Any = None
    broken: bool = False


_group = _Group()


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes for a block; torchrun's variables say where they are, and which rank this one is."""
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    for number in (signal.SIGINT, signal.SIGTERM):  # while nothing is under way, a signal ends the process at once
        signal.signal(number, signal.SIG_DFL)
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    with _peer_errors():
        store, _group.rank, _group.size = next(rendezvous("env://", timeout=STEP_TIMEOUT))
        # After a restart the same store still holds the addresses of the processes that are gone.
        _group.store = dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        dist.init_process_group(
            backend, store=_group.store, rank=_group.rank, world_size=_group.size, timeout=STEP_TIMEOUT
        )
        _group.objects = dist.new_group(backend="gloo", timeout=OBJECT_TIMEOUT)
    try:
        yield
    finally:
        _group.objects = None  # its threads must end before the interpreter does
        dist.destroy_process_group()
        gc.collect()  # the traceback of an error may hold a group; ranks that wait for this one notice when it is freed
        if _group.broken:
            _wait_for_others()


def run_command(command: Callable[[], object]) -> None:
    """Run a command that all ranks run; what one of them raises, the others raise at their next collective call.

    Raises:
        BaseException: Of this rank, or of the rank that failed first.
    """
    try:
        try:
            command()
        except SystemExit as exit_:
            if exit_.code:
                raise
        barrier()  # no rank ends before rank 0 has written everything
    except BaseException as error:
        raise _told_to_others(error) from error.__cause__


def _told_to_others(error: BaseException) -> BaseException:
    """Put an error into the store, unless another rank was first; return what this rank raises."""
    if isinstance(error, LostProcessError):
        return error
    _group.broken = True
    told: BaseException = error
    if not isinstance(error, DocclfError | SystemExit):  # others may not survive pickling
        told = as_resource_error(error) or RuntimeError(f"{type(error).__name__}: {error}")
    with contextlib.suppress(Exception):  # the store ends with rank 0
        content = pickle.dumps((_group.rank, told, "".join(traceback.format_exception(error))))
        _group.store.compare_set("error", "", content)
    first = _first_error()
    # torchrun stops the other ranks once one has failed: what they were stopped for counts.
    stopped = isinstance(error, Interrupted) and first is not None and not isinstance(first, Interrupted)
    return first if stopped and first is not None else error


def _first_error() -> BaseException | None:
    """The error that another rank put into the store; None if there is none."""
    with contextlib.suppress(Exception):
        if _group.store.check(["error"]):
            rank, error, trace = pickle.loads(_group.store.get("error"))  # written by `_told_to_others`
            if rank != _group.rank:
                error.add_note(f"raised on rank {rank}:\n{trace}")  # shown with --debug
                return error
    return None


def _wait_for_others() -> None:
    """Leave in order: torchrun ends all as soon as one has ended, and rank 0, which prints the error, may hold the store."""
    end, store = time.monotonic() + LEAVE_SECONDS, _group.store

    def wait(ready: Callable[[], bool]) -> None:
        while not ready() and time.monotonic() < end:
            time.sleep(0.02)

    with contextlib.suppress(Exception):  # the store is gone
        if _group.rank == 0:
            store.set("printed", "")
            wait(lambda: store.add("left", 0) == _group.size - 1)
        else:
            wait(lambda: store.check(["printed"]))
            store.add("left", 1)


def is_distributed() -> bool:
    """Whether this process works with others."""
    return _group.objects is not None


def rank() -> int:
    """The number of this process, from 0."""
    return _group.rank if is_distributed() else 0


def world_size() -> int:
    """How many processes there are."""
    return _group.size if is_distributed() else 1


def is_main_process() -> bool:
    """Whether this process is rank 0, which writes and prints."""
    return rank() == 0


def barrier() -> None:
    """Wait until all ranks are here."""
    all_gather(None)


def broadcast(value: T) -> T:
    """Rank 0's value, on every rank; the value is pickled."""
    if not is_distributed():
        return value
    import torch.distributed as dist

    box = [value]
    with _peer_errors():
        dist.broadcast_object_list(box, src=0, group=_group.objects)
    return box[0]


def all_gather(value: T) -> list[T]:
    """Every rank's value, by rank, on every rank; the values are pickled."""
    if not is_distributed():
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world_size()
    with _peer_errors():
        dist.all_gather_object(values, value, group=_group.objects)
    return values


def on_main(work: Callable[[], T]) -> T:
    """Do some work on rank 0 alone, and give its result to every rank; `work` comes to no collective call.

    Raises:
        DocclfError: Rank 0's, on every rank.
    """
    if not is_distributed():
        return work()
    outcome: tuple[T | None, DocclfError | None] = (None, None)
    if is_main_process():
        try:
            outcome = (work(), None)
        except DocclfError as error:
            outcome = (None, error)
    result, failed = broadcast(outcome)
    if failed is not None:
        raise failed
    return result  # type: ignore[return-value]


def shards(rows: np.ndarray, processes: int) -> list[np.ndarray]:
    """The rows of each process: every row once, no shard longer than another by more than one."""
    return [rows[number::processes] for number in range(processes)]


def interleaved(parts: Sequence[np.ndarray]) -> np.ndarray:
    """What the processes found for their `shards`, in the order of the rows."""
    import numpy as np

    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=parts[0].dtype)
    for number, part in enumerate(parts):
        whole[number :: len(parts)] = part
    return whole


def raise_if_set(stop: StopFlag, message: str) -> None:
    """Leave a loop on all ranks at once when one of them is to stop.

    Raises:
        Interrupted: The flag of a rank was set before all were asked; what comes later is told the next time.
    """
    if is_distributed():
        import torch.distributed as dist

        (number,) = _all_reduce([float(stop.signal_number or 0)], dist.ReduceOp.MAX)
        if not number:
            return
        stop.signal_number = int(number)
    stop.raise_if_set(message)


def all_reduce_sum(*values: float) -> list[float]:
    """The sum of each value over all ranks."""
    if not is_distributed():
        return list(values)
    import torch.distributed as dist

    return _all_reduce(values, dist.ReduceOp.SUM)


def _all_reduce(values: Sequence[float], operation: Any) -> list[float]:
    import torch
    import torch.distributed as dist

    tensor = torch.tensor(values, dtype=torch.float64)
    with _peer_errors():
        dist.all_reduce(tensor, op=operation)
    return tensor.tolist()


def broadcast_weights(model: torch.nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if not is_distributed():
        return
    import torch.distributed as dist

    with _peer_errors():
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.detach(), src=0)


def all_reduce_gradients(model: torch.nn.Module) -> None:
    """Sum the gradients of all ranks, and average the running statistics of their batch norms."""
    if not is_distributed():
        return
    import torch
    import torch.distributed as dist

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    statistics = list(_running_statistics(model))
    with torch.no_grad(), _peer_errors():
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
    from torch.nn.modules.batchnorm import _BatchNorm

    for part in model.modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None and part.running_var is not None:
            yield from (part.running_mean, part.running_var)


@contextlib.contextmanager
def _peer_errors() -> Iterator[None]:
    """Raise the error of another rank in place of what torch says of a rank that has left.

    Raises:
        LostProcessError: The rank left without an error, as one that was killed.
    """
    try:
        yield
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:  # also parts of a message
        first = _first_error()
        if first is not None:
            _group.broken = True
            raise first from error
        raise LostProcessError(
            f"another of the {process_count()} processes has ended, or has not answered for "
            f"{STEP_TIMEOUT // timedelta(minutes=1)} minutes",
            "it was killed, or its machine stopped; training can be resumed with --resume",
        ) from error
