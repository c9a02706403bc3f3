"""Trains one model (`fit`), and again on all pages (`refit`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading.cache import open_or_build
from docclf_cli.data.loading.pages import Pages
from docclf_cli.data.loading.prepared_pages import PreparedPages
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import info_of
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import resolve_runtime
from docclf_cli.engine.runtime.numerics import scoring_runtime, with_precision
from docclf_cli.engine.training.best_epoch import FitResult, look_at, rows_to_score, score_best_epoch
from docclf_cli.engine.training.checkpointer import Checkpointer, Describe
from docclf_cli.engine.training.job import TrainingJob, build_trainer
from docclf_cli.engine.training.preflight import check_shares
from docclf_cli.engine.training.trainer import Trainer
from docclf_cli.errors import Interrupted
from docclf_cli.events import Emit, FitDone, FitStarted, silent
from docclf_cli.profile.schema import Profile, TrainConfig
from docclf_cli.stop import NEVER, StopFlag


def fit(task: TrainingJob, *, resume: bool = False, emit: Emit = silent, stop: StopFlag = NEVER) -> FitResult:
    """Train one model, save the best epoch, and score it.

    Args:
        task: What to train on, and where its files go.
        resume: Resume from the folder's `last.ckpt` if there is one.
        emit: Consumer of events.
        stop: Polled after every step; when set, the position is saved first.

    Raises:
        Interrupted: `stop` was set.
        DivergedError: The loss is no longer finite.
    """
    position = Checkpoint.load_newest(task.run.last) if resume else None
    with distributed.handed_out(_FitJob.of(task, task.profile.train, position)):
        distributed.ready(lambda: None)
        validator = task.validator(emit, stop)
        trainer = build_trainer(task, task.profile.train, validator, position, stop)
        run_fit(task, trainer, emit, stop)
        fitted = score_best_epoch(task, trainer, validator)
    emit(FitDone(task.run.path, fitted.best_epoch))
    return fitted


def no_metrics(model: torch.nn.Module) -> Mapping[str, float]:
    """The validation of a fit without held-out pages."""
    return {}


def run_fit(task: TrainingJob, trainer: Trainer, emit: Emit, stop: StopFlag) -> None:
    """Play a trainer's events to a recorder and to `emit`.

    Raises:
        Interrupted: `stop` was set; the position is saved.
    """
    emit(FitStarted(task.label, task.run.path, trainer.global_step, trainer.total_steps))
    with Checkpointer(task.run, trainer, _describer(task), trainer.config) as checkpointer:
        try:
            for event in trainer.run():
                checkpointer(event)
                emit(event)
                distributed.raise_if_set(stop, f"{task.label}: stopped in epoch {trainer.state.epoch + 1}")
        except Interrupted:  # also from within validation
            checkpointer.save_last()
            raise


def _describer(task: TrainingJob) -> Describe:
    profile = task.profile

    def describe(
        weights: Mapping[str, Any], epoch: int, measured: Mapping[str, float], training: Mapping[str, Any]
    ) -> Checkpoint:
        return Checkpoint(
            model=weights,
            model_config=profile.model.model_copy(update={"pretrained": False, "checkpoint_path": None}),
            class_names=task.prepared.index.class_names,
            preprocess=task.prepared.preprocess,
            augmentation=profile.augmentation,
            profile=profile.model_dump(mode="json", exclude={"name", "output"}),
            epoch=epoch,
            metrics=dict(measured),
            training=training,
        )

    return describe


def refit(
    task: TrainingJob, chosen: FitResult, *, resume: bool = False, emit: Emit = silent, stop: StopFlag = NEVER
) -> Path:
    """Train on all pages, for as many epochs as the best epoch, with the same schedule.

    The result is `refit.ckpt` beside `best.ckpt`, with the temperature of the validated model; no page is left to
    score it on.
    """
    config = task.profile.train.model_copy(update={"epochs": chosen.best_epoch, "patience": None, "monitor": "epoch"})
    rows = np.sort(np.concatenate([task.train_rows, task.val_rows]))
    everything = replace(
        task, train_rows=rows, run=RunFolder(task.run.path / "refit"), label="refit on all pages", allowance=None
    )
    position = Checkpoint.load_newest(everything.run.last) if resume else None
    with distributed.handed_out(_FitJob.of(everything, config, position, validates=False)):
        distributed.ready(lambda: None)
        trainer = build_trainer(everything, config, no_metrics, position, stop)
        run_fit(everything, trainer, emit, stop)
    last = _describer(everything)(trainer.weights_model.state_dict(), trainer.state.epoch, {}, {})
    path = task.run.path / "refit.ckpt"
    profile = with_precision(last.profile, info_of(task.run.best).precision)
    replace(last, temperature=chosen.temperature, profile=profile).save(path)
    emit(FitDone(everything.run.path, trainer.state.epoch))
    return path


@dataclass(frozen=True, eq=False)
class _FitJob:
    """A follower's side of `fit` and `refit`: the same steps, with its own share of each batch.

    Attributes:
        profile: What to train.
        index: All pages.
        preprocess: How they are read.
        rows: Those to train on, and those held out.
        run: Folder of the run.
        label: What is trained.
        config: How long to train.
        position: Where to go on.
        validates: Whether there are held-out pages to look at.
    """

    profile: Profile
    index: DocumentIndex
    preprocess: Preprocess
    rows: tuple[np.ndarray, np.ndarray]
    run: Path
    label: str
    config: TrainConfig
    position: Checkpoint | None
    validates: bool

    @classmethod
    def of(cls, task: TrainingJob, config: TrainConfig, position: Checkpoint | None, validates: bool = True) -> _FitJob:
        """The job of training a task.

        Raises:
            InputError: There is no page to train on, or some process would have none in a step.
        """
        prepared = task.prepared
        check_shares(task.batches)
        return cls(
            task.profile, prepared.index, prepared.preprocess, (task.train_rows, task.val_rows), task.run.path, task.label,
            config, position, validates,
        )  # fmt: skip

    def __call__(self, stop: StopFlag) -> None:
        """Train, and look at pages, in step with the leader."""
        task = distributed.ready(lambda: self._task(stop))
        validator = task.validator(silent, stop) if self.validates else None
        trainer = build_trainer(task, self.config, validator or no_metrics, self.position, stop)
        for _ in trainer.run():
            distributed.raise_if_set(stop, task.label)
        if validator is not None and (best := distributed.share(None)) is not None:
            look_at(task, best, rows_to_score(task), trainer, validator)

    def _task(self, stop: StopFlag) -> TrainingJob:
        data, runtime = self.profile.data, resolve_runtime(self.profile.runtime)
        cache = open_or_build(self.index, self.preprocess, data, workers=runtime.workers, stop=stop)
        prepared = PreparedPages(self.index, Pages(self.index, self.preprocess, data, cache), self.preprocess, {})
        scoring = scoring_runtime(self.profile.runtime)
        return TrainingJob(self.profile, prepared, *self.rows, RunFolder(self.run), runtime, scoring, self.label)
