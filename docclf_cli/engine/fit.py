"""`fit`: from a profile to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docclf_cli.data.augment import Policy
from docclf_cli.data.loaders import EpochBatches, Mixing, TrainPages, View, train_loader
from docclf_cli.data.splits import stratified_sample
from docclf_cli.engine.checkpoint import Checkpoint
from docclf_cli.engine.events import Emit, FitDone, FitStarted, silent
from docclf_cli.engine.facts import facts_of, keep_facts
from docclf_cli.engine.inference import Predictor, predict
from docclf_cli.engine.loop import Parts, Trainer
from docclf_cli.engine.material import DegradedView, Material
from docclf_cli.engine.recorder import Describe, Recorder
from docclf_cli.engine.run_folder import RunFolder
from docclf_cli.engine.runtime import NEVER, Runtime, StopFlag, seed_of
from docclf_cli.engine.store import fingerprint, pages_fingerprint, store
from docclf_cli.errors import InputError
from docclf_cli.metrics.calibration import fit_temperature
from docclf_cli.metrics.class_metrics import figures
from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import Profile, TrainConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.training.losses import build_loss
from docclf_cli.training.optimizers import build_optimizer
from docclf_cli.training.schedulers import ScheduleTotals, build_schedule

TRAIN_PAGES_SCORED = 2000


@dataclass(frozen=True)
class Fitted:
    """One trained model.

    Attributes:
        run: Its folder.
        best_epoch: The epoch that was kept, counted from 1.
        epochs: How many were trained.
        val: Predictions of the kept model for the held-out pages.
        train: The same for at most 2,000 training pages, without augmentation.
        temperature: Fitted on `val`.
        history: One row of figures per epoch.
    """

    run: RunFolder
    best_epoch: int
    epochs: int
    val: Predictions
    train: Predictions
    temperature: float
    history: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Task:
    """What one fit works on: a profile, pages with their two splits, a folder, a device."""

    profile: Profile
    material: Material
    train_rows: np.ndarray
    val_rows: np.ndarray
    run: RunFolder
    runtime: Runtime
    label: str


def fit(task: Task, *, resume: bool = False, emit: Emit = silent, stop: StopFlag = NEVER) -> Fitted:
    """Train one model, keep the best epoch, and score it.

    Args:
        task: What to train on, and where its files go.
        resume: Go on from the folder's `last.ckpt` where there is one.
        emit: Consumer of events.
        stop: Polled after every step; when set, the position is saved first.

    Raises:
        Interrupted: `stop` was set.
        DivergedError: The loss is no longer finite.
    """
    trainer = build_trainer(task, task.profile.train, _validator(task, emit, stop))
    run_fit(task, trainer, resume, emit, stop)
    fitted = _finish(task, trainer, emit, stop)
    emit(FitDone(task.run.path, fitted.best_epoch))
    return fitted


def run_fit(task: Task, trainer: Trainer, resume: bool, emit: Emit, stop: StopFlag) -> None:
    """Play a trainer's events to a recorder and to `emit`, from the saved position on where `resume` is given."""
    if resume:
        restore(trainer, task.run)
    recorder = Recorder(task.run, trainer, _describer(task), trainer.config)
    emit(FitStarted(task.label, task.run.path, trainer.global_step, trainer.total_steps))
    for event in trainer.run():
        recorder(event)
        emit(event)
        if stop():
            recorder.save_last()
            stop.raise_if_set(
                f"stopped in epoch {trainer.state.epoch + 1}; everything is saved in {task.run.path}",
                "best.ckpt is the best epoch so far; last.ckpt holds the position, with optimizer and schedule",
            )


def build_trainer(
    task: Task, config: TrainConfig, validate: Callable[[torch.nn.Module], Mapping[str, float]]
) -> Trainer:
    """Model, loss, optimizer, schedule and loader of a task, ready for the first step.

    Args:
        task: What to train on. Its profile alone decides the schedule.
        config: How long to train, and what chooses the best epoch.
        validate: Figures of a model on the held-out pages.
    """
    profile, runtime, material = task.profile, task.runtime, task.material
    torch.manual_seed(seed_of("init", profile.seed))
    num_classes = len(material.index.class_names)
    model = runtime.place(create_model(profile.model, num_classes, image_size=profile.data.image_size))
    targets = material.index.labels
    counts = np.bincount(targets[task.train_rows], minlength=num_classes).tolist()
    batches = EpochBatches(
        len(task.train_rows), profile.train.batch_size, profile.train.accumulate, profile.seed,
        runtime.rank, runtime.world_size,
    )  # fmt: skip
    totals = ScheduleTotals(profile.optimizer.lr, profile.train.epochs, batches.steps)
    parts = Parts(
        model=model,
        loss=build_loss(profile.loss, profile.model, counts).to(runtime.device),
        optimizer=build_optimizer(profile.optimizer, model),
        schedule=build_schedule(profile.scheduler, totals),
        ema=_moving_average(model, profile.train.ema),
        loader=train_loader(
            TrainPages(material.pages, task.train_rows, targets, *_variation(profile, num_classes), profile.seed),
            batches, runtime.workers, pin=runtime.device.type == "cuda",
        ),
        batches=batches,
        preprocess=material.preprocess,
        ids=material.index.ids,
    )  # fmt: skip
    return Trainer(parts, config, runtime, profile.seed, validate)


