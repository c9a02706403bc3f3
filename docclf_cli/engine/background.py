"""Writes beside the training, one after the other: nothing is lost, nothing is half there, and nobody waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch


class Background:
    """A thread that does what it is given, in order, while the block goes on.

    What fails is raised by the next call, at the latest when the block ends.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="docclf-writer")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Background:
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


def _do(jobs: Sequence[Callable[[], object]]) -> None:
    for job in jobs:
        job()


def frozen(value: Any) -> Any:
    """Nested plain data with copies of its tensors, in main memory, that training does not change any more."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: frozen(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(frozen(item) for item in value)
    return value
