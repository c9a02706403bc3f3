"""From rows of the index to batches of tensors.

Order, augmentation and mixing are functions of (seed, epoch, row): the number of workers, a resumed run or
another process count cannot change what a page looks like or when it comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.mixing import apply_mix, mix_plan
from docclf_cli.data.loading.process_loader import OnWait, as_tensor, never_stop, process_loader, shared_or_plain
from docclf_cli.data.loading.worker_gate import GatedDataset, GatedLoader, Numbered, WorkerGate
from docclf_cli.data.loading.worker_pool import start_method

if TYPE_CHECKING:
    from docclf_cli.data.images.augmentation import Policy
    from docclf_cli.data.loading.pages import Pages

View = Callable[[np.ndarray, int], np.ndarray]  # (page, row) -> page
_AUGMENT, _ORDER = 1, 2  # keep the random streams of one seed apart
_READ_AHEAD = 2  # batches


@dataclass(frozen=True)
class Batch:
    """Pages on their way to the model.

    Attributes:
        images: uint8 [n, 3, size, size]; where each page is seen in several views [n, views, 3, size, size].
        targets: int64 [n], or float32 [n, num_classes] where pages were mixed.
        rows: Rows of the index, [n].
        unreadable: Rows that could not be read, with the reason; they are not in the other fields.
    """

    images: torch.Tensor
    targets: torch.Tensor
    rows: np.ndarray
    unreadable: tuple[tuple[int, str], ...] = ()

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory (called by the loader for GPUs)."""
        return Batch(self.images.pin_memory(), self.targets.pin_memory(), self.rows, self.unreadable)

    def __reduce__(self) -> tuple[Any, ...]:
        # Between processes each tensor costs a connection of its own, which is worth it for images only.
        return _received, (shared_or_plain(self.images), self.targets.numpy(), self.rows, self.unreadable)


def _received(
    images: torch.Tensor | np.ndarray, targets: np.ndarray, rows: np.ndarray, unreadable: tuple[tuple[int, str], ...]
) -> Batch:
    return Batch(as_tensor(images), torch.from_numpy(targets), rows, unreadable)


@dataclass(frozen=True)
class Mixing:
    """Mixup and cutmix settings; partners come from `rows`."""

    mixup: float
    cutmix: float
    probability: float
    num_classes: int

    @property
    def active(self) -> bool:
        """Whether anything is ever mixed."""
        return (self.mixup > 0 or self.cutmix > 0) and self.probability > 0


