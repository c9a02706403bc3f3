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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from docclf_cli.data.images.decode import CRASHES, UnreadablePage
from docclf_cli.errors import ResourceError
from docclf_cli.page_ids import is_paged
from docclf_cli.stop import StopFlag

if TYPE_CHECKING:
    import numpy as np

    from docclf_cli.data.loading.cache_file import CacheDraft

Done = tuple[int, int, str]  # slot, checksum, reason where the page is unreadable
Read = Callable[[int], "np.ndarray"]  # from the row of a page
T = TypeVar("T")
_POLL_SECONDS = 0.1
_END_SECONDS = 5.0
# What a broken file does to the library that decodes it.
_CRASHES = frozenset(("SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL", "SIGTRAP"))


class Job(NamedTuple):
    """A page to read: its slot in the cache file, its row in the index, its image file."""

    slot: int
    row: int
    path: Path


def decode_into(draft: CacheDraft, jobs: Sequence[Job], read: Read, workers: int, stop: StopFlag) -> Iterator[Done]:
    """Read the pages of `jobs` into their slots, in no particular order, until `stop` is set.

    Raises:
        ResourceError: A worker was killed, mostly because memory has run out; the message names its page.
        OSError: The disk is full.
    """
    # Files of several pages are mostly PDFs, whose library is the most likely to crash: it never runs in this process.
    risky = start_method() == "fork" and any(is_paged(job.path.name) for job in jobs)
    if (workers < 2 or len(jobs) < 2) and not risky:
        for done in _decoded(draft, jobs, read):
            yield done
            if stop():
                return
    else:
        decode = functools.partial(_decoded, draft, read=read)
        yield from by_processes(decode, jobs, max(1, workers), stop, lambda job: (job.slot, 0, CRASHES))


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
    perform: Callable[[Sequence[Job]], Iterator[T]],
    jobs: Sequence[Job],
    workers: int,
    stop: StopFlag,
    crashed: Callable[[Job], T] | None = None,
) -> Iterator[T]:
    """What `perform` yields for each job, in no particular order, by several processes, until `stop` is set.

    Args:
        perform: Yields one result a job, in their order.
        jobs: All jobs.
        workers: How many processes.
        stop: Polled between results.
        crashed: The result of a job at which the worker crashed; None: that is an error.

    Raises:
        ResourceError: A worker died (out of memory, or a decoder crashed); the message names its page.
        OSError: The disk is full.
    """
    context: Any = multiprocessing.get_context(start_method())
    pool: dict[Connection, tuple[Any, list[Job]]] = {}  # each worker by its pipe, with the pages it has not done yet

    def start(share: list[Job]) -> None:
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(send, perform, share, os.getpid()), daemon=True)
        process.start()
        send.close()
        pool[receive] = process, share

    workers = min(workers, len(jobs))
    try:
        for number in range(workers):
            start(list(jobs[number::workers]))
        while pool and not stop():
            for ready in wait(list(pool), _POLL_SECONDS):
                receive = cast(Connection, ready)
                process, share = pool[receive]
                try:
                    message: Any = receive.recv()
                except EOFError:
                    del pool[receive]
                    process.join(_END_SECONDS)
                    if share:
                        yield _of_dead(process.exitcode, share.pop(0), crashed)
                    if share:
                        start(share)
                    continue
                if isinstance(message, BaseException):
                    raise message
                share.pop(0)
                yield message
    finally:
        for process, _ in pool.values():
            process.kill()
        for process, _ in pool.values():
            process.join(_END_SECONDS)  # one that waits for a dead network folder does not even die


def _of_dead(exit_code: int | None, job: Job, crashed: Callable[[Job], T] | None) -> T:
    """The result of the job at which a worker died.

    Raises:
        ResourceError: The worker did not crash, but was ended by somebody else; or a crash is an error.
    """
    crash = exit_code is not None and exit_code < 0 and signal.Signals(-exit_code).name in _CRASHES
    if crash and crashed is not None:
        return crashed(job)
    raise ResourceError(
        f"a process that decodes pages died (exit {exit_code}) at {job.path}",
        "memory may have run out: set runtime.workers lower; or the file crashes its decoder: remove it",
    )


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
