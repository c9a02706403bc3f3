"""Learning-rate schedules: functions of the position in a run, so that resuming needs only the position.

A schedule says in which unit it counts: optimizer steps done, or epochs done. Parameters that are lengths and
left null become the run's own; lengths that are given are honoured, and past its end a schedule keeps its last
value. All but `plateau`, which follows a measured metric, are known before the run starts.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from docclf_cli.errors import InputError
from docclf_cli.profile.schema import Count, Flag, Natural, NonNegative, Profile, SchedulerConfig
from docclf_cli.registry import Registry

Unit = Literal["step", "epoch"]
Factor = Annotated[float, Field(gt=0, lt=1)]
Decay = Annotated[float, Field(gt=0, le=1)]
WARMUP_SHARE = 0.05

SCHEDULERS: Registry["type[Schedule]"] = Registry("scheduler")


@dataclass(frozen=True)
class ScheduleTotals:
    """The lengths of a run and its peak learning rate.

    Attributes:
        base_lr: Peak learning rate.
        epochs: Epochs of the run; `max_steps` may cut the last one short.
        steps_per_epoch: Optimizer steps of one epoch.
        max_steps: The run ends after so many optimizer steps; None ends it with its last epoch.
    """

    base_lr: float
    epochs: int
    steps_per_epoch: int
    max_steps: int | None = None

    @classmethod
    def of_run(cls, profile: Profile, steps_per_epoch: int) -> "ScheduleTotals":
        """Compute the totals of a run; `train.max_steps` shortens the run and its schedule."""
        train = profile.train
        epochs = math.ceil(train.total_steps(steps_per_epoch) / steps_per_epoch)
        return cls(profile.optimizer.lr, epochs, steps_per_epoch, train.max_steps)

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        steps = self.epochs * self.steps_per_epoch
        return min(steps, self.max_steps or steps)


class Schedule:
    """The learning rate at each position of a run.

    Attributes:
        unit: What `lr_at` counts; declared where the schedule is registered.
        foreseeable: Whether the whole curve is known before the run.
    """

    unit: Unit
    foreseeable = True

    def lr_at(self, position: int) -> float:
        """Return the learning rate after `position` steps or epochs (see `unit`), from 0 on."""
        raise NotImplementedError

    def ends_cycle(self, epoch: int) -> bool:
        """Return whether a cycle ends after `epoch` epochs; only schedules with restarts have cycles."""
        return False

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Take note of the metrics measured at the end of an epoch."""

    def state_dict(self) -> dict[str, float]:
        """Return the state that cannot be computed from the position."""
        return {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Load what `state_dict` returned."""


S = TypeVar("S", bound=type[Schedule])


def _schedule(name: str, unit: Unit) -> Callable[[S], S]:
    """Register a schedule with its unit, in the registry and as an attribute of the class."""

    def add(schedule: S) -> S:
        schedule.unit = unit
        SCHEDULERS.register(name, unit=unit)(schedule)
        return schedule

    return add


def build_schedule(config: SchedulerConfig, totals: ScheduleTotals) -> Schedule:
    """Build the schedule of a profile.

    Raises:
        InputError: The name is unknown, or parameters do not fit.
    """
    schedule: Schedule = SCHEDULERS.create(config.name, totals, **config.params)
    return schedule


def cosine_between(high: float, low: float, progress: float) -> float:
    """Interpolate from `high` at progress 0 to `low` at 1 along half a cosine (Loshchilov & Hutter 2017, equation 5)."""
    return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2


@_schedule("cosine", unit="epoch")
class Cosine(Schedule):
    """Half a cosine from the peak to eta_min in T_max epochs (null: the run's)."""

    def __init__(self, totals: ScheduleTotals, *, T_max: Count | None = None, eta_min: NonNegative = 0.0) -> None:
        self.peak, self.length, self.eta_min = totals.base_lr, T_max or totals.epochs, eta_min

    def lr_at(self, position: int) -> float:
        """After `position` epochs."""
        return cosine_between(self.peak, self.eta_min, min(position / self.length, 1.0))


@_schedule("step", unit="epoch")
class Step(Schedule):
    """Times gamma every step_size epochs (null: a third of the run's)."""

    def __init__(self, totals: ScheduleTotals, *, step_size: Count | None = None, gamma: Decay = 0.1) -> None:
        self.peak, self.step_size, self.gamma = totals.base_lr, step_size or math.ceil(totals.epochs / 3), gamma

    def lr_at(self, position: int) -> float:
        """After `position` epochs."""
        return self.peak * self.gamma ** (position // self.step_size)


@_schedule("exponential", unit="epoch")
class Exponential(Schedule):
    """Times gamma every epoch."""

    def __init__(self, totals: ScheduleTotals, *, gamma: Decay = 0.95) -> None:
        self.peak, self.gamma = totals.base_lr, gamma

    def lr_at(self, position: int) -> float:
        """After `position` epochs."""
        return self.peak * self.gamma**position


@_schedule("plateau", unit="epoch")
class Plateau(Schedule):
    """Times factor when a metric has not improved for more than patience epochs.

    The recurrence is that of `torch.optim.lr_scheduler.ReduceLROnPlateau` with a relative threshold: an epoch is
    good when the metric beats the best so far by more than `threshold` times its size; after `patience` bad epochs
    in a row the next bad one reduces the rate, not below `min_lr`, and the count starts again.

    Args:
        totals: Of the run.
        mode: Whether the metric should fall or rise; null is the direction of the metric.
        factor: Multiplies the learning rate.
        patience: Bad epochs that are tolerated.
        threshold: Smallest relative improvement that counts.
        min_lr: The rate never falls below it.
        monitor: The metric that is watched.
        verbose: Accepted from older profiles, has no effect.
    """

    foreseeable = False

    def __init__(
        self,
        totals: ScheduleTotals,
        *,
        mode: Literal["min", "max"] | None = None,
        factor: Factor = 0.1,
        patience: Natural = 10,
        threshold: NonNegative = 1e-4,
        min_lr: NonNegative = 0.0,
        monitor: str = "val_loss",
        verbose: Flag | None = None,
    ) -> None:
        if verbose is not None:
            _warn_once("scheduler.params.verbose has no effect: metrics.csv holds the learning rate of each epoch")
        from docclf_cli.metrics.metrics import is_higher_better  # takes scipy to import

        self.falling = not is_higher_better(monitor) if mode is None else mode == "min"
        self.factor, self.patience, self.threshold, self.min_lr = factor, patience, threshold, min_lr
        self.monitor = monitor
        self.lr, self.bad_epochs = totals.base_lr, 0
        self.best = math.inf if self.falling else -math.inf

    def lr_at(self, position: int) -> float:
        """Return the current rate, whatever the position."""
        return self.lr

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Count a good or a bad epoch.

        Raises:
            InputError: The watched metric is not among `metrics`.
        """
        if self.monitor not in metrics:
            raise InputError(
                f"scheduler.params.monitor: '{self.monitor}' is not available", f"available: {', '.join(metrics)}"
            )
        if self._improves(metrics[self.monitor]):
            self.best, self.bad_epochs = metrics[self.monitor], 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > self.patience:
            self.lr, self.bad_epochs = max(self.lr * self.factor, self.min_lr), 0

    def _improves(self, value: float) -> bool:
        if self.falling:
            return value < self.best * (1 - self.threshold)
        return value > self.best * (1 + self.threshold)

    def state_dict(self) -> dict[str, float]:
        """The present rate and what decides the next."""
        return {"lr": self.lr, "best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Load what `state_dict` returned."""
        self.lr, self.best, self.bad_epochs = state["lr"], state["best"], int(state["bad_epochs"])


class _Warmup(Schedule):
    """A straight line from warmup_start_lr to the peak, then `decay` to min_lr.

    Args:
        totals: Of the run.
        warmup_steps: Optimizer steps until the peak; null is 5 % of the run.
        max_steps: Optimizer steps until min_lr, warm-up included; null is the run.
        min_lr: Where the decay ends.
        warmup_start_lr: Where the warm-up starts.

    Raises:
        InputError: `max_steps` is given and the warm-up is not shorter.
    """

    def __init__(
        self,
        totals: ScheduleTotals,
        *,
        warmup_steps: Natural | None = None,
        max_steps: Count | None = None,
        min_lr: NonNegative = 0.0,
        warmup_start_lr: NonNegative = 0.0,
    ) -> None:
        self.peak, self.min_lr, self.start = totals.base_lr, min_lr, warmup_start_lr
        self.warmup = round(WARMUP_SHARE * totals.steps) if warmup_steps is None else warmup_steps
        self.end = totals.steps if max_steps is None else max_steps
        if max_steps is not None and self.warmup >= max_steps:
            raise InputError(
                f"scheduler.params: warmup_steps ({self.warmup}) must be less than max_steps ({max_steps})"
            )
        if self.warmup >= totals.steps:
            _warn_once(
                f"the warm-up of {self.warmup} steps outlasts the run of {totals.steps}: the learning rate never "
                f"reaches {self.peak:g}; lower scheduler.params.warmup_steps, or set it to null for 5 % of the run"
            )

    def lr_at(self, position: int) -> float:
        """After `position` optimizer steps."""
        if position < self.warmup:
            return self.start + (self.peak - self.start) * position / self.warmup
        return self.decay(min((position - self.warmup) / max(self.end - self.warmup, 1), 1.0))

    def decay(self, progress: float) -> float:
        """From the peak at progress 0 to min_lr at 1."""
        raise NotImplementedError


@_schedule("warmup_cosine", unit="step")
class WarmupCosine(_Warmup):
    """A straight warm-up of warmup_steps, then half a cosine to min_lr at max_steps (null: 5 % and the run's)."""

    def decay(self, progress: float) -> float:
        """Along half a cosine."""
        return cosine_between(self.peak, self.min_lr, progress)


@_schedule("warmup_linear", unit="step")
class WarmupLinear(_Warmup):
    """A straight warm-up of warmup_steps, then a straight line to min_lr at max_steps (null: 5 % and the run's)."""

    def decay(self, progress: float) -> float:
        """Along a straight line."""
        return self.peak + (self.min_lr - self.peak) * progress


@_schedule("cosine_warm_restart", unit="epoch")
class CosineWarmRestart(Schedule):
    """Half a cosine to eta_min again and again: T_0 epochs first, each cycle T_mult times the last (SGDR)."""

    def __init__(
        self, totals: ScheduleTotals, *, T_0: Count = 10, T_mult: Count = 2, eta_min: NonNegative = 1e-6
    ) -> None:
        self.peak, self.first, self.growth, self.eta_min = totals.base_lr, T_0, T_mult, eta_min

    def lr_at(self, position: int) -> float:
        """After `position` epochs."""
        done, length = self._in_cycle(position)
        return cosine_between(self.peak, self.eta_min, done / length)

    def ends_cycle(self, epoch: int) -> bool:
        """Whether the rate goes back to the peak after `epoch` epochs."""
        return epoch > 0 and self._in_cycle(epoch)[0] == 0

    def _in_cycle(self, epoch: int) -> tuple[int, int]:
        """Epochs done in the cycle that `epoch` falls into, and its length."""
        length = self.first
        while epoch >= length:
            epoch, length = epoch - length, length * self.growth
        return epoch, length


@cache
def _warn_once(message: str) -> None:
    # Folds and refits build the same schedule again.
    logging.getLogger("docclf").warning(message)
