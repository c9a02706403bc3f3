"""Puts the pages of several requests into one batch of the model."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from docclf_cli.tasks.predict.page_predictions import PageScores
from docclf_cli.tasks.serve.decoding import DecodedPage
from docclf_cli.tasks.serve.served_model import ServedModel

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Waiting:
    model: ServedModel
    page: DecodedPage
    result: asyncio.Future[PageScores]


class Batcher:
    """Collects pages for a bounded time, and runs one batch after another in a thread of its own.

    While the model computes one batch, the next one fills; so the wait only matters while there is little to do.

    Args:
        wait: Seconds that the first page of a batch waits for others.
    """

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self._pending: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None
        self.batches = 0
        self.pages = 0

    def start(self) -> None:
        """Begin to run batches; inside of the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """End after the batch that is running."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown()

    @property
    def waiting(self) -> int:
        """Pages that wait for the model."""
        return len(self._pending)

    async def outputs(self, model: ServedModel, pages: Sequence[DecodedPage]) -> list[PageScores]:
        """What a model says of the readable pages, in their order."""
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(model, page, loop.create_future()) for page in pages if page.images]
        self._pending.extend(waiting)
        self._arrived.set()
        return [await one.result for one in waiting]

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """What a function returns that uses a model; it runs between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._pending:
                self._arrived.clear()
                await self._arrived.wait()
            model = self._pending[0].model
            await self._collect(model.most_pages)
            batch = self._take(model)
            if not batch:
                continue
            try:
                found = await loop.run_in_executor(self._thread, model.outputs, [one.page for one in batch])
            except Exception as error:  # the requests of this batch fail, the server goes on
                for one in batch:
                    if not one.result.done():
                        one.result.set_exception(error)
                continue
            self.batches += 1
            self.pages += len(batch)
            for one, scores in zip(batch, found, strict=True):
                if not one.result.done():
                    one.result.set_result(scores)

    async def _collect(self, most: int) -> None:
        """Wait until a batch is full, or its first page has waited long enough."""
        deadline = asyncio.get_running_loop().time() + self._wait
        while len(self._pending) < most:
            self._arrived.clear()
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return

    def _take(self, model: ServedModel) -> list[_Waiting]:
        """The pages of the next batch, all of one model; those whose request was given up are dropped."""
        batch, others = list[_Waiting](), deque[_Waiting]()
        while self._pending and len(batch) < model.most_pages:
            one = self._pending.popleft()
            if one.result.cancelled():
                continue
            (batch if one.model is model else others).append(one)
        self._pending.extendleft(reversed(others))
        return batch