def restore(trainer: Trainer, run: RunFolder) -> None:
    """Go on from the folder's last position; where that file is damaged, from the one before it."""
    checkpoint = Checkpoint.load_newest(run.last)
    if checkpoint is not None:
        trainer.restore({**checkpoint.training, "model": checkpoint.model})


def _variation(profile: Profile, num_classes: int) -> tuple[Policy, Mixing]:
    config = profile.augmentation
    return Policy.from_config(config), Mixing(config.mixup, config.cutmix, config.mix_probability, num_classes)


def _moving_average(model: torch.nn.Module, decay: float | None) -> Any:
    if decay is None:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=decay, use_warmup=True)


def _validator(task: Task, emit: Emit, stop: StopFlag) -> Callable[[torch.nn.Module], Mapping[str, float]]:
    """The figures of one epoch: on the held-out pages, and on the same pages damaged."""

    def validate(model: torch.nn.Module) -> Mapping[str, float]:
        clean = figures(_predict(task, model, task.val_rows, "validation", emit, stop))
        measured = {("val_loss" if name == "log_loss" else name): value for name, value in clean.items()}
        measured["blend"] = clean["f1_macro"]
        if task.profile.data.degraded_validation:
            view = DegradedView(task.material.index.ids, task.profile.data.split_seed)
            damaged = figures(_predict(task, model, task.val_rows, "degraded validation", emit, stop, view))
            measured["f1_macro_degraded"] = damaged["f1_macro"]
            measured["blend"] = (clean["f1_macro"] + damaged["f1_macro"]) / 2
        return measured

    return validate


def _predict(
    task: Task,
    model: torch.nn.Module,
    rows: np.ndarray,
    name: str,
    emit: Emit,
    stop: StopFlag,
    view: View | None = None,
) -> Predictions:
    predictor = Predictor(
        model.eval(),
        task.material.preprocess,
        task.material.index.class_names,
        task.runtime,
        task.profile.train.batch_size * 2,
    )
    return predict(predictor, task.material.pages, rows, view=view, task=name, emit=emit, stop=stop)


def _describer(task: Task) -> Describe:
    profile = task.profile

    def describe(
        weights: Mapping[str, Any], epoch: int, measured: Mapping[str, float], training: Mapping[str, Any]
    ) -> Checkpoint:
        return Checkpoint(
            model=weights,
            model_config=profile.model.model_copy(update={"pretrained": False, "checkpoint_path": None}),
            class_names=task.material.index.class_names,
            preprocess=task.material.preprocess,
            augmentation=profile.augmentation,
            profile=profile.model_dump(mode="json", exclude={"name", "output"}),
            epoch=epoch,
            figures=dict(measured),
            training=training,
        )

    return describe


def _finish(task: Task, trainer: Trainer, emit: Emit, stop: StopFlag) -> Fitted:
    """Score the kept epoch, fit its temperature, and store its predictions."""
    run, material = task.run, task.material
    best = Checkpoint.load(run.best)
    model = task.runtime.place(best.build(run.best))
    targets = material.index.labels
    sampled = stratified_sample(targets[task.train_rows], TRAIN_PAGES_SCORED, task.profile.data.split_seed)
    val = _predict(task, model, task.val_rows, "validation pages", emit, stop)
    train = _predict(task, model, task.train_rows[sampled], "training pages", emit, stop)
    scored = val.scored()
    temperature = float(fit_temperature(scored.log_probs, scored.labels))
    best = replace(best, temperature=temperature)
    best.save(run.best)
    keep_facts(run.best, best)
    sha256 = facts_of(run.best).sha256
    for split, predictions, rows in (("val", val, task.val_rows), ("train", train, task.train_rows[sampled])):
        made_by = fingerprint(sha256, pages_fingerprint(material.index.take(rows)), precision=task.runtime.precision)
        store(run.best, split, replace(predictions, fingerprint=made_by))
    state = trainer.state
    return Fitted(run, state.best_epoch, state.epoch, val, train, temperature, tuple(state.history))


def refit(task: Task, chosen: Fitted, *, resume: bool = False, emit: Emit = silent, stop: StopFlag = NEVER) -> Path:
    """Train once more, on all pages, for as many epochs as validation chose, along the same schedule.

    The result is `refit.ckpt` beside `best.ckpt`, with the temperature of the validated model; nothing is left
    to score it on.
    """
    config = task.profile.train.model_copy(update={"epochs": chosen.best_epoch, "patience": None, "monitor": "epoch"})
    rows = np.sort(np.concatenate([task.train_rows, task.val_rows]))
    everything = replace(task, train_rows=rows, run=RunFolder(task.run.path / "refit"), label="refit on all pages")
    trainer = build_trainer(everything, config, validate=lambda model: {})
    if not trainer.parts.schedule.foreseeable:
        raise InputError(
            f"train.refit: the schedule '{task.profile.scheduler.name}' follows validation, and a refit has none",
            "choose another --scheduler, or leave refit out",
        )
    run_fit(everything, trainer, resume, emit, stop)
    last = _describer(everything)(trainer.weights_model.state_dict(), trainer.state.epoch, {}, {})
    path = task.run.path / "refit.ckpt"
    replace(last, temperature=chosen.temperature).save(path)
    return path
