"""The training loop: epochs as a generator of events.

Everything a step depends on is computed from (seed, epoch, step), so `snapshot` between any two steps is
enough to go on exactly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader

from docclf_cli.data.loaders import Batch, EpochBatches
from docclf_cli.data.preprocess import Preprocess
from docclf_cli.engine.events import EpochDone, Event, StepDone
from docclf_cli.engine.inference import normalise
from docclf_cli.engine.runtime import Runtime, reseed_layers
from docclf_cli.errors import DivergedError, InputError
from docclf_cli.profile.schema import TrainConfig
from docclf_cli.training.losses import Loss
from docclf_cli.training.schedulers import Schedule

LOWER_IS_BETTER = ("val_loss", "train_loss")


@dataclass
class TrainState:
    """Where a fit stands; plain values only.

    Attributes:
        epoch: Epochs completed.
        step: Optimizer steps done in the current epoch.
        loss_sum: Weighted sum of losses of the current epoch.
        loss_weight: Its weights.
        skipped: Steps left out because their loss was not finite.
        best: Best monitored figure so far.
        best_epoch: The epoch it belongs to, counted from 1; 0 before the first.
        history: One row of figures per epoch.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    loss_weight: float = 0.0
    skipped: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Parts:
    """What a trainer is made of."""

    model: torch.nn.Module
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    ema: Any  # timm.utils.ModelEmaV3 | None
    loader: DataLoader[Batch]
    batches: EpochBatches
    preprocess: Preprocess
    ids: Any  # text [n]: names the pages of a batch in messages


