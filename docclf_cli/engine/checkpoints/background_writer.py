"""Writes beside the training, one after the other: nothing is lost, nothing is half there, and nobody waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch
from threadpoolctl import threadpool_limits


class BackgroundWriter:
    """A thread that does what it is given, in order, while the block goes on.

    What fails is raised by the next call, at the latest when the block ends.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "docclf-writer", use_one_thread)
        self._pending: Future[None] | None = None

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def run(self, jobs: Sequence[Callable[[], object]]) -> None:
        """Do `jobs` in order, after those that are still being done."""
        self.wait()
        self._pending = self._thread.submit(_do, jobs)

    def raise_failed(self) -> None:
        """Raise what a job has failed with; otherwise nothing happens."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Return when everything is done.

        Raises:
            Exception: What a job failed with.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def use_one_thread() -> None:
    """Let the tensors of the calling thread be worked on by no other.

    A thread with helpers of its own makes OpenMP count more threads than cores, and from then on the helpers of the
    thread that trains sleep whenever they wait for it.
    """
    torch.get_num_threads()  # torch sets the number once for each thread, when it is first needed
    threadpool_limits(1, user_api="openmp")


def _do(jobs: Sequence[Callable[[], object]]) -> None:
    for job in jobs:
        job()


def to_cpu_copy(value: Any) -> Any:
    """Nested plain data with copies of its tensors, in main memory, that training does not change any more."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: to_cpu_copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_cpu_copy(item) for item in value)
    return value
