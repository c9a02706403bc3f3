"""What runs work on: an index, pages ready to be read, and what identifies both."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import DocumentIndex
from docclf_cli.data.loading.cache import open_or_build, open_or_build_view
from docclf_cli.data.loading.data_loader import data_loader
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput, cut
from docclf_cli.data.loading.pages import NamedView, Pages
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.profile.schema import DataConfig
from docclf_cli.stop import NEVER, StopFlag


@dataclass(frozen=True)
class PreparedPages:
    """Pages of one index, prepared for one preprocessing.

    Attributes:
        index: Which pages.
        pages: Their pixels.
        preprocess: How they were made.
        unreadable: Why a row cannot be read, for the rows that cannot.
        content_hash: Sixteen hexadecimal digits for the content of all pages; empty where it is not known.
    """

    index: DocumentIndex
    pages: Pages
    preprocess: Preprocess
    unreadable: Mapping[int, str]
    content_hash: str = ""

    def view_dataset(self, view: NamedView, rows: np.ndarray, workers: int, stop: StopFlag) -> InferenceDataset:
        """The pages of some rows as a view shows them: made once where there is a page cache, else each time."""
        targets, seen = self.index.targets, ModelInput(self.pages, (view,))
        if self.pages.cache is not None:
            stored = open_or_build_view(self.pages, rows, view, workers=workers, stop=stop)
            if stored is not None:
                seen = ModelInput(replace(self.pages, cache=stored))
        return InferenceDataset((seen,), targets)


def prepare(
    index: DocumentIndex, preprocess: Preprocess, config: DataConfig, workers: int, *,
    emit: Emit = silent, stop: StopFlag = NEVER,
) -> PreparedPages:  # fmt: skip
    """Read the pages of an index once: into the cache, where there is one, and to know which cannot be read.

    Raises:
        Interrupted: `stop` was set.
    """
    cache = open_or_build(index, preprocess, config, workers=workers, emit=emit, stop=stop)
    stop.raise_if_set("stopped while reading pages", "start the command again; pages already read are kept")
    pages = Pages(index, preprocess, config, cache)
    if cache is None:
        unreadable, checksums = _read_all(pages, workers, emit, stop)
    else:
        unreadable = {row: reason for row in range(len(index)) if (reason := cache.reason(row))}
        checksums = cache.checksums()
    return PreparedPages(index, pages, preprocess, unreadable, hashlib.sha256(checksums.tobytes()).hexdigest()[:16])


def _read_all(pages: Pages, workers: int, emit: Emit, stop: StopFlag) -> tuple[dict[int, str], np.ndarray]:
    """Why rows cannot be read, and the checksums (as the cache computes them) of those that can, uint32 [n]."""
    rows, unreadable, done = range(len(pages.index)), dict[int, str](), 0
    checksums = np.zeros(len(rows), dtype=np.uint32)
    dataset = InferenceDataset((ModelInput(pages),))
    for batch in data_loader(dataset, cut(rows, 64), workers=workers, on_wait=stop.check_while_waiting):
        stop.raise_if_set("stopped while reading pages", "start the command again")
        unreadable |= dict(batch.unreadable)
        for row, image in zip(batch.rows, batch.images[0] if batch.images else (), strict=True):
            checksums[row] = zlib.crc32(image.permute(1, 2, 0).contiguous().numpy().data)
        done += len(batch)
        emit(Progress("reading pages", done, len(rows)))
    return unreadable, checksums
