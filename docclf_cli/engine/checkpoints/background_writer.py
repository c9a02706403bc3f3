"""Writes checkpoints in a background thread, one after another, while training continues."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch
from threadpoolctl import threadpool_limits


class BackgroundWriter:
    """A thread that runs jobs in order; a context manager that waits for them at its end.

    The error of a job is raised by the next call, at the latest when the block ends.
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
        """Run `jobs` in order, after those that are still running."""
        self.wait()
        self._pending = self._thread.submit(_run, jobs)

    def raise_failed(self) -> None:
        """Raise the error of a failed job, without waiting for running jobs."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Wait for all jobs.

        Raises:
            Exception: The error of a failed job.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def use_one_thread() -> None:
    """Limit OpenMP to one thread for tensors of the calling thread.

    Otherwise OpenMP has more threads than cores, and the helper threads of training sleep whenever they wait.
    """
    torch.get_num_threads()  # torch sets the number once for each thread, when it is first needed
    threadpool_limits(1, user_api="openmp")


def _run(jobs: Sequence[Callable[[], object]]) -> None:
    for job in jobs:
        job()


def to_cpu_copy(value: Any) -> Any:
    """Copy nested plain data, with its tensors in main memory, so that training does not change the copy."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: to_cpu_copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_cpu_copy(item) for item in value)
    return value
