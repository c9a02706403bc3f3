"""Processes that decode pages, all cores at once; one that dies is noticed and named."""

from __future__ import annotations

import functools
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.errors import ResourceError

if TYPE_CHECKING:
    import numpy as np

    from docclf_cli.data.loading.cache_file import Draft

Done = tuple[int, int, str]  # slot, checksum, reason where the page is unreadable
Read = Callable[[int], "np.ndarray"]  # from the row of a page
_POLL_SECONDS = 0.1
_END_SECONDS = 5.0


class Job(NamedTuple):
    """A page to read: its slot in the draft, its row in the index, its image file."""

    slot: int
    row: int
    path: Path


def decode_into(
    draft: Draft, jobs: Sequence[Job], read: Read, workers: int, should_stop: Callable[[], bool]
) -> Iterator[Done]:
    """Read the pages of `jobs` into their slots, in no particular order, until `should_stop`.

    Raises:
        ResourceError: A process died (out of memory, or a decoder crashed); the page it was at is named.
        OSError: The disk is full.
    """
    if workers < 2 or len(jobs) < 2:
        for done in _decoded(draft, jobs, read):
            yield done
            if should_stop():
                return
    else:
        yield from _by_processes(draft, jobs, read, min(workers, len(jobs)), should_stop)


@functools.cache
def start_method() -> str:
    """How worker processes start: forked where possible, so that they share the index and mapped pages.

    Nothing is imported again either, and a script needs no __main__ guard. Whoever asks is about to start some: those
    that are left over at the end of the program are killed then, for they do not listen to the SIGTERM that
    multiprocessing would send before it waits for them.
    """
    multiprocessing.util.Finalize(None, _end_workers, exitpriority=0)
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


def init_worker() -> None:
    """What a worker process does first: leave signals to its parent, and use one thread.

    The parent decides when to stop; a worker only looks whether it is still there. A forked process has none of its
    parent's threads, but torch's operations would wait for them for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


def _end_workers() -> None:
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def _by_processes(
    draft: Draft, jobs: Sequence[Job], read: Read, workers: int, should_stop: Callable[[], bool]
) -> Iterator[Done]:
    context: Any = multiprocessing.get_context(start_method())
    running: dict[Connection, tuple[Any, list[Job]]] = {}
    try:
        for number in range(workers):
            receive, send = context.Pipe(duplex=False)
            share = list(jobs[number::workers])
            process = context.Process(target=_work, args=(send, draft, share, read, os.getpid()), daemon=True)
            process.start()
            send.close()
            running[receive] = process, share
        while running and not should_stop():
            for receive in wait(list(running), _POLL_SECONDS):
                yield from _received(receive, running)  # type: ignore[arg-type]
    finally:
        for process, _ in running.values():
            process.kill()
        for process, _ in running.values():
            process.join(_END_SECONDS)  # one that waits for a dead network folder does not even die


def _received(receive: Connection, running: dict[Connection, tuple[Any, list[Job]]]) -> Iterator[Done]:
    process, share = running[receive]
    try:
        message = receive.recv()
    except EOFError:
        del running[receive]
        process.join(_END_SECONDS)
        if share:
            raise ResourceError(
                f"a process that decodes pages died (exit {process.exitcode}) at {share[0].path}",
                "memory may have run out: set runtime.workers lower; or the file crashes its decoder: remove it",
            ) from None
        return
    if isinstance(message, BaseException):
        raise message
    share.pop(0)
    yield message


def _work(send: Connection, draft: Draft, jobs: Sequence[Job], read: Read, parent: int) -> None:
    init_worker()
    try:
        for done in _decoded(draft, jobs, read):
            if os.getppid() != parent:
                return
            send.send(done)
    except BrokenPipeError:  # the parent has gone
        return
    except (OSError, MemoryError) as error:
        send.send(error)


def _decoded(draft: Draft, jobs: Sequence[Job], read: Read) -> Iterator[Done]:
    handle = os.open(draft.path, os.O_WRONLY)
    try:
        for job in jobs:
            try:
                page = read(job.row)
            except UnreadablePage as error:
                yield job.slot, 0, error.reason
            else:
                yield job.slot, draft.write(handle, job.slot, page), ""
    finally:
        os.close(handle)
