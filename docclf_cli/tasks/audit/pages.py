"""Collects all pages of a data root, whatever their split, under one numbering, for `audit`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from docclf_cli.data.images.decode import Header, UnreadablePage, read_header
from docclf_cli.data.images.page_files import PDF_SUFFIX
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import DocumentIndex, load_index, load_training_index, names_split
from docclf_cli.data.index.left_out import LeftOut
from docclf_cli.data.index.splits import Split
from docclf_cli.data.loading.prepared_pages import PreparedPages, prepare
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.events import Emit, Progress
from docclf_cli.profile.schema import DataConfig
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.audit.near_duplicates import STOPPED, is_blank
from docclf_cli.tasks.audit.registration import SIDE
from docclf_cli.text import composed


@dataclass(frozen=True, eq=False)
class Collection:
    """Pages to train and validate on, then those of the test split where there are any.

    Attributes:
        config: The data section.
        sides: The two indices, or the first alone.
        splits: Text [n]: where each page is.
        targets: int64 [n] class indices, -1 where a page has no label.
    """

    config: DataConfig
    sides: tuple[DocumentIndex, ...]
    splits: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.splits)

    @property
    def training(self) -> DocumentIndex:
        """The pages to train and validate on: the first rows."""
        return self.sides[0]

    @property
    def left_out(self) -> LeftOut:
        """Files and folders that are no pages."""
        return functools.reduce(LeftOut.joined, (side.left_out for side in self.sides))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names along the class axis."""
        return self.training.class_names

    @cached_property
    def ids(self) -> np.ndarray:
        """IDs of the pages, object array of `str` [n]; unique within a split."""
        return np.concatenate([side.ids for side in self.sides])

    def place(self, row: int) -> tuple[int, int]:
        """Return the position of a page's index in `sides`, and its row there."""
        first = len(self.training)
        return (0, row) if row < first else (1, row - first)

    def label(self, row: int) -> str | None:
        """Return the class name of a page; None without a label."""
        return self.class_names[self.targets[row]] if self.targets[row] >= 0 else None

    def headers(self, unreadable: set[int], emit: Emit, stop: StopFlag) -> list[Header | None]:
        """Read the headers of the image files; None for a page that cannot be read, or of a PDF, which has no pixels."""
        return [None if row in unreadable else self._header(row, emit, stop) for row in range(len(self))]

    def _header(self, row: int, emit: Emit, stop: StopFlag) -> Header | None:
        stop.raise_if_set(*STOPPED)
        emit(Progress("reading file headers", row + 1, len(self)))
        side, own = self.place(row)
        index = self.sides[side]
        path = index.path(own)
        if path.suffix.lower() == PDF_SUFFIX:
            return None
        try:
            return read_header(path, page=index.page(own), root=index.root, allow_symlinks=self.config.allow_symlinks)
        except UnreadablePage:  # it was readable a moment ago
            return None


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Small pages of a collection, decoded once.

    Attributes:
        prepared: One for each index of the collection.
        collection: Which pages.
    """

    collection: Collection
    prepared: Sequence[PreparedPages]

    def grey(self, rows: np.ndarray) -> np.ndarray:
        """Return the pages of some rows in grey, uint8 [rows, SIDE, SIDE]: the mean of the channels."""
        return np.stack([self._page(row).mean(axis=2).round().astype(np.uint8) for row in rows.tolist()])

    def _page(self, row: int) -> np.ndarray:
        side, own = self.collection.place(row)
        return self.prepared[side].pages[own]

    @cached_property
    def unreadable(self) -> dict[int, str]:
        """Why pages cannot be read, by row."""
        first = len(self.collection.training)
        return {
            row + side * first: reason
            for side, pages in enumerate(self.prepared)
            for row, reason in pages.unreadable.items()
        }


def collect_pages(config: DataConfig, run: RunFolder | None, class_names: Sequence[str] | None) -> Collection:
    """Index all pages of a data root.

    Args:
        config: The data section.
        run: A run whose split is used for the training pages.
        class_names: Class axis of the run.

    Raises:
        InputError: The data is missing or faulty.
    """
    training, own_val = load_training_index(config, class_names)
    parts = np.full(len(training), "train", dtype=object)
    parts[len(training) - own_val :] = "val"
    if run is not None:
        split = Split.load(run.split)
        part_of = dict(zip(map(composed, split.ids.tolist()), split.parts.tolist(), strict=True))
        parts = np.array([part_of.get(name, part) for name, part in zip(training.row_of, parts, strict=True)], object)
    if not names_split(config, "test"):
        return Collection(config, (training,), parts, training.labels)
    # Groups are about training pages alone.
    test = load_index(config.model_copy(update={"groups": None}), "test", training.class_names)
    unknown = np.full(len(test), -1, dtype=np.int64)
    targets = np.concatenate([training.labels, unknown if test.targets is None else test.targets])
    return Collection(config, (training, test), np.concatenate([parts, np.full(len(test), "test", object)]), targets)


def thumbnails(collection: Collection, runtime: Runtime, emit: Emit, stop: StopFlag) -> Thumbnails:
    """Decode small pages, or read them from the cache.

    Raises:
        Interrupted: `stop` was set.
    """
    small = Preprocess(SIDE)
    prepared = [
        prepare(side, small, collection.config, runtime.workers, emit=emit, stop=stop) for side in collection.sides
    ]
    return Thumbnails(collection, prepared)


def blank_rows(pages: Thumbnails, rows: np.ndarray) -> Iterator[int]:
    """Yield the rows of blank pages."""
    return (row for row in rows.tolist() if is_blank(pages.grey(np.array([row]))[0]))
