"""Writes the files of a fit at its events: metrics, timings, checkpoints, snapshots."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from docclf_cli.engine.checkpoints.background_writer import BackgroundWriter, to_cpu_copy
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.run_folder import RunFolder, write_csv
from docclf_cli.engine.runtime.distributed import is_main_process
from docclf_cli.engine.training.trainer import Trainer
from docclf_cli.events import EpochDone, Event, StepDone
from docclf_cli.files import keep_previous
from docclf_cli.profile.schema import TrainConfig

Job = Callable[[], object]
# (state dict, epochs behind it, its metrics, training state) -> checkpoint
Describe = Callable[[Mapping[str, Any], int, Mapping[str, float], Mapping[str, Any]], Checkpoint]


class Checkpointer:
    """Writes files at the events of one trainer, on rank 0; a context manager that waits for them at its end.

    `last.ckpt` is written after all other files of an event: a run that resumes from it writes the others again, with
    the same bytes, if a crash lost them. Weights are copied to main memory, and written while training continues.
    """

    def __init__(self, run: RunFolder, trainer: Trainer, describe: Describe, config: TrainConfig) -> None:
        self.run = run
        self.trainer = trainer
        self.describe = describe
        self.config = config
        self._timings: list[Mapping[str, Any]] = self._earlier_timings()
        self._saved_at = time.monotonic()
        self._background = BackgroundWriter()

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *error: Any) -> None:
        self._background.__exit__(*error)

    def __call__(self, event: Event) -> None:
        """Write the files that are due at an event.

        Raises:
            ResourceError: An earlier checkpoint could not be written.
        """
        if not is_main_process():
            return
        self._background.raise_failed()
        if isinstance(event, EpochDone):
            self._epoch_done(event)
        elif isinstance(event, StepDone) and self._is_due(event):
            self.save_last()

    def save_last(self) -> None:
        """Write `last.ckpt`, and keep the previous one beside it."""
        if not is_main_process():
            return
        self._background.wait()
        self._background.run([self._last_job()])

    def _last_job(self) -> Job:
        state = to_cpu_copy(self.trainer.snapshot())
        checkpoint = self.describe(state.pop("model"), self.trainer.state.epoch, {}, state)
        self._saved_at = time.monotonic()

        def save() -> None:
            keep_previous(self.run.last)
            checkpoint.save(self.run.last)

        return save

    def _epoch_done(self, event: EpochDone) -> None:
        self._background.wait()  # so that only one copy of the weights is in memory
        weights = to_cpu_copy(self.trainer.weights_model.state_dict())
        checkpoint = self.describe(weights, event.epoch, event.metrics, {})
        jobs: list[Job] = [partial(checkpoint.save, self.run.best)] if event.is_best else []
        jobs += self._snapshot_jobs(event, checkpoint)
        self._timings.append(event.timings)
        write_csv(self.run.metrics, self.trainer.state.history)
        write_csv(self.run.timings, self._timings)
        every = self.config.checkpoint_every.epochs
        if self.trainer.finished or (every is not None and event.epoch % every == 0):
            jobs.append(self._last_job())
        self._background.run(jobs)

    def _is_due(self, event: StepDone) -> bool:
        every = self.config.checkpoint_every
        if every.steps is not None and event.step % every.steps == 0:
            return True
        return every.minutes is not None and time.monotonic() - self._saved_at >= every.minutes * 60

    def _snapshot_jobs(self, event: EpochDone, checkpoint: Checkpoint) -> Sequence[Job]:
        config = self.config.snapshots
        save = partial(checkpoint.save, self.run.snapshot(event.epoch))
        if config.keep == "best":
            best = self.trainer.ranked_epochs()[: config.k]
            return ([save] if event.epoch in best else []) + [partial(self._remove_all_but, best)]
        cycle_ends = config.keep == "cycle" and self.trainer.components.schedule.ends_cycle(event.epoch)
        return [save] if cycle_ends or (config.keep == "every" and event.epoch % config.k == 0) else []

    def _remove_all_but(self, epochs: list[int]) -> None:
        for path in self.run.snapshots():
            if int(path.stem.removeprefix("epoch-")) not in epochs:
                path.unlink()

    def _earlier_timings(self) -> list[Mapping[str, Any]]:
        done = self.trainer.state.epoch
        if not done or not self.run.timings.is_file():
            return []
        with self.run.timings.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if int(row["epoch"]) <= done]
