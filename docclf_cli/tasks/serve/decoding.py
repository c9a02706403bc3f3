"""Processes that decode uploaded files, so that a hostile file cannot take the server with it.

A file is decoded in a process of its own, with a limit on its memory and time. A process that crashes, takes too long
or too much memory is replaced by a new one; its file counts as one that cannot be read.
"""

from __future__ import annotations

import contextlib
import io
import math
import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import numpy as np

from docclf_cli.data.images.decode import UnreadablePage, decoding, fitted
from docclf_cli.data.images.page_files import open_document
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.text.ocr import SECONDS
from docclf_cli.data.text.page_text import LAYER, NO_TEXT, TextMode
from docclf_cli.data.text.read import text_in
from docclf_cli.errors import DocclfError

CRASHED = "makes its decoder crash, or needs too much memory"


@dataclass(frozen=True)
class DecodedPage:
    """A page as the inputs of a model see it.

    Attributes:
        images: uint8 [size, size, 3] for each of the preprocessings that were asked for; empty for an unreadable page.
        error: Why it cannot be read.
        text: What it says; empty where no model reads, or it has no text.
        first: Whether it is the first page of its file.
        text_source: `layer` (of the PDF), or the name of the OCR engine; empty where there is no text.
        size: Its width and height, in points or pixels; (1, 1) where nobody asked, or it has no area.
    """

    images: tuple[np.ndarray, ...]
    error: str = ""
    text: str = ""
    first: bool = True
    text_source: str = ""
    size: tuple[float, float] = (1.0, 1.0)

    def text_by(self, mode: TextMode) -> str:
        """What a reader of this mode takes of its text: one that goes by layers alone takes no text of OCR."""
        return self.text if mode in ("auto", "ocr") or (mode == "layer" and self.text_source == LAYER) else ""


@dataclass(frozen=True)
class DecodeRequest:
    """What is asked about a file.

    Attributes:
        preprocesses: How its pages are made.
        text: Whether their text is read as well.
        sizes: Whether their sizes are asked for.
        first: The page to begin with, counted from 0.
        most: At most so many pages; None are all.
    """

    preprocesses: Sequence[Preprocess]
    text: TextMode = "off"
    sizes: bool = False
    first: int = 0
    most: int | None = None


class DecoderFailed(Exception):  # noqa: N818  (what the file did, not a fault of the program)
    """A process has not finished its work on a file; the message says why, as a page's reason does."""


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

    def decode(
        self, content: bytes, preprocesses: Sequence[Preprocess], text: TextMode = "off", *, sizes: bool = False
    ) -> list[DecodedPage]:
        """The pages of a file, in order; a file that cannot be opened gives one page that says why.

        Args:
            content: The file.
            preprocesses: How its pages are made.
            text: Whether their text is read as well.
            sizes: Whether their sizes are asked for.

        Raises:
            TooManyPages: The file has more pages than allowed.
        """
        return self._pages(content, DecodeRequest(preprocesses, text, sizes))[1]

    def stream(self, file: Path, request: DecodeRequest, most: int) -> Iterator[list[DecodedPage]]:
        """The pages of a file, some at a time, so that memory does not grow with their number.

        Where a page ends its process, the pages around it are read one by one.

        Args:
            file: The file; it is opened again for each part.
            request: What is asked about it; `first` and `most` are set here.
            most: Pages at a time.

        Raises:
            TooManyPages: The file has more pages than allowed.
        """
        total, first = 1, 0
        while first < total:
            count, pages = self._pages(file, replace(request, first=first, most=most))
            if count is None and first:
                pages = []
                for number in range(first, min(first + most, total)):
                    pages += self._pages(file, replace(request, first=number, most=1))[1]
            yield pages
            total = total if count is None else count
            first += most

    def _pages(self, source: bytes | Path, request: DecodeRequest) -> tuple[int | None, list[DecodedPage]]:
        """Number of pages of a file and those that were asked for; None and one page where it cannot be opened."""
        try:
            count, pages = self.run(_pages_of, source, request, self.limits)
        except DecoderFailed as error:
            return None, [DecodedPage((), str(error))]
        if count is not None and count > self.limits.pages:
            raise TooManyPages(f"has {count:,} pages; at most {self.limits.pages:,} are taken")
        return count, pages

    def run(self, work: Callable[..., Any], *args: Any) -> Any:
        """What a function of a module returns that one of the processes calls.

        Raises:
            DecoderFailed: It took too long or too much memory, or made the process crash, which was replaced.
            DocclfError: The function raised it.
        """
        decoder = self._idle.get()
        try:
            return decoder.run(work, args)
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
        self._process = context.Process(target=_work, args=(theirs, self._limits), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if not self._process.is_alive():
            self._start()
        try:
            self._pipe.send((work, args))
            if not self._pipe.poll(self._limits.seconds):
                self.end()
                self._start()
                raise DecoderFailed(f"takes longer than {self._limits.seconds:g} seconds to decode")
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self.end()
            self._start()
            raise DecoderFailed(CRASHED) from error
        if isinstance(answer, DocclfError | DecoderFailed):
            raise answer
        return answer

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _work(pipe: Connection, limits: DecodeLimits) -> None:
    """What a process does: call one function after another, and answer with what it returns or why it has ended."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the server ends its processes itself, after the last request
        signal.signal(number, signal.SIG_IGN)
    _limit_memory(limits.memory)
    while True:
        try:
            work, args = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(work(*args))
        except MemoryError:
            pipe.send(DecoderFailed("needs too much memory to decode"))
        except DocclfError as error:
            pipe.send(error)


def _pages_of(
    source: bytes | Path, request: DecodeRequest, limits: DecodeLimits
) -> tuple[int | None, list[DecodedPage]]:
    """Number of pages of a file and those that are asked for, none where they are too many."""
    try:
        file: IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        with decoding(limits.pixels), contextlib.closing(open_document(file, limits.pixels)) as document:
            count = document.pages
            if count > limits.pages:
                return count, []
            asked = range(count)[request.first :][: request.most]
            seconds = min(SECONDS, limits.seconds / 2 / max(len(asked), 1))  # of OCR; half of the time is for decoding
            return count, [_page(document, number, request, seconds, limits) for number in asked]
    except UnreadablePage as error:
        return None, [DecodedPage((), error.reason)]


def _page(document: Any, number: int, request: DecodeRequest, seconds: float, limits: DecodeLimits) -> DecodedPage:
    try:
        with decoding(limits.pixels):
            images = tuple(document.page(number, preprocess, fitted) for preprocess in request.preprocesses)
            said = NO_TEXT if request.text == "off" else text_in(document, number, request.text, seconds)
            size = _size(document, number) if request.sizes else (1.0, 1.0)
            return DecodedPage(images, "", said.text, number == 0, said.source, size)
    except UnreadablePage as error:
        return DecodedPage((), error.reason, first=number == 0)


def _size(document: Any, number: int) -> tuple[float, float]:
    width, height = document.size(number)
    return (width, height) if 0 < width < math.inf and 0 < height < math.inf else (1.0, 1.0)


def _limit_memory(extra: int) -> None:
    """Allow this process so many bytes more than it has now; where the system has no such limit, nothing happens."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + extra
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
