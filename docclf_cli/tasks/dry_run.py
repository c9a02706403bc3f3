"""Previews the learning-rate schedule of a run without training."""

from __future__ import annotations

from pathlib import Path

from docclf_cli.data.index.index import has_own_validation, load_index
from docclf_cli.data.index.splits import folds, hold_out, limit
from docclf_cli.data.loading.datasets import EpochBatches
from docclf_cli.engine.training.schedulers import ScheduleTotals, build_schedule
from docclf_cli.errors import InputError
from docclf_cli.plots import plots
from docclf_cli.profile.schema import Profile
from docclf_cli.results.training import SchedulePreview


def schedule_preview(profile: Profile) -> SchedulePreview:
    """Compute and plot the learning rate of every optimizer step of a run (of its first fold, if it has folds).

    Raises:
        InputError: The schedule follows metrics of validation, or the data cannot be read.
    """
    batches = EpochBatches(_train_pages(profile), profile.train.batch_size, profile.train.accumulate, profile.seed)
    totals = ScheduleTotals.of_run(profile, batches.steps)
    schedule = build_schedule(profile.scheduler, totals)
    if not schedule.foreseeable:
        raise InputError(
            f"scheduler '{profile.scheduler.name}' depends on validation metrics, so its learning rates are not known in advance",
            "metrics.csv of a run records the rate of each epoch",
        )
    steps = range(totals.steps)
    rates = tuple(schedule.lr_at(step if schedule.unit == "step" else step // batches.steps) for step in steps)
    epochs = tuple(step / batches.steps for step in steps)
    title = f"Learning rate: {profile.scheduler.name}, {profile.train.epochs} epochs of {batches.steps} optimizer steps"
    plot = plots.learning_rate(epochs, rates, Path(profile.output) / "learning_rate.png", title)
    return SchedulePreview(profile.scheduler.name, schedule.unit, batches.steps, epochs, rates, plot)


def _train_pages(profile: Profile) -> int:
    data = profile.data
    index = load_index(data, "train")
    rows = hold_out(index, 0 if has_own_validation(data) else data.val_fraction, data.split_seed)[0]
    if profile.train.folds is not None:
        held_out = folds(index, profile.train.folds, data.fold_seed)[profile.train.fold or 0]
        return len(index) - len(held_out)
    return len(limit(rows, index.labels, data.limit, data.split_seed))
