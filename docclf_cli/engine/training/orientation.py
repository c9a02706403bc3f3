"""What a trained model needs to tell how a page lies: fitted at the end of `train`, on turned and mirrored copies of its pages.

The labels are free, under one assumption: most pages of the user lie upright as they are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from docclf_cli.data.images.augmentation import Policy
from docclf_cli.data.images.corruptions import degrade
from docclf_cli.data.images.layout_cues import cues_of_images
from docclf_cli.data.images.orientation import ORIENTATIONS, Orientation
from docclf_cli.data.index.splits import stratified_sample
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.inference.predictor import Network
from docclf_cli.engine.training.job import TrainingJob
from docclf_cli.engine.training.last_look import last_look, network_of
from docclf_cli.engine.training.validator import Validator
from docclf_cli.metrics.calibration import fit_temperature
from docclf_cli.metrics.intervals import unit_of
from docclf_cli.metrics.orientation import HeldOutOrientation, LayoutModel, OrientationModel, held_out_orientation
from docclf_cli.models.features import StageRecorder
from docclf_cli.profile.schema import AugmentationConfig, TrainConfig

TASK = "learning which side is up"
FORWARD_PASSES = 3000  # of copies of training pages, at most
COPY_SECONDS = 0.006  # of a copy beside its forward pass: to turn it, for its layout, its share of the fit (two cores)
SHARE, STEP = 1 / 8, 3  # of the forward passes of training, at most; a page in a training step is worth three of them
FEWEST = 20  # training pages, and held-out ones
COPIES, HELD_OUT_COPIES = 8, 4  # of each page, at most; every fourth one is varied, or every other one degraded
MOST_HELD_OUT = 150  # pages
HIDDEN, LAYOUT_HIDDEN, EPOCHS, BATCH, RATE, DECAY, DROPPED = 128, 16, 30, 64, 2e-3, 0.3, 0.3
NO_UP = -1  # in place of an orientation
_STREAM = 6  # keeps these random streams apart from those of training
logger = logging.getLogger("docclf")

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def learn_orientation(task: TrainingJob, best: Checkpoint, validator: Validator) -> Mapping[str, np.ndarray]:
    """Fit an `OrientationModel` to the best epoch; rank 0 does it alone.

    Args:
        task: Says which pages trained the model, and which are held out.
        best: The best epoch.
        validator: Its pages, batch size, `emit` and `stop` serve here as well.

    Returns:
        Its arrays; none where there are too few pages, or timm names no stages of the model.

    Raises:
        Interrupted: `stop` was set.
    """
    copies = copies_of(task.profile.train)
    if not copies or min(len(task.train_rows), len(task.val_rows)) < FEWEST:
        return {}
    started, index, seed = time.monotonic(), task.prepared.index, task.profile.data.split_seed
    network = network_of(task, best)
    stages = StageRecorder.of(network.model)
    if stages is None:
        return {}
    network = replace(network, stages=stages)
    labels = index.labels
    most, most_held_out = pages_to_turn(copies, len(task.train_rows), len(task.val_rows), task.profile.train.epochs)
    trained = task.train_rows[stratified_sample(labels[task.train_rows], most, seed)]
    held_out = task.val_rows[stratified_sample(labels[task.val_rows], most_held_out, seed)]
    varied = _varied(task.profile.augmentation)
    lying = [_LyingView(seed, copy, varied if copy % 4 == 3 else None) for copy in range(copies)]
    features, cues, numbers, _ = _observe(network, [*lying, _LyingView(seed, NO_UP, None)], trained, validator)
    degraded = [_LyingView(seed + 1, copy, _damaged if copy % 2 else None) for copy in range(HELD_OUT_COPIES)]
    others, other_cues, other_numbers, rows = _observe(
        network, [*degraded, _LyingView(seed + 1, NO_UP, None)], held_out, validator
    )
    if min(len(features), len(others)) == 0:
        return {}
    fitted = _fitted(features, cues, numbers, seed)
    has_up = other_numbers != NO_UP
    log_probs = fitted.log_probs(others, other_cues)
    fitted = replace(fitted, temperature=fit_temperature(log_probs[has_up], other_numbers[has_up]))
    units = unit_of(len(index), index.groups)[rows]
    found = held_out_orientation(fitted.log_probs(others, other_cues), other_numbers, units)
    logger.info(
        "%s took %.1f s; of turned held-out pages %.0f %% are told, %.1f %% of these right",
        TASK, time.monotonic() - started, 100 * found.told, 100 * found.right,
    )  # fmt: skip
    return replace(fitted, held_out=found).to_arrays()


def copies_of(config: TrainConfig) -> int:
    """How many copies are made of each training page; 0 where nothing is to be learned."""
    if config.upright != "auto":
        return config.upright
    return 0 if config.only_probes else COPIES


def pages_to_turn(copies: int, train: int, val: int, epochs: int) -> tuple[int, int]:
    """How many training pages are copied, and how many held-out ones: fewer in a short run, which would wait for it."""
    passes = SHARE * STEP * epochs * train
    held_out = min(max(int(passes / 4 / (HELD_OUT_COPIES + 1)), FEWEST), val, MOST_HELD_OUT)
    left = min(passes - held_out * (HELD_OUT_COPIES + 1), FORWARD_PASSES)
    return min(max(int(left / (copies + 1)), FEWEST), train), held_out


def forward_passes(copies: int, train: int, val: int) -> int:
    """How many forward passes it takes at most to learn from so many copies of each training page."""
    return min((copies + 1) * train, FORWARD_PASSES) + (HELD_OUT_COPIES + 1) * min(val, MOST_HELD_OUT) if copies else 0


@dataclass(frozen=True, eq=False)
class _LyingView:
    """A copy of each page that lies in another way than its other copies; the copy `NO_UP` has no side that is up."""

    quick: ClassVar = False
    seed: int
    copy: int
    change: Change | None

    @property
    def name(self) -> str:
        return f"lying {self.copy} of {self.seed}"

    def number(self, row: int) -> int:
        """The orientation of the copy of a page."""
        if self.copy == NO_UP:
            return NO_UP
        return int(np.random.default_rng((self.seed, _STREAM, row)).permutation(ORIENTATIONS)[self.copy])

    def __call__(self, page: np.ndarray, row: int) -> np.ndarray:
        """The copy of a page."""
        rng = np.random.default_rng((self.seed, _STREAM, row, self.copy + 1))
        if self.copy == NO_UP:
            return without_up(page, rng)
        if self.change is not None:
            page = self.change(page, rng)
        return Orientation.numbered(self.number(row)).of(page)


def without_up(page: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A page on which no side is up: pieces of it, each lying in another way, or now and then an empty sheet."""
    if rng.random() < 0.3:
        sheet = np.full(page.shape, rng.uniform(0, 255, 3) if rng.random() < 0.3 else rng.uniform(180, 255))
        return np.clip(sheet + rng.normal(0, rng.uniform(0, 20), page.shape), 0, 255).astype(np.uint8)
    side = len(page) // int(rng.integers(3, 6))
    places = [
        (top, left) for top in range(0, len(page) - side + 1, side) for left in range(0, len(page) - side + 1, side)
    ]
    pieces = page.copy()
    for (top, left), source in zip(places, rng.permutation(len(places)), strict=True):
        down, right = places[source]
        piece = page[down : down + side, right : right + side]
        pieces[top : top + side, left : left + side] = Orientation.numbered(int(rng.integers(ORIENTATIONS))).of(piece)
    return pieces


