"""A pool of worker processes that decode pages into a cache file; a worker that dies is noticed, with its page."""

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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.errors import ResourceError
from docclf_cli.stop import StopFlag

if TYPE_CHECKING:
    import numpy as np

    from docclf_cli.data.loading.cache_file import CacheDraft

Done = tuple[int, int, str]  # slot, checksum, reason where the page is unreadable
Read = Callable[[int], "np.ndarray"]  # from the row of a page
T = TypeVar("T")
_POLL_SECONDS = 0.1
_END_SECONDS = 5.0


class Job(NamedTuple):
    """A page to read: its slot in the cache file, its row in the index, its image file."""

    slot: int
    row: int
    path: Path


def decode_into(draft: CacheDraft, jobs: Sequence[Job], read: Read, workers: int, stop: StopFlag) -> Iterator[Done]:
    """Read the pages of `jobs` into their slots, in no particular order, until `stop` is set.

    Raises:
        ResourceError: A worker died (out of memory, or a decoder crashed); the message names its page.
        OSError: The disk is full.
    """
    if workers < 2 or len(jobs) < 2:
        for done in _decoded(draft, jobs, read):
            yield done
            if stop():
                return
    else:
        yield from by_processes(functools.partial(_decoded, draft, read=read), jobs, workers, stop)


@functools.cache
def start_method() -> str:
    """How worker processes are started: forked where possible, so that they share the index and mapped pages.

    Forked processes import nothing again, and a script needs no __main__ guard. The first call also sees to it that
    workers which are left over at the end of the program are killed: they ignore the SIGTERM that multiprocessing sends
    before it waits for them.
    """
    multiprocessing.util.Finalize(None, _end_workers, exitpriority=0)
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


def init_worker() -> None:
    """Prepare a worker process: it ignores signals and uses one thread.

    The parent decides when to stop; a worker only checks that its parent is alive. A forked process has none of its
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


def by_processes(
    perform: Callable[[Sequence[Job]], Iterator[T]], jobs: Sequence[Job], workers: int, stop: StopFlag
) -> Iterator[T]:
    """What `perform` yields for each job, in no particular order, by several processes, until `stop` is set.

    Args:
        perform: Yields one result a job, in their order.
        jobs: All jobs.
        workers: How many processes.
        stop: Polled between results.

    Raises:
        ResourceError: A worker died (out of memory, or a decoder crashed); the message names its page.
        OSError: The disk is full.
    """
    context: Any = multiprocessing.get_context(start_method())
    pool: dict[Connection, tuple[Any, list[Job]]] = {}  # each worker by its pipe, with the pages it has not done yet
    workers = min(workers, len(jobs))
    try:
        for number in range(workers):
            receive, send = context.Pipe(duplex=False)
            share = list(jobs[number::workers])
            process = context.Process(target=_work, args=(send, perform, share, os.getpid()), daemon=True)
            process.start()
            send.close()
            pool[receive] = process, share
        while pool and not stop():
            for receive in wait(list(pool), _POLL_SECONDS):
                yield from _received(receive, pool)  # type: ignore[arg-type]
    finally:
        for process, _ in pool.values():
            process.kill()
        for process, _ in pool.values():
            process.join(_END_SECONDS)  # one that waits for a dead network folder does not even die


def _received(receive: Connection, pool: dict[Connection, tuple[Any, list[Job]]]) -> Iterator[Any]:
    process, share = pool[receive]
    try:
        message = receive.recv()
    except EOFError:
        del pool[receive]
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


def _work(
    send: Connection, perform: Callable[[Sequence[Job]], Iterator[Any]], jobs: Sequence[Job], parent: int
) -> None:
    init_worker()
    try:
        for done in perform(jobs):
            if os.getppid() != parent:
                return
            send.send(done)
    except BrokenPipeError:  # the parent has gone
        return
    except (OSError, MemoryError) as error:
        send.send(error)


def _decoded(draft: CacheDraft, jobs: Sequence[Job], read: Read) -> Iterator[Done]:
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
