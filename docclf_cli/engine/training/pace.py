"""Keeps a fit within its seconds: at the end of an epoch, the number of epochs is fitted to how fast the machine turns out to be.

Each decision is a row of `pace.csv`, by step. A resumed fit replays the rows it finds, and only then decides again; so it ends with
the same weights as a fit that was never stopped.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from docclf_cli.engine.checkpoints.run_folder import write_csv
from docclf_cli.engine.runtime import distributed
from docclf_cli.errors import CheckpointError

SETTLED = (
    0.7  # of the schedule; after it a fit is only shortened: the learning rate has fallen too far to use more epochs
)
MOST_EPOCHS = 100  # more are no better
MOST_GROWTH = 3.0  # times the planned epochs
RECENT = 3  # epochs that tell how long the next ones take


@dataclass(frozen=True)
class Decision:
    """What was decided at the end of an epoch.

    Attributes:
        step: Optimizer steps done.
        epochs: Epochs of the whole fit, from then on.
        seconds: Seconds that the fit had taken.
    """

    step: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Allowance:
    """The time that a fit may take.

    Attributes:
        seconds: For its epochs with their validation, and for the forward passes after them.
        record: `pace.csv` of the fit.
        passes_after: Forward passes after the last epoch.
        clock: Seconds of a steady clock.
    """

    seconds: float
    record: Path
    passes_after: int = 0
    clock: Callable[[], float] = time.monotonic


class Pace:
    """The number of epochs of a fit, and its place in the learning-rate schedule.

    A schedule is made for the planned epochs. When their number changes, the rest of the schedule is stretched or compressed to
    the steps that are left, so that the learning rate always reaches its end.

    Args:
        allowance: The time.
        epochs: The planned epochs.
        steps_per_epoch: Optimizer steps of an epoch.
        step: Steps done before a resumed fit goes on; later decisions on record are replayed.
        pass_cost: Time of a forward pass, in epochs.
        probes: Epochs before all others whose time tells nothing about these: 1 where a linear probe takes the place of the first.

    Raises:
        CheckpointError: The record of a resumed fit is missing or damaged.
    """

    def __init__(
        self,
        allowance: Allowance,
        epochs: int,
        steps_per_epoch: int,
        step: int = 0,
        pass_cost: float = 0.0,
        probes: int = 0,
    ) -> None:
        self.allowance, self.planned, self.steps_per_epoch, self.probes = allowance, epochs, steps_per_epoch, probes
        self.afterwards = pass_cost * allowance.passes_after
        recorded = distributed.on_main(
            lambda: _read(allowance.record) if step >= steps_per_epoch or allowance.record.is_file() else []
        )
        self.decisions = [row for row in recorded if row.step <= step]
        self._replayed = {row.step: row for row in recorded if row.step > step}
        self._before = self.decisions[-1].seconds if self.decisions else 0.0
        self._began = allowance.clock()

    @property
    def epochs(self) -> int:
        """Epochs of the whole fit, as decided last."""
        return self.decisions[-1].epochs if self.decisions else self.planned

    def position(self, step: int) -> float:
        """The place in the schedule, in steps of the planned fit, after `step` steps."""
        start, place, total = 0, 0.0, self.planned * self.steps_per_epoch
        rate = 1.0
        epochs = self.planned
        for row in self.decisions:
            if row.epochs == epochs or row.step >= step:
                continue
            place += (row.step - start) * rate
            start, epochs = row.step, row.epochs
            left = epochs * self.steps_per_epoch - start
            rate = (total - place) / left if left > 0 else 0.0
        return place + (step - start) * rate

    def epoch_done(self, epoch: int) -> None:
        """Decide, at the end of an epoch, how many there will be; or repeat what is on record.

        Args:
            epoch: Epochs done.
        """
        step = epoch * self.steps_per_epoch
        decision = self._replayed.pop(step, None)
        if decision is None:
            seconds = self._before + self.allowance.clock() - self._began
            decision = distributed.broadcast(Decision(step, self._fitting(epoch, seconds), seconds))
        elif not self._replayed:  # from here on the clock decides again
            self._before, self._began = decision.seconds, self.allowance.clock()
        self.decisions.append(decision)
        if not distributed.is_main_process():
            return
        rows = [*self.decisions, *self._replayed.values()]
        names = [field.name for field in fields(Decision)]
        write_csv(self.allowance.record, [dict(zip(names, astuple(row), strict=True)) for row in rows], names)

    def _fitting(self, epoch: int, seconds: float) -> int:
        """The number of epochs that fits into what is left of the time."""
        if epoch <= self.probes:
            return self.epochs
        recent = [0.0, *(row.seconds for row in self.decisions), seconds][self.probes :][-RECENT - 1 :]
        each = max((recent[-1] - recent[0]) / (len(recent) - 1), 1e-9)
        possible = epoch + max(0, int((self.allowance.seconds - seconds) / each - self.afterwards))
        share = self.position(epoch * self.steps_per_epoch) / (self.planned * self.steps_per_epoch)
        if share > SETTLED:
            return min(possible, self.epochs)
        return min(possible, round(MOST_GROWTH * self.planned), MOST_EPOCHS)


def _read(path: Path) -> list[Decision]:
    """The decisions on record.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                Decision(int(row["step"]), int(row["epochs"]), float(row["seconds"])) for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: missing or damaged, so the run cannot be resumed as it was", "start a new run"
        ) from error
