"""What runs work on: an index, pages ready to be read, and what identifies both."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from docclf_cli.data.cache import open_or_build, open_or_build_view
from docclf_cli.data.index import DocumentIndex
from docclf_cli.data.loaders import PlainPages, plain_loader
from docclf_cli.data.pages import NamedView, Pages
from docclf_cli.data.preprocess import Preprocess
from docclf_cli.engine.events import Emit, Progress, silent
from docclf_cli.engine.runtime import NEVER, Runtime, StopFlag
from docclf_cli.profile.schema import DataConfig


@dataclass(frozen=True)
class Material:
    """Pages of one index, prepared for one preprocessing.

    Attributes:
        index: Which pages.
        pages: Their pixels.
        preprocess: How they were made.
        unreadable: Why a row cannot be read, for the rows that cannot.
        pixels: Sixteen hexadecimal digits for the content of all pages; empty where it is not known.
    """

    index: DocumentIndex
    pages: Pages
    preprocess: Preprocess
    unreadable: Mapping[int, str]
    pixels: str = ""

    def seen(self, view: NamedView, rows: np.ndarray, workers: int, stop: StopFlag) -> PlainPages:
        """The pages of some rows as a view shows them: made once where there is a page cache, else each time."""
        pages, targets = self.pages, self.index.targets
        if pages.cache is not None:
            stored = open_or_build_view(pages, rows, view, workers=workers, should_stop=stop)
            if stored is not None:
                return PlainPages(replace(pages, cache=stored), targets)
        return PlainPages(pages, targets, view)


def prepare(
    index: DocumentIndex, preprocess: Preprocess, config: DataConfig, runtime: Runtime, *,
    emit: Emit = silent, stop: StopFlag = NEVER,
) -> Material:  # fmt: skip
    """Read the pages of an index once: into the cache, where there is one, and to know which cannot be read.

    Raises:
        Interrupted: `stop` was set.
    """
    cache = open_or_build(
        index,
        preprocess,
        config,
        workers=runtime.workers,
        on_progress=lambda done, total: emit(Progress("reading pages", done, total)),
        should_stop=stop,
    )
    stop.raise_if_set("stopped while reading pages", "start the command again; pages already read are kept")
    pages = Pages(index, preprocess, config, cache)
    if cache is None:
        unreadable, checksums = _read_all(pages, runtime, emit, stop)
    else:
        unreadable = {row: reason for row in range(len(index)) if (reason := cache.reason(row))}
        checksums = cache.checksums()
    return Material(index, pages, preprocess, unreadable, hashlib.sha256(checksums.tobytes()).hexdigest()[:16])


def _read_all(pages: Pages, runtime: Runtime, emit: Emit, stop: StopFlag) -> tuple[dict[int, str], np.ndarray]:
    """Why rows cannot be read, and the checksums (as the cache computes them) of those that can, uint32 [n]."""
    rows, unreadable, done = range(len(pages.index)), dict[int, str](), 0
    checksums = np.zeros(len(rows), dtype=np.uint32)
    plain = PlainPages(pages, None)
    for batch in plain_loader(plain, rows, 64, runtime.workers, pin=False, on_wait=stop.check_while_waiting):
        stop.raise_if_set("stopped while reading pages", "start the command again")
        unreadable |= dict(batch.unreadable)
        for row, image in zip(batch.rows, batch.images, strict=True):
            checksums[row] = zlib.crc32(image.permute(1, 2, 0).contiguous().numpy().data)
        done += len(batch.rows) + len(batch.unreadable)
        emit(Progress("reading pages", done, len(rows)))
    return unreadable, checksums
