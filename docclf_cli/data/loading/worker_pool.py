"""A pool of worker processes that decode pages into a cache file; a worker that dies is noticed, with its page.

A page whose decoder crashes is an unreadable page, and another worker goes on after it. A worker that was killed ends the
work: most likely memory has run out.
"""

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

from docclf_cli.data.images.decode import CRASHES, UnreadablePage
from docclf_cli.errors import ResourceError
from docclf_cli.page_ids import is_paged
from docclf_cli.stop import StopFlag

if TYPE_CHECKING:
    import numpy as np

    from docclf_cli.data.loading.cache_file import CacheDraft

Done = tuple[int, int, str]  # slot, checksum, reason where the page is unreadable
Read = Callable[[int], "np.ndarray"]  # from the row of a page
_POLL_SECONDS = 0.1
_END_SECONDS = 5.0
_CRASHES = {
    "SIGSEGV",
    "SIGABRT",
    "SIGFPE",
    "SIGILL",
    "SIGTRAP",
}  # what a broken file does to the library that decodes it


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
    # Files of several pages are mostly PDFs, whose library is the most likely to crash: never in this process.
    fewest = 1 if any(is_paged(job.path.name) for job in jobs) and start_method() == "fork" else 2
    if workers < fewest and fewest == 1:
        workers = 1
    if workers < fewest or len(jobs) < fewest:
        for done in _decoded(draft, jobs, read):
            yield done
            if stop():
                return
    else:
        yield from _by_processes(draft, jobs, read, min(workers, len(jobs)), stop)


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


def _by_processes(draft: CacheDraft, jobs: Sequence[Job], read: Read, workers: int, stop: StopFlag) -> Iterator[Done]:
    context: Any = multiprocessing.get_context(start_method())
    pool: dict[Connection, tuple[Any, list[Job]]] = {}  # each worker by its pipe, with the pages it has not done yet

    def start(share: list[Job]) -> None:
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(send, draft, share, read, os.getpid()), daemon=True)
        process.start()
        send.close()
        pool[receive] = process, share

    try:
        for number in range(workers):
            start(list(jobs[number::workers]))
        while pool and not stop():
            for receive in wait(list(pool), _POLL_SECONDS):
                yield from _received(receive, pool, start)  # type: ignore[arg-type]
    finally:
        for process, _ in pool.values():
            process.kill()
        for process, _ in pool.values():
            process.join(_END_SECONDS)  # one that waits for a dead network folder does not even die


def _received(
    receive: Connection, pool: dict[Connection, tuple[Any, list[Job]]], start: Callable[[list[Job]], None]
) -> Iterator[Done]:
    """What a worker sent; where it has died, its page, and another worker is started for those after it."""
    process, share = pool[receive]
    try:
        message = receive.recv()
    except EOFError:
        del pool[receive]
        process.join(_END_SECONDS)
        if share:
            yield _died(process.exitcode, share.pop(0))
        if share:
            start(share)
        return
    if isinstance(message, BaseException):
        raise message
    share.pop(0)
    yield message


def _died(exit_code: int | None, job: Job) -> Done:
    """The page at which a worker died as an unreadable one.

    Raises:
        ResourceError: It did not crash, but was ended by somebody else.
    """
    if exit_code is not None and exit_code < 0 and signal.Signals(-exit_code).name in _CRASHES:
        return job.slot, 0, CRASHES
    raise ResourceError(
        f"a process that decodes pages died (exit {exit_code}) at {job.path}",
        "memory may have run out: set runtime.workers lower; or the file crashes its decoder: remove it",
    )


def _work(send: Connection, draft: CacheDraft, jobs: Sequence[Job], read: Read, parent: int) -> None:
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
