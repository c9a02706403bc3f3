"""A gate that lets data loader workers run only while the model waits for a batch, on machines where both share cores.

A training step on a CPU spreads over all cores and waits for the slowest. A worker that takes 30 ms of one core in the
meantime makes the whole step 30 ms longer. If all workers make a batch each at the same time, while the model waits for
the first of them, the same work costs 30 ms divided by the number of cores.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Any, Protocol

from torch.utils.data import Dataset, get_worker_info

_PATIENCE = 2.0  # seconds that a worker waits at the gate; beside a step that long its work costs nothing
_NONE, _ALL = -1, 2**62


class WorkerGate:
    """Tells all workers up to which batch of the epoch, counted from 0, they may work.

    Args:
        workers: How many workers there are.
        method: How they are started.
    """

    def __init__(self, workers: int, method: str) -> None:
        context = multiprocessing.get_context(method)
        self._last = context.RawValue("q", _NONE)
        self._changed = [context.Semaphore(0) for _ in range(workers)]

    def allow(self, last: int) -> None:
        """Let batches up to `last` be made."""
        self._last.value = last
        for changed in self._changed:
            changed.release()

    def wait_for(self, number: int, worker: int) -> None:
        """Wait until a batch may be made, or for `_PATIENCE`: a parent that died opens the gate no more."""
        while self._last.value < number and self._changed[worker].acquire(timeout=_PATIENCE):
            pass


@dataclass(frozen=True, eq=False)
class GatedDataset(Dataset[Any]):
    """A dataset that makes each batch, given as (number, keys), when the gate allows it."""

    dataset: Dataset[Any]
    gate: WorkerGate

    def __getitems__(self, batch: tuple[int, list[Any]]) -> list[Any]:
        number, keys = batch
        self.gate.wait_for(number, get_worker_info().id)  # type: ignore[union-attr]  # only ever in a worker
        return [self.dataset[key] for key in keys]


class Batches(Sized, Protocol):
    """Keys of the batches of a pass."""

    def __iter__(self) -> Iterator[Any]: ...


class Loader(Sized, Protocol):
    """Batches, made anew on each pass."""

    @property
    def num_workers(self) -> int:
        """Loader processes."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


@dataclass(frozen=True, eq=False)
class Numbered:
    """Batches as (number, keys)."""

    batches: Batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[int, list[Any]]]:
        return iter(enumerate(self.batches))


@dataclass(frozen=True, eq=False)
class GatedLoader:
    """A loader over a `GatedDataset`: its workers make one batch each when the model asks for the first of these."""

    loader: Loader
    gate: WorkerGate

    @property
    def num_workers(self) -> int:
        """Loader processes."""
        return self.loader.num_workers

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        workers, batches = self.loader.num_workers, len(self.loader)
        self.gate.allow(_NONE)
        made = iter(self.loader)
        try:
            for number in range(batches):
                if number % workers == 0:
                    self.gate.allow(number + workers - 1)
                yield next(made)
        finally:
            self.gate.allow(_ALL)  # a worker that still waits must not keep the program from ending
