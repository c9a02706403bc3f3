"""torch's `DataLoader`, made so that its processes can neither leave the main process waiting nor fill /dev/shm.

Images come from loader processes in shared memory while there is room (Docker gives a container 64 MB), and through
the pipe when there is none. What cannot be sent ends the process that was to send it, which the main process notices;
left alone, the thread that sends would print a traceback and drop the batch, and the main process would wait for ever.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import multiprocessing.queues
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from docclf_cli.data.loading.worker_pool import init_worker, start_method

SHARED_MEMORY = "/dev/shm"
_SPARE = 16 * 2**20  # bytes left to the rest of the program: semaphores, NCCL
_LEAST = 2**20  # bytes for the semaphores of some loaders, a memory page each
_WAIT_SECONDS = 5  # between two looks at whether somebody wants to stop
_TIMED_OUT = "DataLoader timed out"  # how torch says that no batch came in this time
_CANNOT_SEND = 75  # exit code of a process that cannot send a batch
_pipe_only = False  # of this process: each failure would leave an empty file and an open handle
logger = logging.getLogger("docclf")

OnWait = Callable[[], object]


def never_stop() -> None:
    """Nobody wants to stop."""


def shared_or_plain(images: torch.Tensor) -> torch.Tensor | np.ndarray:
    """Images as they are pickled for another process: in shared memory if there is room for them, else as an array.

    Args:
        images: [..., 3, height, width], a view of channels-last memory.

    Returns:
        The tensor, or its pixels [..., height, width, 3] as a contiguous array.
    """
    global _pipe_only
    if not _pipe_only and _free() > images.nbytes + _SPARE:
        try:
            return images.share_memory_()
        except (RuntimeError, OSError):  # somebody else was quicker, or there are too many open files
            _pipe_only = True
    return images.movedim(-3, -1).contiguous().numpy()


def as_tensor(images: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Images as `shared_or_plain` has sent them, [..., 3, height, width]."""
    if isinstance(images, torch.Tensor):
        return images
    _say_once()
    return torch.from_numpy(images).movedim(-1, -3)


@functools.cache
def _say_once() -> None:
    logger.warning(
        "%s is too small for the batches of the loader processes: some come through pipes, which is slower "
        "(Docker: --shm-size=2g)",
        SHARED_MEMORY,
    )


def _free() -> float:
    """Bytes left of shared memory; without limit where it is no folder."""
    try:
        facts = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return float("inf")
    return facts.f_bavail * facts.f_frsize


@functools.cache
def processes_can_talk() -> bool:
    """Whether loader processes can be used: they need semaphores, which a machine without /dev/shm does not have."""
    try:
        multiprocessing.get_context(start_method()).Lock()
        why = "is full" if _free() < _LEAST else ""
    except (OSError, ImportError) as error:
        why = f"cannot be used ({getattr(error, 'strerror', None) or error})"
    if why:
        logger.warning(
            "no loader processes, because %s %s: the main process reads all pages itself", SHARED_MEMORY, why
        )
    return not why


def start_worker(worker: int) -> None:
    """What a loader process does first."""
    init_worker()
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]


def _end(error: BaseException, batch: Any) -> None:
    os._exit(_CANNOT_SEND)


@dataclass(frozen=True, eq=False)
class ProcessLoader:
    """Batches that loader processes make, or with none of them the main process.

    Attributes:
        loader: Makes them; with processes its `timeout` is `_WAIT_SECONDS`.
        on_wait: Called whenever no batch has come for some seconds; may raise to stop.
    """

    loader: DataLoader[Any]
    on_wait: OnWait = never_stop

    @property
    def num_workers(self) -> int:
        """Loader processes."""
        return self.loader.num_workers

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """Batch after batch.

        Raises:
            RuntimeError: A loader process died (`is_dead_worker`).
        """
        return self._watched(iter(self.loader))

    def _watched(self, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith(_TIMED_OUT):
                    raise
                self._wait_on(batches)
            else:
                yield batch

    def _wait_on(self, batches: Any) -> None:
        """Go on waiting, unless that is in vain."""
        self.on_wait()
        pinning = getattr(batches, "_pin_memory_thread", None)
        if pinning is not None and not pinning.is_alive():
            raise RuntimeError("the thread that pins batches has ended")


def process_loader(
    dataset: Any,
    batches: Sequence[Any] | Any,
    collate: Callable[[list[Any]], Any],
    workers: int,
    pin: bool,
    on_wait: OnWait = never_stop,
    *,
    persistent: bool = False,
    prefetch_factor: int = 2,
) -> ProcessLoader:
    """A loader over a dataset.

    Args:
        dataset: Gives a sample for a key.
        batches: Keys of each batch.
        collate: Makes a batch of samples.
        workers: Loader processes; with 0 the main process reads.
        pin: Whether batches are put into page-locked memory.
        on_wait: Called whenever no batch has come for some seconds; may raise to stop.
        persistent: Whether the processes stay for the next pass.
        prefetch_factor: Batches that each process makes ahead.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin,
        timeout=_WAIT_SECONDS if workers else 0,
        persistent_workers=persistent and workers > 0,
        prefetch_factor=prefetch_factor if workers else None,
        worker_init_fn=start_worker,
        multiprocessing_context=start_method() if workers else None,
    )
    return ProcessLoader(loader, on_wait)
