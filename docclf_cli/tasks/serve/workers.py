"""Several processes that answer on one port: each has the models, and one that ends is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from docclf_cli.errors import DocclfError, ResourceError
from docclf_cli.hardware import physical_cores
from docclf_cli.services.web.server import listen
from docclf_cli.tasks.serve.served_model import ModelSource
from docclf_cli.tasks.serve.server import STOPPING, ServeOptions, answer, say_address
from docclf_cli.tasks.serve.service import METRICS_FOLDER, ServeLimits

READY = "ready"
LONGEST_PAUSE = 30.0  # seconds before a process that cannot start is tried again
KILLED_AFTER = 10.0  # seconds beyond those that requests may take
logger = logging.getLogger("docclf")
Prepare = Callable[[], None]


def serve_in_workers(
    count: int,
    sources: Mapping[str, ModelSource],
    options: ServeOptions,
    limits: ServeLimits,
    prepare: Prepare,
) -> None:
    """Answer requests in several processes until SIGTERM or Ctrl-C; requests that were accepted are answered first.

    They accept connections from one socket, so a request goes to one that is free. SIGHUP loads the models again in all of them. One that
    ends is replaced, and its requests are lost.

    Args:
        count: How many processes.
        sources: Models by name; each process loads all of them.
        options: How to answer; the decoders are shared out.
        limits: What requests may take, and how many each process takes.
        prepare: Called first in each process; prepares its messages.

    Raises:
        InputError: The address is not of this machine.
        ResourceError: The port is taken, or a process cannot start.
        CheckpointError: A checkpoint is damaged.
    """
    threads = max(1, physical_cores() // count)
    shared = {
        name: replace(source, runtime=source.runtime.model_copy(update={"threads": source.runtime.threads or threads}))
        for name, source in sources.items()
    }
    options = replace(options, decoders=max(1, options.decoders // count))
    with contextlib.closing(listen(options.host, options.port)) as listener, _shared_metrics():
        work = functools.partial(_work, prepare, listener, shared, options, limits)
        asyncio.run(_Workers(count, work, options, listener).run())


@contextlib.contextmanager
def _shared_metrics() -> Iterator[None]:
    """A folder in which the processes keep their counts, so that each can tell those of all."""
    with tempfile.TemporaryDirectory(prefix="docclf-metrics-") as folder:
        os.environ[METRICS_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[METRICS_FOLDER]


def _work(
    prepare: Prepare,
    listener: socket.socket,
    sources: Mapping[str, ModelSource],
    options: ServeOptions,
    limits: ServeLimits,
    pipe: Connection,
) -> None:
    """What a process does: load the models, say so, and answer until it is told to stop, or nobody is left to tell it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the first process passes it on
    prepare()
    try:
        answer(listener, sources, options, limits, functools.partial(pipe.send, READY), pipe)
    except DocclfError as error:
        pipe.send(error)
        sys.exit(error.exit_code)
    except Exception as error:
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))
        sys.exit(1)


@dataclass(eq=False)
class _Worker:
    """A process; until it is ready SIGHUP would end it, so it gets a reload that was missed when it is."""

    process: BaseProcess
    pipe: Connection
    ready: bool = False
    reload: bool = False

    def send(self, number: signal.Signals) -> None:
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)


class _Workers:
    """Starts the processes, passes signals on to them, and replaces those that end.

    Args:
        count: How many.
        work: What each does with its end of a pipe.
        options: How long accepted requests may take at the end.
        listener: Where they listen.
    """

    def __init__(
        self, count: int, work: Callable[[Connection], None], options: ServeOptions, listener: socket.socket
    ) -> None:
        self._work, self._options, self._listener = work, options, listener
        self._running: set[_Worker] = set()
        self._stopping = asyncio.Event()
        self._waiting = count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._context = multiprocessing.get_context("spawn")

    async def run(self) -> None:
        """Keep the processes alive until a signal ends them.

        Raises:
            DocclfError: One cannot start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        keepers = [loop.create_task(self._keep()) for _ in range(self._waiting)]
        try:
            await asyncio.gather(*keepers)
        finally:
            self._stopping.set()
            self._send(signal.SIGTERM)
            await asyncio.gather(*keepers, return_exceptions=True)
            self._threads.shutdown()

    async def _keep(self) -> None:
        """One process after another, until the server stops."""
        pause, started = 1.0, False
        while not self._stopping.is_set():
            worker = self._start()
            said = await self._in_thread(_first_word, worker.pipe)
            if said == READY:
                self._is_ready(worker, first=not started)
                pause, started = 1.0, True
            await self._in_thread(worker.process.join)
            worker.pipe.close()
            self._running.discard(worker)
            mark_process_dead(worker.process.pid)
            if self._stopping.is_set():
                return
            if not started:
                raise said if isinstance(said, Exception) else _could_not_start(worker.process)
            why = said if isinstance(said, Exception) else f"exit code {worker.process.exitcode}"
            logger.warning("a worker has ended (%s); another one takes its place", why)
            if said != READY:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=self._work, args=(theirs,))
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._running.add(worker)
        return worker

    def _is_ready(self, worker: _Worker, *, first: bool) -> None:
        worker.ready = True
        if worker.reload:
            worker.send(signal.SIGHUP)
        self._waiting -= first
        if first and not self._waiting:
            say_address(self._options, self._listener)

    def _reload(self) -> None:
        for worker in self._running:
            if worker.ready:
                worker.send(signal.SIGHUP)
            else:
                worker.reload = True

    def _stop(self) -> None:
        if not self._stopping.is_set():
            logger.info(STOPPING)
            asyncio.get_running_loop().call_later(
                self._options.stop_after + KILLED_AFTER, lambda: self._send(signal.SIGKILL)
            )
        self._stopping.set()
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for worker in self._running:
            worker.send(number)

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def _first_word(pipe: Connection) -> Any:
    """What a process says first: that it is ready, or why it is not; None where it ends and says nothing."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


def _could_not_start(process: BaseProcess) -> ResourceError:
    return ResourceError(
        f"a worker ended before it could answer (exit code {process.exitcode})",
        "each worker holds the models: fewer of them need less memory",
    )
