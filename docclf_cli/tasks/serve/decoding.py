"""Processes that decode uploaded files, so that a hostile file cannot take the server with it.

A file is decoded in a process of its own, with a limit on its memory and time. A process that crashes, takes too long
or too much memory is replaced by a new one; its file counts as one that cannot be read.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import queue
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.data.images.decode import UnreadablePage, decoding, fitted
from docclf_cli.data.images.page_files import open_document
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.text.page_text import TextMode
from docclf_cli.data.text.read import text_in

CRASHED = "makes its decoder crash, or needs too much memory"


@dataclass(frozen=True)
class DecodedPage:
    """A page as the inputs of a model see it.

    Attributes:
        images: uint8 [size, size, 3] for each of the preprocessings that were asked for; empty for an unreadable page.
        error: Why it cannot be read.
        text: What it says; empty where no model reads, or it has no text.
        first: Whether it is the first page of its file.
    """

    images: tuple[np.ndarray, ...]
    error: str = ""
    text: str = ""
    first: bool = True


class TooManyPages(ValueError):  # noqa: N818  (a refusal, not a fault of the program)
    """A file has more pages than a request may have."""


@dataclass(frozen=True)
class DecodeLimits:
    """What decoding one file may take.

    Attributes:
        pages: Most pages of a file.
        pixels: Most pixels of a page.
        seconds: Longest time for a file.
        memory: Most bytes that decoding may take beyond what the process has at its start.
    """

    pages: int = 100
    pixels: int = 100_000_000
    seconds: float = 30.0
    memory: int = 2 * 2**30


class DecodePool:
    """Decodes files in other processes; `decode` may be called from several threads.

    Args:
        processes: How many files are decoded at the same time.
        limits: What decoding one file may take.
    """

    def __init__(self, processes: int, limits: DecodeLimits) -> None:
        self.limits = limits
        self._idle: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()
        self._decoders = [_Decoder(limits) for _ in range(processes)]
        for decoder in self._decoders:
            self._idle.put(decoder)

    def decode(self, content: bytes, preprocesses: Sequence[Preprocess], text: TextMode = "off") -> list[DecodedPage]:
        """The pages of a file, in order; a file that cannot be opened gives one page that says why.

        Args:
            content: The file.
            preprocesses: How its pages are made.
            text: Whether their text is read as well.

        Raises:
            TooManyPages: The file has more pages than allowed.
        """
        decoder = self._idle.get()
        try:
            return decoder.decode(content, preprocesses, text)
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """End all processes."""
        for decoder in self._decoders:
            decoder.end()


class _Decoder:
    """One process that decodes file after file, started again where it ended."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_decode_files, args=(theirs, self._limits), daemon=True)
        self._process.start()
        theirs.close()

    def decode(self, content: bytes, preprocesses: Sequence[Preprocess], text: TextMode) -> list[DecodedPage]:
        if not self._process.is_alive():
            self._start()
        try:
            self._pipe.send((content, list(preprocesses), text))
            if not self._pipe.poll(self._limits.seconds):
                self.end()
                self._start()
                return [DecodedPage((), f"takes longer than {self._limits.seconds:g} seconds to decode")]
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self.end()
            self._start()
            return [DecodedPage((), CRASHED)]
        if isinstance(answer, int):
            raise TooManyPages(f"has {answer:,} pages; at most {self._limits.pages:,} are taken")
        return [
            DecodedPage(tuple(images), error, said, first=number == 0)
            for number, (images, error, said) in enumerate(answer)
        ]

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _decode_files(pipe: Connection, limits: DecodeLimits) -> None:
    """What the process does: answer each file with its pages, or with their number where they are too many."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the server ends its processes itself, after the last request
        signal.signal(number, signal.SIG_IGN)
    _limit_memory(limits.memory)
    while True:
        try:
            content, preprocesses, text = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(_pages_of(content, preprocesses, text, limits))
        except MemoryError:
            pipe.send([((), "needs too much memory to decode", "")])


def _pages_of(content: bytes, preprocesses: Sequence[Preprocess], text: TextMode, limits: DecodeLimits) -> Any:
    try:
        with decoding(limits.pixels), contextlib.closing(open_document(io.BytesIO(content), limits.pixels)) as document:
            count = document.pages
            if count > limits.pages:
                return count
            seconds = limits.seconds / 2 / max(count, 1)  # of OCR; half of the time is for decoding
            return [_page(document, number, preprocesses, text, seconds, limits) for number in range(count)]
    except UnreadablePage as error:
        return [((), error.reason, "")]


def _page(
    document: Any, number: int, preprocesses: Sequence[Preprocess], text: TextMode, seconds: float, limits: DecodeLimits
) -> Any:
    try:
        with decoding(limits.pixels):
            images = [document.page(number, preprocess, fitted) for preprocess in preprocesses]
            return images, "", text_in(document, number, text, seconds).text
    except UnreadablePage as error:
        return (), error.reason, ""


def _limit_memory(extra: int) -> None:
    """Allow this process so many bytes more than it has now; where the system has no such limit, nothing happens."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + extra
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
