"""Trains one model (`fit`), and again on all pages (`refit`). All ranks run the same; rank 0 writes the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.numerics import with_precision
from docclf_cli.engine.training.best_epoch import FitResult, score_best_epoch
from docclf_cli.engine.training.checkpointer import Checkpointer, Describe
from docclf_cli.engine.training.job import TrainingJob, build_trainer
from docclf_cli.engine.training.preflight import check_shares
from docclf_cli.engine.training.trainer import Trainer
from docclf_cli.errors import Interrupted
from docclf_cli.events import Emit, FitDone, FitStarted, silent
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
    check_shares(task.batches)
    validator = task.validator(emit, stop)
    trainer = build_trainer(task, task.profile.train, validator, _position(task.run, resume), stop)
    run_fit(task, trainer, emit, stop)
    fitted = score_best_epoch(task, trainer, validator)
    emit(FitDone(task.run.path, fitted.best_epoch))
    return fitted


def _position(run: RunFolder, resume: bool) -> Checkpoint | None:
    """Where a fit goes on, on every rank; None at its first step."""
    return distributed.on_main(lambda: Checkpoint.load_newest(run.last)) if resume else None


def no_metrics(model: torch.nn.Module) -> Mapping[str, float]:
    """The validation of a fit without held-out pages."""
    return {}


def run_fit(task: TrainingJob, trainer: Trainer, emit: Emit, stop: StopFlag) -> None:
    """Train, write the files that are due at each event, and pass the events on to `emit`.

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
    task: TrainingJob,
    epochs: int,
    temperature: float,
    precision: str,
    *,
    resume: bool = False,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> Path:
    """Train on all pages, for as many epochs as validation chose, with the same schedule.

    The result is `refit.ckpt` in the folder of the run; no page is left to score it on.

    Args:
        task: A fit of the run; its folder is that of the run.
        epochs: How many.
        temperature: Of the validated models, for which held-out pages were left.
        precision: Number format that these predict in.
        resume: Resume from the refit's `last.ckpt` if there is one.
        emit: Consumer of events.
        stop: Polled after every step.
    """
    config = task.profile.train.model_copy(update={"epochs": epochs, "patience": None, "monitor": "epoch"})
    rows = np.sort(np.concatenate([task.train_rows, task.val_rows]))
    everything = replace(
        task, train_rows=rows, run=RunFolder(task.run.path / "refit"), label="refit on all pages", allowance=None
    )
    check_shares(everything.batches)
    trainer = build_trainer(everything, config, no_metrics, _position(everything.run, resume), stop)
    run_fit(everything, trainer, emit, stop)
    path = task.run.refit
    if distributed.is_main_process():
        last = _describer(everything)(trainer.weights_model.state_dict(), trainer.state.epoch, {}, {})
        text = everything.reader.refitted(task.run) if everything.reader is not None else {}
        profile = with_precision(last.profile, precision)
        replace(last, temperature=temperature, profile=profile, text=text).save(path)
    emit(FitDone(everything.run.path, trainer.state.epoch))
    return path