class Trainer:
    """Trains one model.

    Args:
        parts: Model, loss, optimizer, schedule and loader.
        config: The training section of the profile.
        runtime: Device and numerics.
        seed: Seed of the run.
        validate: Figures of a model on the held-out pages.
    """

    def __init__(
        self,
        parts: Parts,
        config: TrainConfig,
        runtime: Runtime,
        seed: int,
        validate: Callable[[torch.nn.Module], Mapping[str, float]],
    ) -> None:
        self.parts, self.config, self.runtime, self.seed, self.validate = parts, config, runtime, seed, validate
        self.state = TrainState()
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.model: Any = torch.compile(parts.model) if runtime.compile else parts.model

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole fit."""
        steps = self.config.epochs * self.parts.batches.steps
        return min(steps, self.config.max_steps or steps)

    @property
    def global_step(self) -> int:
        """Optimizer steps done."""
        return self.state.epoch * self.parts.batches.steps + self.state.step

    @property
    def weights_model(self) -> torch.nn.Module:
        """The model that is validated and kept: the moving average where there is one."""
        return self.parts.ema.module if self.parts.ema is not None else self.parts.model

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or patience has run out."""
        if self.state.step:  # an epoch ends with its validation, not with its last step
            return False
        patience = self.config.patience
        waited = self.state.epoch - self.state.best_epoch
        return self.global_step >= self.total_steps or (patience is not None and waited >= patience)

    def run(self) -> Iterator[Event]:
        """Train from the current state to the end."""
        while not self.finished:
            started, first = time.perf_counter(), self.state.step
            yield from self._train_epoch()
            trained = time.perf_counter()
            yield self._finish_epoch(trained - started, self.state.step - first, trained)

    def _train_epoch(self) -> Iterator[StepDone]:
        parts, state = self.parts, self.state
        self._set_mode()
        left = min(parts.batches.steps - state.step, self.total_steps - self.global_step)
        if left <= 0:  # stopped while it was validated
            return
        parts.batches.start(state.epoch, state.step)
        micro_batches = iter(parts.loader)
        for _ in range(left):
            yield self._step(list(islice(micro_batches, self.config.accumulate)))

    def _set_mode(self) -> None:
        """Training mode; while the backbone is frozen only the classifier learns."""
        model = self.parts.model
        frozen = self.state.epoch < self.config.freeze_epochs
        model.train(not frozen)
        model.requires_grad_(not frozen)
        if frozen:
            for head in classifiers_of(model):
                head.train().requires_grad_(True)

    def _step(self, micro_batches: list[Batch]) -> StepDone:
        state, parts = self.state, self.parts
        lr = self._set_learning_rate()
        weights = [parts.loss.weights(self.runtime.to_device(batch.targets)) for batch in micro_batches]
        total = sum(float(weight.sum()) for weight in weights)
        loss = sum(self._backward(batch, micro, total) for micro, batch in enumerate(micro_batches) if len(batch.rows))
        if math.isfinite(loss):
            self._update()
            state.loss_sum += loss * total
            state.loss_weight += total
        else:
            self._skip(loss, micro_batches)
        state.step += 1
        pages = sum(len(batch.rows) for batch in micro_batches)
        return StepDone(state.epoch + 1, self.global_step, loss, lr, pages)

    def _set_learning_rate(self) -> float:
        schedule = self.parts.schedule
        lr = schedule.lr_at(self.global_step if schedule.unit == "step" else self.state.epoch)
        for group in self.parts.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        return lr

    def _backward(self, batch: Batch, micro: int, total: float) -> float:
        reseed_layers(self.seed, self.global_step, micro, self.runtime.rank)
        images = normalise(batch.images, self.parts.preprocess, self.runtime)
        with self.runtime.autocast():
            logits = self.model(images)
        loss = self.parts.loss(logits.float(), self.runtime.to_device(batch.targets)).sum() / max(total, 1e-12)
        self.scaler.scale(loss).backward()
        return loss.item()

    def _update(self) -> None:
        optimizer = self.parts.optimizer
        if self.config.clip_grad is not None:
            self.scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(self.parts.model.parameters(), self.config.clip_grad)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if self.parts.ema is not None:
            self.parts.ema.update(self.parts.model, step=self.global_step)

    def _skip(self, loss: float, micro_batches: list[Batch]) -> None:
        self.parts.optimizer.zero_grad(set_to_none=True)
        self.state.skipped += 1
        if self.state.skipped <= self.config.nan_tolerance:
            return
        names = [str(self.parts.ids[row]) for batch in micro_batches for row in batch.rows]
        raise DivergedError(
            f"the loss became {loss} in epoch {self.state.epoch + 1}, step {self.global_step + 1}; "
            f"pages of that batch: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}",
            "lower --lr, or clip harder (--set train.clip_grad=0.5); the best checkpoint so far is kept",
        )

    def _finish_epoch(self, train_seconds: float, steps: int, trained: float) -> EpochDone:
        state = self.state
        figures: dict[str, float] = {
            "epoch": state.epoch + 1,
            "step": self.global_step,
            "lr": self.parts.optimizer.param_groups[-1]["lr"] / self.parts.optimizer.param_groups[-1]["lr_scale"],
            "train_loss": state.loss_sum / state.loss_weight if state.loss_weight else math.nan,
            **{name: float(value) for name, value in self.validate(self.weights_model).items()},
        }
        state.history.append(figures)
        state.epoch, state.step, state.loss_sum, state.loss_weight = state.epoch + 1, 0, 0.0, 0.0
        is_best = self._judge(figures)
        self.parts.schedule.observe(figures)
        timings = {
            "epoch": state.epoch,
            "train_seconds": train_seconds,
            "validation_seconds": time.perf_counter() - trained,
            "images_per_second": steps * self.config.batch_size / max(train_seconds, 1e-9),
        }
        return EpochDone(state.epoch, figures, is_best, timings)

    def _judge(self, figures: Mapping[str, float]) -> bool:
        value = self._monitored(figures)
        if not value > self.state.best:
            return False
        self.state.best, self.state.best_epoch = value, self.state.epoch
        return True

    def _monitored(self, figures: Mapping[str, float]) -> float:
        """The figure that chooses epochs, turned so that larger is better."""
        monitor = self.config.monitor
        if monitor not in figures:
            raise InputError(f"train.monitor: '{monitor}' is not measured", f"measured: {', '.join(figures)}")
        return -figures[monitor] if monitor in LOWER_IS_BETTER else figures[monitor]

    def ranked_epochs(self) -> list[int]:
        """Epochs so far, counted from 1, the best first."""
        rows = sorted(self.state.history, key=self._monitored, reverse=True)
        return [int(row["epoch"]) for row in rows]

    def snapshot(self) -> dict[str, Any]:
        """Everything needed to go on from here, as tensors and plain values."""
        parts = self.parts
        return {
            "model": parts.model.state_dict(),
            "optimizer": parts.optimizer.state_dict(),
            "schedule": parts.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": None if parts.ema is None else parts.ema.module.state_dict(),
            "state": asdict(self.state),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from what `snapshot` returned."""
        parts = self.parts
        parts.model.load_state_dict(snapshot["model"])
        _load_moments(parts.optimizer, snapshot["optimizer"])
        parts.schedule.load_state_dict(snapshot["schedule"])
        self.scaler.load_state_dict(snapshot["scaler"])
        if parts.ema is not None:
            parts.ema.module.load_state_dict(snapshot["ema"])
        self.state = TrainState(**snapshot["state"])


def _load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's state; its settings stay those of the profile (only the present rate is state)."""
    settings = [
        {key: value for key, value in group.items() if key not in ("params", "lr")} for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def classifiers_of(model: torch.nn.Module) -> tuple[torch.nn.Module, ...]:
    """The layers that map features to classes, as timm names them (distilled transformers have two)."""
    found = model.get_classifier()  # type: ignore[operator]
    return found if isinstance(found, tuple) else (found,)