class TrainPages(Dataset[Any]):
    """Augmented training pages by (epoch, position in `rows`)."""

    def __init__(
        self, pages: Pages, rows: np.ndarray, targets: np.ndarray, policy: Policy, mixing: Mixing, seed: int
    ) -> None:
        self.pages, self.rows, self.targets = pages, rows, targets
        self.policy, self.mixing, self.seed = policy, mixing, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, Any, int] | tuple[None, str, int]:
        epoch, position = key
        row = int(self.rows[position])
        try:
            page, target = self._augmented(epoch, position), int(self.targets[row])
            if not self.mixing.active:
                return page, target, row
            return *self._mixed(epoch, position, page, target), row
        except UnreadablePage as error:
            return None, str(error), row

    def _augmented(self, epoch: int, position: int) -> np.ndarray:
        row = int(self.rows[position])
        return self.policy(self.pages[row], np.random.default_rng((self.seed, _AUGMENT, epoch, row)))

    def _mixed(self, epoch: int, position: int, page: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
        mixing = self.mixing
        plan = mix_plan(self.seed, epoch, position, len(self.rows), mixing.mixup, mixing.cutmix, mixing.probability)
        if plan is None:
            return page, np.eye(mixing.num_classes, dtype=np.float32)[target]
        partner = self._augmented(epoch, plan.partner)
        partner_target = int(self.targets[self.rows[plan.partner]])
        return apply_mix(plan, page, partner, target, partner_target, mixing.num_classes)


class QuickOrNot(Protocol):
    """A dataset that knows whether its pages cost next to nothing, so that processes to read them would not pay."""

    @property
    def quick(self) -> bool:
        """Whether pages come from the cache, and what is done to them is slight."""
        ...

    def __getitem__(self, key: Any) -> Any: ...


class PlainPages(Dataset[Any]):
    """Pages by row as they are, or through a fixed view."""

    def __init__(self, pages: Pages, targets: np.ndarray | None, view: View | None = None) -> None:
        self.pages, self.targets, self.view = pages, targets, view

    @property
    def quick(self) -> bool:
        """Whether pages come from the cache as they are."""
        return self.pages.cache is not None and self.view is None

    def __getitem__(self, row: int) -> tuple[np.ndarray, int, int] | tuple[None, str, int]:
        try:
            page = self.pages[row]
        except UnreadablePage as error:
            return None, str(error), row
        target = -1 if self.targets is None else int(self.targets[row])
        return (page if self.view is None else self.view(page, row)), target, row


class ViewedPages(Dataset[Any]):
    """Pages by (view, row): the same pages, looked at in several ways."""

    def __init__(self, views: Sequence[PlainPages]) -> None:
        self.views = views

    @property
    def quick(self) -> bool:
        """Whether all of them come from the cache as they are."""
        return all(view.quick for view in self.views)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, int, int] | tuple[None, str, int]:
        view, row = key
        return self.views[view][row]


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of one epoch: a permutation of `range(count)` computed from (seed, epoch)."""
    return np.random.default_rng((seed, _ORDER, epoch)).permutation(count)


class EpochBatches:
    """Micro-batches of one epoch for one rank, as lists of (epoch, position).

    A global batch is `batch_size` pages, cut into `accumulate` micro-batches and each of these into
    `world_size` shares. The last, incomplete batch of an epoch is left out (other pages each epoch), unless
    it is the only one.
    """

    def __init__(
        self, count: int, batch_size: int, accumulate: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.count, self.batch_size, self.accumulate, self.seed = count, batch_size, accumulate, seed
        self.rank, self.world_size = rank, world_size
        self.epoch, self.first_step = 0, 0

    @property
    def steps(self) -> int:
        """Optimizer steps per epoch."""
        return max(1, self.count // self.batch_size)

    @property
    def step_pages(self) -> int:
        """Pages of an optimizer step."""
        return min(self.count, self.batch_size)

    @property
    def smallest_share(self) -> int:
        """Pages of a micro-batch that the rank with fewest gets."""
        return self.step_pages // self.accumulate // self.world_size

    def start(self, epoch: int, first_step: int = 0) -> None:
        """Choose the epoch, and the optimizer step inside it to begin with."""
        self.epoch, self.first_step = epoch, first_step

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = epoch_order(self.seed, self.epoch, self.count)
        for step in range(self.first_step, self.steps):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            for micro in np.array_split(batch, self.accumulate):
                yield [(self.epoch, int(position)) for position in micro[self.rank :: self.world_size]]


def train_loader(
    dataset: TrainPages,
    batches: EpochBatches,
    workers: int,
    pin: bool,
    gated: bool = False,
    on_wait: OnWait = never_stop,
) -> Iterable[Batch]:
    """A loader that plays the epoch `batches` is set to, each time it is iterated.

    Args:
        dataset: The pages.
        batches: Which of them make a batch.
        workers: Loader processes.
        pin: Whether batches are put into page-locked memory.
        gated: Whether the workers wait while a batch is trained on (`worker_gate`).
        on_wait: Called whenever no batch has come for some seconds; may raise to stop.
    """
    if gated and workers:
        gate = WorkerGate(workers, start_method())
        pages = GatedDataset(dataset, gate)
        # One batch ahead per worker: a second one would only wait at the gate.
        numbered = Numbered(batches)
        return GatedLoader(
            process_loader(pages, numbered, collate, workers, pin, on_wait, persistent=True, prefetch_factor=1), gate
        )
    return process_loader(dataset, batches, collate, workers, pin, on_wait, persistent=True)


def plain_loader(
    dataset: QuickOrNot, rows: Sequence[int], batch_size: int, workers: int, pin: bool, on_wait: OnWait = never_stop
) -> Iterable[Batch]:
    """A loader over the given rows, each once, in that order; `on_wait` as for `train_loader`."""
    return _reader(dataset, _in_batches(rows, batch_size), workers, pin, on_wait)


def views_loader(
    dataset: ViewedPages, rows: Sequence[int], batch_size: int, workers: int, pin: bool, on_wait: OnWait = never_stop
) -> Iterable[Batch]:
    """A loader over the given rows in the first view, then in the next; its processes stay for the next pass."""
    views = range(len(dataset.views))
    batches = [[(view, row) for row in batch] for view in views for batch in _in_batches(rows, batch_size)]
    return _reader(dataset, batches, workers, pin, on_wait, persistent=True)


def _reader(
    dataset: QuickOrNot, batches: Sequence[Any], workers: int, pin: bool, on_wait: OnWait, persistent: bool = False
) -> Iterable[Batch]:
    if dataset.quick:
        return _ReadAhead(dataset, batches, pin)
    return process_loader(dataset, batches, collate, min(workers, len(batches)), pin, on_wait, persistent=persistent)


@dataclass(frozen=True, eq=False)
class _ReadAhead:
    """Batches that one thread reads while those before are looked at.

    Copying a page takes some microseconds; starting processes for it takes as long as thousands of pages, and each
    would check again what this process has checked.
    """

    dataset: QuickOrNot
    batches: Sequence[Any]
    pin: bool

    def __iter__(self) -> Iterator[Batch]:
        thread = ThreadPoolExecutor(1, "docclf-reader")
        ahead: deque[Future[Batch]] = deque()
        try:
            for batch in self.batches:
                ahead.append(thread.submit(self._read, batch))
                if len(ahead) > _READ_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            thread.shutdown(cancel_futures=True)

    def _read(self, batch: Sequence[Any]) -> Batch:
        read = collate([self.dataset[key] for key in batch])
        return read.pin_memory() if self.pin else read


def _in_batches(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def collate(samples: list[Any]) -> Batch:
    """One batch from what a dataset gave, unreadable pages set aside."""
    good = [sample for sample in samples if sample[0] is not None]
    bad = tuple((row, reason) for page, reason, row in samples if page is None)
    if not good:
        return Batch(
            torch.empty(0, 3, 1, 1, dtype=torch.uint8), torch.empty(0, dtype=torch.long), np.empty(0, int), bad
        )
    images = torch.from_numpy(np.stack([page for page, _, _ in good])).movedim(-1, -3)
    targets = torch.from_numpy(np.stack([target for _, target, _ in good]))
    return Batch(images, targets, np.array([row for _, _, row in good]), bad)
