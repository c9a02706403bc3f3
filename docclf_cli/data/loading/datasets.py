"""From rows of the index to samples: one dataset for training, one for inference.

Order, augmentation and mixing are functions of (seed, epoch, row): the number of workers, a resumed run or
another process count cannot change what a page looks like or when it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.mixing import apply_mix, mix_plan
from docclf_cli.data.loading.batch import Sample
from docclf_cli.data.loading.pages import AS_IT_IS, NamedView, Pages, PageSource
from docclf_cli.models.text_features import TextPage

if TYPE_CHECKING:
    from docclf_cli.data.images.augmentation import Policy

_AUGMENT, _ORDER = 1, 2  # keep the random streams of one seed apart


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


class TrainingDataset(Dataset[Any]):
    """Augmented training pages by (epoch, position in `rows`)."""

    def __init__(
        self, pages: Pages, rows: np.ndarray, targets: np.ndarray, policy: Policy, mixing: Mixing, seed: int
    ) -> None:
        self.pages, self.rows, self.targets = pages, rows, targets
        self.policy, self.mixing, self.seed = policy, mixing, seed

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, position = key
        row = int(self.rows[position])
        try:
            page, target = self._augmented(epoch, position), int(self.targets[row])
            if not self.mixing.active:
                return (page[None],), target, row
            mixed, soft_target = self._mixed(epoch, position, page, target)
            return (mixed[None],), soft_target, row
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


@dataclass(frozen=True, eq=False)
class ModelInput:
    """What a model sees of a page: the page as its preprocessing makes it, through each of its views."""

    source: PageSource
    views: tuple[NamedView, ...] = (AS_IT_IS,)

    @property
    def quick(self) -> bool:
        """Whether pages come from the cache, and no view takes long."""
        return self.source.cached and all(view.quick for view in self.views)

    def read(self, number: int, row: int) -> np.ndarray:
        """All views of a page, uint8 [views, size, size, 3].

        Raises:
            UnreadablePage: It cannot be read.
        """
        page = self.source[number]
        seen = [view(page, row) for view in self.views]
        return seen[0][None] if len(seen) == 1 else np.stack(seen)


class InferenceDataset(Dataset[Any]):
    """Pages by number, as models see them: each read once for every input.

    Args:
        inputs: What the models see; `Batch.images` has one entry for each.
        targets: Class of each row, int64; None where they are not known.
        rows: Row of each page of the sources, where they hold some rows only; None where they hold all.
        texts: Reads the text of a page by its number; None where no model reads.
    """

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        targets: np.ndarray | None = None,
        rows: np.ndarray | None = None,
        texts: Callable[[int], TextPage] | None = None,
    ) -> None:
        self.inputs, self.targets, self.rows, self.texts = tuple(inputs), targets, rows, texts

    def __len__(self) -> int:
        return len(self.inputs[0].source)

    @property
    def quick(self) -> bool:
        """Whether reading costs next to nothing, so that processes for it would not pay."""
        return self.texts is None and all(one.quick for one in self.inputs)

    def __getitem__(self, number: int) -> Sample:
        row = number if self.rows is None else int(self.rows[number])
        try:
            images = tuple(one.read(number, row) for one in self.inputs)
        except UnreadablePage as error:
            return None, str(error), number
        target = -1 if self.targets is None else int(self.targets[row])
        return (images, target, number) if self.texts is None else (images, target, number, self.texts(number))


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


def cut(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    """Rows in batches of a size; the last one may have fewer."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
