"""Runs the HTTP server: loads the models, listens, reloads and stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import traceback
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn

from docclf_cli.services.web.hosts import is_loopback
from docclf_cli.services.web.server import listen
from docclf_cli.tasks.serve.app import requests_log
from docclf_cli.tasks.serve.batching import Batcher
from docclf_cli.tasks.serve.connections import http_config
from docclf_cli.tasks.serve.decoding import DecodePool
from docclf_cli.tasks.serve.served_model import SHOWN_DIGITS, ModelSource
from docclf_cli.tasks.serve.service import ServeLimits, Service

logger = logging.getLogger("docclf")
STOPPING = "stopping after the requests that were accepted; again to leave now"
LOOK_AGAIN = 2.0  # seconds between looks at the checkpoints, with --reload


@dataclass(frozen=True)
class ServeOptions:
    """How to listen.

    Attributes:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        token: Bearer token that requests have to carry; None asks for none.
        decoders: Files that are decoded at the same time.
        wait: Seconds that the first page of a batch waits for others.
        reload: Load a model again when its checkpoint changes.
        stop_after: Longest seconds that accepted requests may take after SIGTERM.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    decoders: int = 2
    wait: float = 0.005
    reload: bool = False
    stop_after: float = 30.0


class ServerLog(logging.Handler):
    """What the HTTP server itself has to say, as lines like those of the requests: never what a request holds."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        line = {"event": "server", "level": record.levelname.lower(), "message": str(record.msg).partition("\n")[0]}
        if record.exc_info and record.exc_info[1] is not None:
            last = traceback.extract_tb(record.exc_info[2])[-1:]
            line["error"] = type(record.exc_info[1]).__name__
            line["at"] = ", ".join(f"{Path(one.filename).name}:{one.lineno}" for one in last)
        requests_log.log(record.levelno, "%s", json.dumps(line))


class _Server(uvicorn.Server):
    """A server whose signals `_run` handles."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield


def serve(sources: Mapping[str, ModelSource], options: ServeOptions, limits: ServeLimits) -> None:
    """Answer requests until SIGTERM or Ctrl-C; requests that were accepted are answered first.

    SIGHUP loads all models again. A model that cannot be loaded again stays as it was.

    Raises:
        InputError: The address is not of this machine.
        ResourceError: The port is taken.
        CheckpointError: A checkpoint is damaged.
    """
    with contextlib.closing(listen(options.host, options.port)) as listener:
        answer(listener, sources, options, limits, lambda: say_address(options, listener))


def say_address(options: ServeOptions, listener: socket.socket) -> None:
    """Tell people where the server listens."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    logger.info("listening on http://%s:%d; Ctrl-C stops", host, listener.getsockname()[1])


def answer(
    listener: socket.socket,
    sources: Mapping[str, ModelSource],
    options: ServeOptions,
    limits: ServeLimits,
    ready: Callable[[], None],
    parent: Connection | None = None,
) -> None:
    """Answer the requests that arrive at a socket, in this process.

    Args:
        listener: The socket.
        sources: Models by name.
        options: How to answer.
        limits: What a request may take.
        ready: Called once, as soon as signals are handled.
        parent: Where it ends, so does this process, after the requests that were accepted.

    Raises:
        CheckpointError: A checkpoint is damaged.
    """
    with contextlib.ExitStack() as stack:
        models = {name: source.load() for name, source in sources.items()}
        # Decoders ignore signals, so that whatever ends this process must end them, or it would wait for them for ever.
        pool = stack.enter_context(contextlib.closing(DecodePool(options.decoders, limits.decode)))
        service = Service(
            models=models,
            limits=limits,
            batcher=Batcher(options.wait),
            pool=pool,
            decoders=options.decoders,
            token=options.token,
            loopback_only=is_loopback(options.host),
        )
        uvicorn_log = logging.getLogger("uvicorn.error")
        uvicorn_log.handlers, uvicorn_log.propagate = [ServerLog(logging.WARNING)], False
        server = _Server(http_config(service, options.stop_after))
        asyncio.run(_run(server, service, sources, options, listener, ready, parent))


async def _run(
    server: _Server,
    service: Service,
    sources: Mapping[str, ModelSource],
    options: ServeOptions,
    listener: socket.socket,
    ready: Callable[[], None],
    parent: Connection | None,
) -> None:
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()

    def stop() -> None:
        if service.stopping:
            server.force_exit = True
            return
        if parent is None:  # which says so for all
            logger.info(STOPPING)
        service.stopping = True
        server.should_exit = True

    def begin(work: Coroutine[None, None, None]) -> None:
        task = loop.create_task(work)
        running.add(task)
        task.add_done_callback(running.discard)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: begin(_reload(service, sources)))
    if options.reload:
        begin(_watch(service, sources))
    if parent is not None:

        def left_alone() -> None:
            loop.remove_reader(parent.fileno())
            stop()

        loop.add_reader(parent.fileno(), left_alone)
    ready()  # once the signals are handled: what starts this process may send one as soon as it hears of it
    await server.serve(sockets=[listener])
    for task in running:
        task.cancel()


async def _watch(service: Service, sources: Mapping[str, ModelSource]) -> None:
    """Load models again whose checkpoints were replaced."""
    files = {name: source.files for name, source in sources.items()}  # read once: a new checkpoint may be damaged
    seen = {name: _marks(files[name]) for name in sources}
    while True:
        await asyncio.sleep(LOOK_AGAIN)
        changed = {name: source for name, source in sources.items() if _marks(files[name]) != seen[name]}
        seen |= {name: _marks(files[name]) for name in changed}
        await _reload(service, changed)


def _marks(files: Iterable[Path]) -> list[tuple[int, int]]:
    facts = [file.stat() for file in files if file.exists()]
    return [(one.st_mtime_ns, one.st_ino) for one in facts]


async def _reload(service: Service, sources: Mapping[str, ModelSource]) -> None:
    for name, source in sources.items():
        try:
            service.models[name] = await asyncio.to_thread(source.load)
        except Exception as error:
            logger.warning("%s cannot be loaded again, so the model of before stays: %s", name, error)
        else:
            logger.info("loaded again: %s (%s)", name, service.models[name].key[:SHOWN_DIGITS])
