"""From numbered pages of many files to batches, decoded by loader processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import Dataset

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader, is_paged
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.file_list import FileList, PageList
from docclf_cli.data.loading.process_loader import OnWait, as_tensor, never_stop, process_loader, shared_or_plain
from docclf_cli.errors import is_dead_worker

CRASHES = "makes its decoder crash, or needs too much memory"
_Sample = tuple[int, tuple[np.ndarray, ...] | None, str]


@dataclass(frozen=True)
class ViewSpec:
    """What a model wants to see of a page: the page as its preprocessing makes it, through each of its views."""

    preprocess: Preprocess
    views: tuple[Callable[[np.ndarray], np.ndarray], ...]

    def __call__(self, page: np.ndarray) -> np.ndarray:
        """All views, uint8 [views, size, size, 3]."""
        return np.stack([view(page) for view in self.views])


@dataclass(frozen=True)
class PageBatch:
    """A batch of numbered pages.

    Attributes:
        numbers: All of them, int64 [n], in order.
        images: For each look uint8 [views * readable, 3, size, size], view after view.
        reasons: Text [n]: empty for a page that was read, otherwise why not.
    """

    numbers: np.ndarray
    images: tuple[torch.Tensor, ...]
    reasons: np.ndarray

    def pin_memory(self) -> PageBatch:
        """The batch in page-locked memory (called by the loader for GPUs)."""
        return PageBatch(self.numbers, tuple(images.pin_memory() for images in self.images), self.reasons)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (self.numbers, tuple(map(shared_or_plain, self.images)), self.reasons)


def _received(numbers: np.ndarray, images: tuple[torch.Tensor | np.ndarray, ...], reasons: np.ndarray) -> PageBatch:
    return PageBatch(numbers, tuple(map(as_tensor, images)), reasons)


class _Pages(Dataset[Any]):
    """Pages by number."""

    def __init__(self, pages: PageList, reader: PageReader, view_specs: Sequence[ViewSpec]) -> None:
        self._pages, self._reader, self._view_specs = pages, reader, tuple(view_specs)

    def __getitem__(self, number: int) -> _Sample:
        row, page = self._pages.place(number)
        path, root = self._pages.files.path(row)
        try:
            if not self._pages.counts[row]:
                self._reader.count(path, root)  # says again why it cannot be opened
                raise UnreadablePage("was changed while it was read")
            return (
                number,
                tuple(
                    view_spec(self._reader.read(path, root, page, view_spec.preprocess))
                    for view_spec in self._view_specs
                ),
                "",
            )
        except UnreadablePage as error:
            return number, None, error.reason


class _Counts(Dataset[Any]):
    """How many pages a file has; 0 where it cannot be opened."""

    def __init__(self, files: FileList, reader: PageReader) -> None:
        self._files, self._reader = files, reader

    def __getitem__(self, row: int) -> tuple[int, int]:
        try:
            return row, self._reader.count(*self._files.path(row))
        except UnreadablePage:
            return row, 0


class PageLoader:
    """Batches of numbered pages, decoded by loader processes.

    A file can make its decoder crash, or use up the memory, and so end a loader process (`is_dead_worker`). Then
    `carefully` finds out which page it was.

    Args:
        pages: Whose numbers are asked for.
        reader: How pages are read.
        view_specs: What the models want to see.
        workers: Loader processes; with 0 the main process decodes.
        pin: Whether batches lie in page-locked memory.
        on_wait: Called whenever no batch has come for some seconds; may raise to stop.
    """

    def __init__(
        self,
        pages: PageList,
        reader: PageReader,
        view_specs: Sequence[ViewSpec],
        workers: int,
        pin: bool,
        on_wait: OnWait = never_stop,
    ) -> None:
        self._dataset, self._workers, self._pin = _Pages(pages, reader, view_specs), workers, pin
        self._on_wait = on_wait

    def __call__(self, batches: Sequence[range]) -> Iterator[PageBatch]:
        """Batch after batch.

        Raises:
            RuntimeError: A loader process died.
        """
        return _loader(self._dataset, batches, _page_batch, self._workers, self._on_wait, self._pin)

    def carefully(self, batch: range) -> PageBatch:
        """One batch, page by page; pages that end their process count as unreadable."""
        samples, left = list[_Sample](), list(batch)
        while left:
            try:
                for (sample,) in _loader(self._dataset, [[number] for number in left], list, 1, self._on_wait):
                    samples.append(sample)
                    left.pop(0)
            except RuntimeError as error:
                if not is_dead_worker(error):
                    raise
                # Its process may have died at a later page, with this one on the way.
                samples.append(self._alone(left.pop(0)))
        return _page_batch(samples)

    def _alone(self, number: int) -> _Sample:
        try:
            ((sample,),) = _loader(self._dataset, [[number]], list, 1, self._on_wait)
        except RuntimeError as error:
            if not is_dead_worker(error):
                raise
            return number, None, CRASHES
        return cast(_Sample, sample)


def count_pages(
    files: FileList, batches: Sequence[Sequence[int]], reader: PageReader, workers: int, on_wait: OnWait = never_stop
) -> Iterator[list[tuple[int, int]]]:
    """(row, pages) of the files in each batch of rows; 0 pages for a file that cannot be opened.

    `on_wait` is called whenever no batch has come for some seconds, and may raise to stop.

    Raises:
        RuntimeError: A loader process died.
    """
    return _loader(_Counts(files, reader), batches, list, workers, on_wait)


def count_carefully(
    files: FileList, batch: Sequence[int], reader: PageReader, on_wait: OnWait = never_stop
) -> list[tuple[int, int]]:
    """The same for one batch, with a process for each file."""
    counted = []
    for row in batch:
        try:
            ((pair,),) = _loader(_Counts(files, reader), [[row]], list, 1, on_wait)
        except RuntimeError as error:
            if not is_dead_worker(error):
                raise
            pair = row, 0
        counted.append(pair)
    return counted


def paged_rows(files: FileList) -> list[int]:
    """Files that can have several pages."""
    return [row for row in range(len(files)) if is_paged(files[row].name)]


def _loader(
    dataset: Dataset[Any],
    batches: Sequence[Any],
    collate: Callable[[list[Any]], Any],
    workers: int,
    on_wait: OnWait,
    pin: bool = False,
) -> Iterator[Any]:
    return iter(process_loader(dataset, batches, collate, min(workers, len(batches)), pin, on_wait))


def _page_batch(samples: list[_Sample]) -> PageBatch:
    numbers = np.array([number for number, _, _ in samples], np.int64)
    reasons = np.array([reason for _, _, reason in samples], dtype=np.str_)
    read = [looked for _, looked, _ in samples if looked is not None]
    return PageBatch(numbers, tuple(_images(pages) for pages in zip(*read, strict=True)), reasons)


def _images(pages: Sequence[np.ndarray]) -> torch.Tensor:
    stacked = np.stack(pages, axis=1)  # [views, n, size, size, 3]
    return torch.from_numpy(stacked.reshape(-1, *stacked.shape[2:])).permute(0, 3, 1, 2)