def _varied(augmentation: AugmentationConfig) -> Change:
    """The policy of training without what turns or mirrors a page."""
    rest = [one for one in augmentation.transforms if one.name not in ("quarter_turn", "mirror")]
    return Policy.from_config(augmentation.model_copy(update={"transforms": rest}))


def _damaged(page: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return degrade(page, rng, as_it_lies=True)


def _observe(
    network: Network, views: Sequence[_LyingView], rows: np.ndarray, validator: Validator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pooled features of the copies of pages, the cues of their layout, the orientation of each, and its row."""
    dataset = InferenceDataset((ModelInput(validator.prepared.pages, tuple(views)),))
    features, cues, numbers, read = list[np.ndarray](), list[np.ndarray](), list[int](), list[int]()
    for batch, outputs in last_look(network, dataset, rows.tolist(), validator, TASK, len(views)):
        features.append(outputs.stage.cpu().numpy())
        cues.append(cues_of_images(batch.images[0].cpu().numpy()))
        numbers += [view.number(int(row)) for view in views for row in batch.rows]
        read += batch.rows.tolist() * len(views)
    found = [np.concatenate(one) if one else np.empty((0, 0), np.float32) for one in (features, cues)]
    return found[0], found[1], np.array(numbers, np.int64), np.array(read, np.int64)


class _OrientationNetwork(nn.Module):
    """What `OrientationModel` computes, while it is learned."""

    def __init__(self, width: int, cues: int, rng: torch.Generator) -> None:
        super().__init__()
        self.hidden_weight = nn.Parameter(torch.randn(HIDDEN, width, generator=rng) * (2 / width) ** 0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(HIDDEN))
        self.weight = nn.Parameter(torch.randn(ORIENTATIONS, HIDDEN, generator=rng) * HIDDEN**-0.5)
        self.bias = nn.Parameter(torch.zeros(ORIENTATIONS))
        self.layout_hidden_weight = nn.Parameter(torch.randn(LAYOUT_HIDDEN, cues, generator=rng) * (2 / cues) ** 0.5)
        self.layout_hidden_bias = nn.Parameter(torch.zeros(LAYOUT_HIDDEN))
        self.layout_weight = nn.Parameter(torch.randn(LAYOUT_HIDDEN, generator=rng) * LAYOUT_HIDDEN**-0.5)
        self._rng = rng

    def forward(self, features: torch.Tensor, cues: torch.Tensor) -> torch.Tensor:
        """Logits [n, orientations] of features [n, width] and cues [n, orientations, cues]."""
        hidden = torch.relu(self._dropped(features) @ self.hidden_weight.T + self.hidden_bias)
        seen = torch.relu(cues @ self.layout_hidden_weight.T + self.layout_hidden_bias)
        alike = self._dropped(torch.ones(len(cues), 1, LAYOUT_HIDDEN))  # for all orientations of a page
        return self._dropped(hidden) @ self.weight.T + self.bias + (seen * alike) @ self.layout_weight

    def _dropped(self, values: torch.Tensor) -> torch.Tensor:
        return values * (torch.rand(values.shape, generator=self._rng) >= DROPPED) / (1 - DROPPED)

    def arrays(self) -> dict[str, np.ndarray]:
        """Its parameters by name."""
        return {name: value.detach().numpy() for name, value in self.named_parameters()}


def _fitted(features: np.ndarray, cues: np.ndarray, numbers: np.ndarray, seed: int) -> OrientationModel:
    """A network with one hidden layer, fitted to copies of training pages; those without an up are to have even odds."""
    centre, scale = features.mean(axis=0), features.std(axis=0)
    # As in the linear probe: what hardly varies here may vary on other pages.
    scale = np.maximum(scale, max(float(np.median(scale)) / 2, 1e-6))
    cue_scale = LayoutModel.scale_of(cues)
    inputs = torch.as_tensor((features - centre) / scale, dtype=torch.float32)
    layouts = torch.as_tensor(LayoutModel.inputs(cues, cue_scale))
    targets = np.full((len(numbers), ORIENTATIONS), 1 / ORIENTATIONS, np.float32)
    targets[numbers != NO_UP] = np.eye(ORIENTATIONS, dtype=np.float32)[numbers[numbers != NO_UP]]
    wanted = torch.as_tensor(targets)
    rng = torch.Generator().manual_seed(seed)
    network = _OrientationNetwork(inputs.shape[1], layouts.shape[2], rng)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * max(1, len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for step in range(steps):
        if step % max(1, len(inputs) // BATCH) == 0:
            order = torch.randperm(len(inputs), generator=rng)
            start = 0
        rows = order[start : start + BATCH]
        start += BATCH
        loss = nn.functional.cross_entropy(network(inputs[rows], layouts[rows]), wanted[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    unknown = HeldOutOrientation(0, 0.0, 0.0, 0.0, 1.0, 1.0)
    scales = {"centre": centre, "scale": scale, "temperature": np.ones(()), "layout_scale": cue_scale}
    return OrientationModel.from_arrays(
        network.arrays() | scales | {name: np.asarray(value) for name, value in asdict(unknown).items()}
    )
