"""The training loop: a generator of events.

Randomness is a function of (seed, epoch, step), so training resumes exactly from a `snapshot` between any two steps.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.loading.batch import Batch
from docclf_cli.data.loading.datasets import EpochBatches
from docclf_cli.engine.inference.predictor import normalise
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.allocator import step_memory
from docclf_cli.engine.runtime.device import Runtime, reseed_layers
from docclf_cli.engine.runtime.folded_norms import Pairs, folded
from docclf_cli.engine.runtime.nan_guard import LOWER, Buffers, StepMetrics, gradient_norm, not_finite
from docclf_cli.engine.training.distillation import Teachers
from docclf_cli.engine.training.losses import Loss
from docclf_cli.engine.training.optimizers import load_state
from docclf_cli.engine.training.pace import Pace
from docclf_cli.engine.training.schedulers import Schedule
from docclf_cli.errors import DivergedError, InputError
from docclf_cli.events import EpochDone, Event, StepDone
from docclf_cli.metrics.metrics import is_higher_better
from docclf_cli.models.freezing import Freezing, set_mode
from docclf_cli.profile.schema import TrainConfig

TRAINING_COLUMNS = ("epoch", "step", "lr", "train_loss")  # of an epoch, whether or not it is validated
NAMED = 8  # pages of a batch that are named in a message
logger = logging.getLogger("docclf")


@dataclass
class TrainState:
    """Position and history of a fit, as plain values.

    Attributes:
        epoch: Epochs completed.
        step: Optimizer steps done in the current epoch.
        loss_sum: Weighted sum of losses of the current epoch.
        loss_weight: Its weights.
        skipped: Steps left out because their loss was not finite.
        best: Best monitored metric so far.
        best_epoch: The epoch it belongs to, counted from 1; 0 before the first.
        history: One row of metrics per epoch.
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
class TrainerComponents:
    """The parts of a trainer.

    Attributes:
        model: The network, on its device.
        loss: The loss, with class weights on the CPU: the weight of a batch is computed before it is copied.
        optimizer: Over the parameters of `model`.
        schedule: The learning rate.
        ema: `timm.utils.ModelEmaV3`, or None.
        loader: Yields the micro-batches of this process.
        batches: Plan of the batches.
        preprocess: How a page becomes the input.
        ids: IDs of all pages for messages, text [n].
        teachers: What the model learns from besides the labels; None without distillation.
        norms: Batch norms with frozen statistics that are computed in the convolutions before them.
    """

    model: torch.nn.Module
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    ema: Any
    loader: Iterable[Batch]
    batches: EpochBatches
    preprocess: Preprocess
    ids: Any
    teachers: Teachers | None = None
    norms: Pairs = ()


