"""Writes what a fit leaves behind, as its events come: figures, timings, checkpoints, snapshots."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping
from typing import Any

from docclf_cli.engine.checkpoint import Checkpoint
from docclf_cli.engine.events import EpochDone, Event, StepDone
from docclf_cli.engine.loop import Trainer
from docclf_cli.engine.run_folder import RunFolder, write_csv
from docclf_cli.files import keep_previous
from docclf_cli.profile.schema import TrainConfig

# (state dict, epochs behind it, its figures, training state) -> checkpoint
Describe = Callable[[Mapping[str, Any], int, Mapping[str, float], Mapping[str, Any]], Checkpoint]


class Recorder:
    """Consumer of one trainer's events.

    `last.ckpt` is written after everything else of its moment: whoever resumes from it computes again, to the
    same bytes, what a crash may have cut off.
    """

    def __init__(self, run: RunFolder, trainer: Trainer, describe: Describe, config: TrainConfig) -> None:
        self.run, self.trainer, self.describe, self.config = run, trainer, describe, config
        self._timings: list[Mapping[str, Any]] = self._earlier_timings()
        self._saved_at = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Write what the event calls for."""
        if isinstance(event, EpochDone):
            self._epoch_done(event)
        elif isinstance(event, StepDone) and self._due(event):
            self.save_last()

    def save_last(self) -> None:
        """Write `last.ckpt`; the one before is kept beside it."""
        state = self.trainer.snapshot()
        weights = state.pop("model")
        keep_previous(self.run.last)
        self.describe(weights, self.trainer.state.epoch, {}, state).save(self.run.last)
        self._saved_at = time.monotonic()

    def _epoch_done(self, event: EpochDone) -> None:
        checkpoint = self.describe(self.trainer.weights_model.state_dict(), event.epoch, event.figures, {})
        if event.is_best:
            checkpoint.save(self.run.best)
        self._keep_snapshot(event, checkpoint)
        self._timings.append(event.timings)
        write_csv(self.run.metrics, self.trainer.state.history)
        write_csv(self.run.timings, self._timings)
        every = self.config.checkpoint_every.epochs
        if self.trainer.finished or (every is not None and event.epoch % every == 0):
            self.save_last()

    def _due(self, event: StepDone) -> bool:
        every = self.config.checkpoint_every
        if every.steps is not None and event.step % every.steps == 0:
            return True
        return every.minutes is not None and time.monotonic() - self._saved_at >= every.minutes * 60

    def _keep_snapshot(self, event: EpochDone, checkpoint: Checkpoint) -> None:
        config = self.config.snapshots
        if config.keep == "best":
            self._keep_best(event.epoch, checkpoint, config.k)
        elif (config.keep == "every" and event.epoch % config.k == 0) or (
            config.keep == "cycle" and self.trainer.parts.schedule.ends_cycle(event.epoch)
        ):
            checkpoint.save(self.run.snapshot(event.epoch))

    def _keep_best(self, epoch: int, checkpoint: Checkpoint, count: int) -> None:
        ranked = self.trainer.ranked_epochs()[:count]
        if epoch in ranked:
            checkpoint.save(self.run.snapshot(epoch))
        for path in self.run.snapshots():
            if int(path.stem.removeprefix("epoch-")) not in ranked:
                path.unlink()

    def _earlier_timings(self) -> list[Mapping[str, Any]]:
        done = self.trainer.state.epoch
        if not done or not self.run.timings.is_file():
            return []
        with self.run.timings.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if int(row["epoch"]) <= done]
