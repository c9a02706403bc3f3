"""The batch that every data loader makes, and how it comes from a loader process.

Images come from loader processes in shared memory while there is room (Docker gives a container 64 MB), and through
the pipe when there is none.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from docclf_cli.models.text_features import TextPage

SHARED_MEMORY = "/dev/shm"
_SPARE = 16 * 2**20  # bytes left to the rest of the program: semaphores, NCCL
_pipe_only = False  # of this process: each failure would leave an empty file and an open handle
logger = logging.getLogger("docclf")

# Images, one array uint8 [views, size, size, 3] for each input of the dataset, with target and row; of a page that
# cannot be read None, with the reason and row. Where models read, the page's text follows.
Sample = (
    tuple[tuple[np.ndarray, ...], Any, int] | tuple[tuple[np.ndarray, ...], Any, int, TextPage] | tuple[None, str, int]
)


@dataclass(frozen=True)
class Batch:
    """Pages on their way to the model.

    Attributes:
        images: uint8 [views * n, 3, size, size], view after view, for each input of the dataset (training has one
            input with one view); empty where no page could be read.
        targets: int64 [n], -1 where the class is not known; float32 [n, num_classes] where pages were mixed.
        rows: Rows of the index (or numbers of the pages), int64 [n].
        unreadable: Rows that could not be read, with the reason; they are not in the other fields.
        texts: Texts of the pages in `rows`; empty where no model reads them.
    """

    images: tuple[torch.Tensor, ...]
    targets: torch.Tensor
    rows: np.ndarray
    unreadable: tuple[tuple[int, str], ...] = ()
    texts: tuple[TextPage, ...] = ()

    def __len__(self) -> int:
        return len(self.rows) + len(self.unreadable)

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory (called by the loader for GPUs)."""
        images = tuple(one.pin_memory() for one in self.images)
        return Batch(images, self.targets.pin_memory(), self.rows, self.unreadable, self.texts)

    def __reduce__(self) -> tuple[Any, ...]:
        # Between processes each tensor costs a connection of its own, which is worth it for images only.
        images = tuple(map(_shared_or_plain, self.images))
        return _received, (images, self.targets.numpy(), self.rows, self.unreadable, self.texts)


def _received(
    images: Sequence[torch.Tensor | np.ndarray],
    targets: np.ndarray,
    rows: np.ndarray,
    unreadable: tuple[tuple[int, str], ...],
    texts: tuple[TextPage, ...],
) -> Batch:
    return Batch(tuple(map(_as_tensor, images)), torch.from_numpy(targets), rows, unreadable, texts)


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch from the samples of a dataset, unreadable pages set aside."""
    good = [sample for sample in samples if sample[0] is not None]
    unreadable = tuple((sample[2], str(sample[1])) for sample in samples if sample[0] is None)
    if not good:
        return Batch((), torch.empty(0, dtype=torch.long), np.empty(0, dtype=int), unreadable)
    images = tuple(map(_stacked, zip(*(sample[0] for sample in good), strict=True)))
    targets = torch.from_numpy(np.stack([sample[1] for sample in good]))
    texts = tuple(sample[3] for sample in good if len(sample) > 3)
    return Batch(images, targets, np.array([sample[2] for sample in good]), unreadable, texts)


def _stacked(pages: Sequence[np.ndarray]) -> torch.Tensor:
    stacked = np.stack(pages, axis=1)  # [views, n, size, size, 3]
    return torch.from_numpy(stacked.reshape(-1, *stacked.shape[2:])).movedim(-1, -3)


def _shared_or_plain(images: torch.Tensor) -> torch.Tensor | np.ndarray:
    """Images as they are pickled for another process: in shared memory if there is room for them, else as an array.

    Args:
        images: [..., 3, height, width], a view of channels-last memory.

    Returns:
        The tensor, or its pixels [..., height, width, 3] as a contiguous array.
    """
    global _pipe_only
    if not _pipe_only and free_shared_memory() > images.nbytes + _SPARE:
        try:
            return images.share_memory_()
        except (RuntimeError, OSError):  # somebody else was quicker, or there are too many open files
            _pipe_only = True
    return images.movedim(-3, -1).contiguous().numpy()


def _as_tensor(images: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Images as `_shared_or_plain` has sent them, [..., 3, height, width]."""
    if isinstance(images, torch.Tensor):
        return images
    _say_once()
    return torch.from_numpy(images).movedim(-1, -3)


@functools.cache
def _say_once() -> None:
    logger.warning(
        "%s is too small for the batches of the loader processes: some come through pipes, which is slower "
        "(Docker: --shm-size=2g)",
        SHARED_MEMORY,
    )


def free_shared_memory() -> float:
    """Bytes left of shared memory; without limit where it is no folder."""
    try:
        facts = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return float("inf")
    return facts.f_bavail * facts.f_frsize
