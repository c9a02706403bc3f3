"""Loader processes that work while the model rests, where both would otherwise fight for the same cores.

A training step on a CPU spreads over all cores and waits for the slowest. A loader process that takes 30 ms of one
core meanwhile makes the whole step 30 ms longer. Let all loader processes make a batch each at once, while the model
waits for the first of them, and the same work takes 30 ms by the number of cores.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Any, Protocol

from torch.utils.data import Dataset, get_worker_info

_PATIENCE = 2.0  # seconds that a process waits for its turn; beside a step that long its work is nothing
_NONE, _ALL = -1, 2**62


class WorkerGate:
    """The batches of an epoch that may be made now, counted from 0; known to all loader processes.

    Args:
        workers: How many processes there are.
        method: How they are started.
    """

    def __init__(self, workers: int, method: str) -> None:
        context = multiprocessing.get_context(method)
        self._last = context.RawValue("q", _NONE)
        self._news = [context.Semaphore(0) for _ in range(workers)]

    def allow(self, last: int) -> None:
        """Let batches up to `last` be made."""
        self._last.value = last
        for news in self._news:
            news.release()

    def wait_for(self, number: int, worker: int) -> None:
        """Rest until a batch may be made, or patience has run out: a parent that died allows nothing."""
        while self._last.value < number and self._news[worker].acquire(timeout=_PATIENCE):
            pass


@dataclass(frozen=True, eq=False)
class GatedDataset(Dataset[Any]):
    """A dataset whose batches, asked for as (number, keys), are made when it is their turn."""

    dataset: Dataset[Any]
    gate: WorkerGate

    def __getitems__(self, batch: tuple[int, list[Any]]) -> list[Any]:
        number, keys = batch
        self.gate.wait_for(number, get_worker_info().id)  # type: ignore[union-attr]  # only ever in a process
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
    """The batches of a loader over `GatedDataset`, whose processes make one each whenever the first of them is wanted."""

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
            self.gate.allow(_ALL)  # nobody who still waits shall keep the program from ending
