"""Counts the pages of files in a process of its own: a damaged file can end the process that opens it, or keep it for ever."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from docclf_cli.data.images.decode import CRASHES, UnreadablePage
from docclf_cli.data.images.page_files import PageReader

LIMIT_SECONDS = 120.0  # for one file
_END_SECONDS = 5.0
logger = logging.getLogger("docclf")


def page_counts(paths: Sequence[Path], root: Path, reader: PageReader) -> list[int]:
    """Number of pages of each file; 0 for a file that cannot be opened, that crashes its decoder, or that keeps it.

    Args:
        paths: The files.
        root: They must lie below this folder, unless the reader follows links.
        reader: Opens them.
    """
    if "fork" not in multiprocessing.get_all_start_methods():  # another method would run the caller's script again
        return list(_counted(paths, root, reader))
    counts: list[int] = []
    while len(counts) < len(paths):
        counts += _in_process(paths[len(counts) :], root, reader)
        if len(counts) < len(paths):
            logger.warning("%s %s: it is one unreadable page", paths[len(counts)], CRASHES)
            counts.append(0)
    return counts


def _in_process(paths: Sequence[Path], root: Path, reader: PageReader) -> Iterator[int]:
    """The counts up to the first file that ends the process, or keeps it longer than the limit."""
    context: Any = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(send, paths, root, reader), daemon=True)
    process.start()
    send.close()
    try:
        for _ in paths:
            if not receive.poll(LIMIT_SECONDS):
                return
            yield receive.recv()
    except EOFError:
        return
    finally:
        process.kill()
        process.join(_END_SECONDS)  # one that waits for a dead network folder does not even die
        receive.close()


def _work(send: Connection, paths: Sequence[Path], root: Path, reader: PageReader) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        for count in _counted(paths, root, reader):
            send.send(count)
    except BrokenPipeError:  # the parent has gone
        pass
    finally:
        os._exit(0)  # nothing of the parent's is to be cleaned up here


def _counted(paths: Sequence[Path], root: Path, reader: PageReader) -> Iterator[int]:
    for path in paths:
        try:
            yield reader.count(path, root)
        except (OSError, UnreadablePage):
            yield 0
    reader.close()