class Trainer:
    """Trains one model.

    Args:
        components: Model, loss, optimizer, schedule and loader.
        config: The training section of the profile.
        runtime: Device and numerics.
        seed: Seed of the run.
        validate: Metrics of a model on the held-out pages.
    """

    def __init__(
        self,
        components: TrainerComponents,
        config: TrainConfig,
        runtime: Runtime,
        seed: int,
        validate: Callable[[torch.nn.Module], Mapping[str, float]],
    ) -> None:
        self.components = components
        self.config = config
        self.runtime = runtime
        self.seed = seed
        self.validate = validate
        self.state = TrainState()
        self.loss = components.loss.to(runtime.device)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.model: Any = runtime.compiled(components.model)
        # The host runs one step ahead of a GPU, unless steps may be undone or must be agreed upon with other ranks.
        self.runs_ahead = (
            runtime.device.type == "cuda" and not config.nan_tolerance and not distributed.is_distributed()
        )
        self.pace: Pace | None = None  # changes the number of epochs where the fit has a time to keep
        self._pending: StepMetrics | None = None
        self._loss = math.nan  # of the last step whose metrics have been read

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole fit."""
        steps = self.components.batches.steps
        if self.pace is None:
            return self.config.total_steps(steps)
        return min(self.pace.epochs * steps, self.config.max_steps or self.pace.epochs * steps)

    @property
    def global_step(self) -> int:
        """Completed optimizer steps."""
        return self.state.epoch * self.components.batches.steps + self.state.step

    @property
    def weights_model(self) -> torch.nn.Module:
        """The model that is validated and saved: the moving average if there is one."""
        return self.components.ema.module if self.components.ema is not None else self.components.model

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or patience has run out."""
        if self.state.step:  # an epoch ends after its validation, not after its last step
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

    def _train_epoch(self) -> Iterator[Event]:
        components, state = self.components, self.state
        set_mode(components.model, Freezing.in_epoch(self.config, state.epoch))
        left = min(components.batches.steps - state.step, self.total_steps - self.global_step)
        if left <= 0:  # the run was stopped during validation
            return
        components.batches.start(state.epoch, state.step)
        micro_batches = iter(components.loader)
        with folded(self.components.norms):
            for _ in range(left):
                with step_memory(components.batches.step_pages, self.config.accumulate):
                    done = self._step(list(islice(micro_batches, self.config.accumulate)))
                yield done
        self._flush()

    def _step(self, micro_batches: list[Batch]) -> StepDone:
        state, components = self.state, self.components
        lr = self._set_learning_rate()
        total, pages = distributed.all_reduce_sum(
            sum(float(components.loss.weights(batch.targets).sum()) for batch in micro_batches),
            sum(len(batch.rows) for batch in micro_batches),
        )
        # Without a tolerance the first fault ends the fit, and nothing has to be restored.
        buffers = Buffers(components.model.buffers() if self.config.nan_tolerance else ())
        losses = [self._backward(batch, micro, total) for micro, batch in enumerate(micro_batches) if len(batch.rows)]
        distributed.all_reduce_gradients(components.model)
        metrics = self._ready(self._step_metrics(losses, total, micro_batches))
        if metrics is None or self._counts(metrics):
            self._update()
        else:
            buffers.restore()
        self.scaler.update()
        components.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        return StepDone(state.epoch + 1, self.global_step, self._loss, lr, int(pages))

    def _set_learning_rate(self) -> float:
        schedule = self.components.schedule
        place = self.global_step if self.pace is None else round(self.pace.position(self.global_step))
        lr = schedule.lr_at(place if schedule.unit == "step" else place // self.components.batches.steps)
        for group in self.components.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        return lr

    def _backward(self, batch: Batch, micro: int, total: float) -> torch.Tensor:
        reseed_layers(self.seed, self.global_step, micro, self.runtime.rank)
        images = normalise(batch.images[0], self.components.preprocess, self.runtime)
        with self.runtime.autocast():
            logits = self.model(images)
        losses = self.loss(logits.float(), self.runtime.to_device(batch.targets))
        if self.components.teachers is not None:
            losses = self.components.teachers.loss(losses, self.loss, logits.float(), batch)
        loss = losses.sum() / max(total, 1e-12)
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _step_metrics(self, losses: Sequence[torch.Tensor], total: float, micro_batches: list[Batch]) -> StepMetrics:
        """Clip the gradient, and collect the losses of a step and the norm before clipping, without waiting for the device."""
        self.scaler.unscale_(self.components.optimizer)
        norm = gradient_norm(self.components.model.parameters(), self.config.clip_grad)
        rows = [batch.rows for batch in micro_batches]
        return StepMetrics(torch.stack([*losses, norm]), self.global_step + 1, total, rows)

    def _ready(self, metrics: StepMetrics) -> StepMetrics | None:
        """The metrics to judge now: those of this step, or, with the next step at work already, of the one before."""
        if not self.runs_ahead or math.isnan(self._loss):  # the first ones, so that there is a loss to show
            return metrics
        before, self._pending = self._pending, metrics
        return before

    def _flush(self) -> None:
        """Wait for the metrics of the last step, and check them."""
        metrics, self._pending = self._pending, None
        if metrics is not None:
            self._counts(metrics)

    def _counts(self, metrics: StepMetrics) -> bool:
        """Add the loss of a step to that of its epoch; of a step that is not finite, report why it is left out.

        Raises:
            DivergedError: More steps were skipped than `nan_tolerance` allows.
        """
        *losses, norm = metrics.read()
        (self._loss,) = distributed.all_reduce_sum(sum(losses))
        if fault := self._fault(self._loss, norm):
            self._skip(fault, metrics)
            return False
        self.state.loss_sum += self._loss * metrics.weight
        self.state.loss_weight += metrics.weight
        return True

    def _fault(self, loss: float, norm: float) -> str:
        """Say what of a step is not finite; empty if all is."""
        if not math.isfinite(loss):
            return f"the loss became {loss}"
        # An overflow at a large loss scale is how the scale is found; the scaler skips the step by itself.
        if math.isfinite(norm) or (self.scaler.is_enabled() and self.scaler.get_scale() > 1):
            return ""
        return f"the norm of the gradient became {norm}"

    def _update(self) -> None:
        self.scaler.step(self.components.optimizer)
        if self.components.ema is not None:
            self.components.ema.update(self.components.model, step=self.global_step)

    def _skip(self, fault: str, metrics: StepMetrics) -> None:
        """Count a step that is left out as if it had not been; too many of them end the fit."""
        self.state.skipped += 1
        names = [str(self.components.ids[row]) for part in metrics.rows for row in part]
        text = (
            f"{fault} in epoch {self.state.epoch + 1}, step {metrics.step}; "
            f"pages of that batch: {', '.join(names[:NAMED])}{' …' if len(names) > NAMED else ''}"
        )
        if self.state.skipped > self.config.nan_tolerance:
            raise DivergedError(text, LOWER)
        logger.warning(
            "%s; the step is skipped (%d of at most %d)", text, self.state.skipped, self.config.nan_tolerance
        )

    def _finish_epoch(self, train_seconds: float, steps: int, trained: float) -> EpochDone:
        state = self.state
        if name := not_finite(self.weights_model.state_dict()):
            raise DivergedError(f"the weights of '{name}' became NaN or infinite in epoch {state.epoch + 1}", LOWER)
        metrics: dict[str, float] = {
            "epoch": state.epoch + 1,
            "step": self.global_step,
            "lr": self.components.optimizer.param_groups[-1]["lr"]
            / self.components.optimizer.param_groups[-1]["lr_scale"],
            "train_loss": state.loss_sum / state.loss_weight if state.loss_weight else math.nan,
            **{name: float(value) for name, value in self.validate(self.weights_model).items()},
        }
        state.history.append(metrics)
        state.epoch, state.step, state.loss_sum, state.loss_weight = state.epoch + 1, 0, 0.0, 0.0
        if self.pace is not None:
            self.pace.epoch_done(state.epoch)
        is_best = self._judge(metrics)
        self.components.schedule.observe(metrics)
        timings = {
            "epoch": state.epoch,
            "train_seconds": train_seconds,
            "validation_seconds": time.perf_counter() - trained,
            "images_per_second": steps * self.components.batches.step_pages / max(train_seconds, 1e-9),
        }
        return EpochDone(state.epoch, metrics, is_best, timings)

    def _judge(self, metrics: Mapping[str, float]) -> bool:
        value = self._monitored(metrics)
        if not value > self.state.best:
            return False
        self.state.best, self.state.best_epoch = value, self.state.epoch
        return True

    def _monitored(self, metrics: Mapping[str, float]) -> float:
        """The metric that chooses epochs, turned so that larger is better."""
        monitor = self.config.monitor
        if monitor not in metrics:
            raise InputError(f"train.monitor: '{monitor}' is not available", f"available: {', '.join(metrics)}")
        return metrics[monitor] if is_higher_better(monitor) else -metrics[monitor]

    def ranked_epochs(self) -> list[int]:
        """Return the numbers of the epochs so far, counted from 1, the best first."""
        rows = sorted(self.state.history, key=self._monitored, reverse=True)
        return [int(row["epoch"]) for row in rows]

    def snapshot(self) -> dict[str, Any]:
        """Return everything needed to resume from here, as tensors and plain values.

        Raises:
            DivergedError: The last step was not finite, and no more may be skipped.
        """
        self._flush()
        components = self.components
        return {
            "model": components.model.state_dict(),
            "optimizer": components.optimizer.state_dict(),
            "schedule": components.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": None if components.ema is None else components.ema.module.state_dict(),
            "state": asdict(self.state),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Resume from what `snapshot` returned."""
        components = self.components
        components.model.load_state_dict(snapshot["model"])
        load_state(components.optimizer, snapshot["optimizer"])
        components.schedule.load_state_dict(snapshot["schedule"])
        self.scaler.load_state_dict(snapshot["scaler"])
        if components.ema is not None:
            components.ema.module.load_state_dict(snapshot["ema"])
        self.state = TrainState(**snapshot["state"])
