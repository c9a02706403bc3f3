"""Collects all pages of a data root, whatever their split, under one numbering, for `audit`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from docclf_cli.data.images.decode import Header, UnreadablePage, read_header
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
from docclf_cli.tasks.audit.near_duplicates import is_blank
from docclf_cli.tasks.audit.registration import SIDE
from docclf_cli.text import composed

STOPPED = ("stopped; nothing is written", "start the command again; pages already read are kept")


@dataclass(frozen=True, eq=False)
class Collection:
    """Pages to train and validate on, followed by those of the test split if there are any.

    Attributes:
        config: The data section.
        indices: Index of the training pages and, if there are any, of the test pages.
        splits: Split of each page, text [n].
        targets: Class index of each page, int64 [n], -1 without a label.
    """

    config: DataConfig
    indices: tuple[DocumentIndex, ...]
    splits: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.splits)

    @property
    def training(self) -> DocumentIndex:
        """The pages to train and validate on: the first rows."""
        return self.indices[0]

    @property
    def left_out(self) -> LeftOut:
        """Files and folders that are no pages."""
        return functools.reduce(LeftOut.joined, (index.left_out for index in self.indices))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names along the class axis."""
        return self.training.class_names

    @cached_property
    def ids(self) -> np.ndarray:
        """IDs of the pages, object array of `str` [n]; unique within a split."""
        return np.concatenate([index.ids for index in self.indices])

    def place(self, row: int) -> tuple[int, int]:
        """Return the position of a page's index in `indices`, and its row there."""
        first = len(self.training)
        return (0, row) if row < first else (1, row - first)

    def label(self, row: int) -> str | None:
        """Return the class name of a page; None without a label."""
        return self.class_names[self.targets[row]] if self.targets[row] >= 0 else None

    def headers(self, unreadable: set[int], emit: Emit, stop: StopFlag) -> list[Header | None]:
        """Read the headers of the image files; None if a page cannot be read."""
        return [None if row in unreadable else self._header(row, emit, stop) for row in range(len(self))]

    def _header(self, row: int, emit: Emit, stop: StopFlag) -> Header | None:
        stop.raise_if_set(*STOPPED)
        emit(Progress("looking at files", row + 1, len(self)))
        number, own_row = self.place(row)
        index = self.indices[number]
        try:
            return read_header(index.path(own_row), root=index.root, allow_symlinks=self.config.allow_symlinks)
        except UnreadablePage:  # it was removed meanwhile
            return None


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Small pages of a collection, decoded once.

    Attributes:
        collection: The collection.
        prepared: The small pages of each index of the collection.
    """

    collection: Collection
    prepared: Sequence[PreparedPages]

    def grey(self, rows: np.ndarray) -> np.ndarray:
        """Return the pages of some rows in grey, uint8 [rows, SIDE, SIDE]: the mean of the channels."""
        return np.stack([self._page(row).mean(axis=2).round().astype(np.uint8) for row in rows.tolist()])

    def _page(self, row: int) -> np.ndarray:
        number, own_row = self.collection.place(row)
        return self.prepared[number].pages[own_row]

    @cached_property
    def unreadable(self) -> dict[int, str]:
        """Why pages cannot be read, by row."""
        first = len(self.collection.training)
        return {
            row + number * first: reason
            for number, prepared in enumerate(self.prepared)
            for row, reason in prepared.unreadable.items()
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
        prepare(index, small, collection.config, runtime.workers, emit=emit, stop=stop) for index in collection.indices
    ]
    return Thumbnails(collection, prepared)


def ticker(emit: Emit, stop: StopFlag) -> Callable[[str, int, int], None]:
    """Build a function that reports progress, and raises if `stop` is set."""

    def tick(task: str, done: int, total: int) -> None:
        stop.raise_if_set(*STOPPED)
        emit(Progress(task, done, total))

    return tick


def blank_rows(pages: Thumbnails, rows: np.ndarray) -> Iterator[int]:
    """Yield the rows of blank pages."""
    return (row for row in rows.tolist() if is_blank(pages.grey(np.array([row]))[0]))
