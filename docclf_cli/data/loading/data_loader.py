"""The one data loader: torch's `DataLoader`, made so that its processes can never leave the main process waiting.

What cannot be sent ends the process that was to send it, which the main process notices; left alone, the thread that
sends would print a traceback and drop the batch, and the main process would wait for ever.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import multiprocessing.queues
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import ConcatDataset, DataLoader, Dataset

from docclf_cli.data.loading.batch import SHARED_MEMORY, Batch, collate, free_shared_memory
from docclf_cli.data.loading.worker_gate import Batches, GatedDataset, GatedLoader, Loader, Numbered, WorkerGate
from docclf_cli.data.loading.worker_pool import init_worker, start_method
from docclf_cli.errors import DocclfError, is_dead_worker

_READ_AHEAD = 2  # batches
_LEAST = 2**20  # bytes for the semaphores of some loaders, a memory page each
_WAIT_SECONDS = 5  # between two looks at whether somebody wants to stop
_END_SECONDS = 1.0  # for a process that is ending
_TIMED_OUT = "DataLoader timed out"  # how torch says that no batch came in this time
_CANNOT_SEND = 75  # exit code of a process that cannot send a batch
logger = logging.getLogger("docclf")

OnWait = Callable[[], object]


def never_stop() -> None:
    """Nobody wants to stop."""


@functools.cache
def processes_can_talk() -> bool:
    """Whether loader processes can be used: they need semaphores, which a machine without /dev/shm does not have."""
    try:
        multiprocessing.get_context(start_method()).Lock()
        why = "is full" if free_shared_memory() < _LEAST else ""
    except (OSError, ImportError) as error:
        why = f"cannot be used ({getattr(error, 'strerror', None) or error})"
    if why:
        logger.warning("no loader processes, for %s %s: the main process reads all pages itself", SHARED_MEMORY, why)
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
            DocclfError: Reading a page gave it.
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
            except (ConnectionError, EOFError, FileNotFoundError) as error:  # it died while it handed over a batch
                dead = next((one for one in getattr(batches, "_workers", ()) if _has_ended(one)), None)
                if dead is None:
                    raise
                raise RuntimeError(f"DataLoader worker (pid(s) {dead.pid}) exited unexpectedly") from error
            else:
                if isinstance(batch, DocclfError):
                    raise batch
                yield batch

    def _wait_on(self, batches: Any) -> None:
        """Go on waiting, unless that is in vain."""
        self.on_wait()
        pinning = getattr(batches, "_pin_memory_thread", None)
        if pinning is not None and not pinning.is_alive():
            raise RuntimeError("the thread that pins batches has ended")


def _has_ended(worker: BaseProcess) -> bool:
    worker.join(_END_SECONDS)
    return not worker.is_alive()


def data_loader(
    dataset: Any,
    batches: Batches,
    *,
    workers: int = 0,
    pin: bool = False,
    collate: Callable[[list[Any]], Any] = collate,
    on_wait: OnWait = never_stop,
    persistent: bool = False,
    gated: bool = False,
) -> Loader:
    """A loader that plays `batches` each time it is iterated.

    A dataset that is `quick` is read by one thread: copying a page takes some microseconds, and starting processes
    takes as long as thousands of pages.

    Args:
        dataset: Gives a sample for a key.
        batches: Keys of each batch.
        workers: Loader processes; with 0 the main process reads.
        pin: Whether batches are put into page-locked memory.
        collate: Makes a batch of samples.
        on_wait: Called whenever no batch has come for some seconds; may raise to stop.
        persistent: Whether the processes stay for the next pass.
        gated: Whether the processes rest while a batch is worked on (`worker_gate`).
    """
    if _is_quick(dataset):
        return _ReadAhead(dataset, batches, pin)
    workers = min(workers, len(batches))
    gate = WorkerGate(workers, start_method()) if gated and workers else None
    reading = _Reading(dataset)
    loader = DataLoader(
        reading if gate is None else GatedDataset(reading, gate),
        batch_sampler=batches if gate is None else Numbered(batches),  # type: ignore[arg-type]
        collate_fn=_Collating(collate),
        num_workers=workers,
        pin_memory=pin,
        timeout=_WAIT_SECONDS if workers else 0,
        persistent_workers=persistent and workers > 0,
        # Behind a gate, batches asked for early would be made out of turn.
        prefetch_factor=None if not workers else 2 if gate is None else 1,
        worker_init_fn=start_worker,
        multiprocessing_context=start_method() if workers else None,
    )
    watched = ProcessLoader(loader, on_wait)
    return watched if gate is None else GatedLoader(watched, gate)


@dataclass(frozen=True, eq=False)
class _Reading(Dataset[Any]):
    """A dataset whose errors of the ordinary kind are samples: torch would make a traceback of their message."""

    dataset: Any

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.dataset[key]
        except DocclfError as error:
            return error


@dataclass(frozen=True, eq=False)
class _Collating:
    """Makes a batch of samples; of samples with an error, the error."""

    collate: Callable[[list[Any]], Any]

    def __call__(self, samples: list[Any]) -> Any:
        failed = next((one for one in samples if isinstance(one, DocclfError)), None)
        return self.collate(samples) if failed is None else failed


def _is_quick(dataset: Any) -> bool:
    parts = dataset.datasets if isinstance(dataset, ConcatDataset) else [dataset]
    return all(getattr(part, "quick", False) for part in parts)


@dataclass(frozen=True, eq=False)
class _ReadAhead:
    """Batches that one thread reads while those before are looked at."""

    dataset: Any
    batches: Batches
    pin: bool
    num_workers = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        thread = ThreadPoolExecutor(1, "docclf-reader")
        ahead: deque[Future[Batch]] = deque()
        try:
            for batch in self.batches:
                ahead.append(thread.submit(self._read, batch))
                if len(ahead) > _READ_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            thread.shutdown(cancel_futures=True)

    def _read(self, batch: Sequence[Any]) -> Batch:
        read = collate([self.dataset[key] for key in batch])
        return read.pin_memory() if self.pin else read


def read_one_by_one(dataset: Any, keys: Sequence[Any], on_wait: OnWait = never_stop) -> Iterator[tuple[Any, Any]]:
    """(key, sample) of each key; the sample is None where reading it ends its loader process (`is_dead_worker`).

    A file can make its decoder crash, or use up the memory; this finds out which one it was.
    """

    def samples(wanted: Sequence[Any]) -> Iterator[Any]:
        for (sample,) in data_loader(dataset, [[key] for key in wanted], workers=1, collate=list, on_wait=on_wait):
            yield sample

    left = deque(keys)
    while left:
        try:
            for sample in samples(left):
                yield left.popleft(), sample
        except RuntimeError as error:
            if not is_dead_worker(error):
                raise
            # Its process may have died at a later page, with this one on the way.
            key = left.popleft()
            try:
                (sample,) = samples([key])
            except RuntimeError as again:
                if not is_dead_worker(again):
                    raise
                sample = None
            yield key, sample
