"""`fit`: from a profile to a run folder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import convert_sync_batchnorm

from docclf_cli.data.augment import Policy
from docclf_cli.data.cache import open_or_build
from docclf_cli.data.degrade import DegradedView
from docclf_cli.data.documents import DocumentIndex
from docclf_cli.data.loaders import EpochBatches, Mixing, TrainPages, train_loader
from docclf_cli.data.pages import Pages
from docclf_cli.data.preprocess import Preprocess
from docclf_cli.data.splits import stratified_sample
from docclf_cli.engine import distributed
from docclf_cli.engine.checkpoint import Checkpoint
from docclf_cli.engine.events import Emit, FitDone, FitStarted, silent
from docclf_cli.engine.facts import facts_of, keep_facts
from docclf_cli.engine.inference import predict
from docclf_cli.engine.loop import Parts, Trainer
from docclf_cli.engine.material import Material
from docclf_cli.engine.numerics import SCORING_BATCH, TRAIN_PAGES_SCORED, scoring_runtime
from docclf_cli.engine.recorder import Describe, Recorder
from docclf_cli.engine.run_folder import RunFolder
from docclf_cli.engine.runtime import NEVER, Runtime, StopFlag, resolve_runtime, seed_of
from docclf_cli.engine.store import PLAIN, fingerprint, load_stored, pages_fingerprint, store
from docclf_cli.engine.validation import Validator
from docclf_cli.errors import CheckpointError, DivergedError, InputError, Interrupted
from docclf_cli.metrics.calibration import fit_temperature
from docclf_cli.models.factory import create_model
from docclf_cli.models.weights import first_line
from docclf_cli.profile.schema import Profile, TrainConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.training.losses import build_loss
from docclf_cli.training.optimizers import build_optimizer
from docclf_cli.training.schedulers import ScheduleTotals, build_schedule

Validate = Callable[[torch.nn.Module], Mapping[str, float]]
NAMES = {"val": "validation pages", "train": "training pages"}


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
    """What one fit works on: a profile, pages with their two splits, a folder, a device.

    `scoring` is the runtime with the numerics of validation; it may differ from that of training.
    """

    profile: Profile
    material: Material
    train_rows: np.ndarray
    val_rows: np.ndarray
    run: RunFolder
    runtime: Runtime
    scoring: Runtime
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
    position = Checkpoint.load_newest(task.run.last) if resume else None
    with distributed.handed_out(_FitJob.of(task, task.profile.train, position)):
        distributed.ready(lambda: None)
        trainer = build_trainer(task, task.profile.train, _validator(task, emit, stop), position)
        run_fit(task, trainer, emit, stop)
        fitted = _finish(task, trainer, emit, stop)
    emit(FitDone(task.run.path, fitted.best_epoch))
    return fitted


def run_fit(task: Task, trainer: Trainer, emit: Emit, stop: StopFlag) -> None:
    """Play a trainer's events to a recorder and to `emit`.

    Raises:
        Interrupted: `stop` was set; the position is saved.
    """
    emit(FitStarted(task.label, task.run.path, trainer.global_step, trainer.total_steps))
    with Recorder(task.run, trainer, _describer(task), trainer.config) as recorder:
        try:
            for event in trainer.run():
                recorder(event)
                emit(event)
                distributed.raise_if_set(stop, f"{task.label}: stopped in epoch {trainer.state.epoch + 1}")
        except Interrupted:  # also from within validation
            recorder.save_last()
            raise


def build_trainer(
    task: Task,
    config: TrainConfig,
    validate: Validate,
    position: Checkpoint | None = None,
) -> Trainer:
    """Model, loss, optimizer, schedule and loader of a task, ready for its next step.

    Args:
        task: What to train on. Its profile alone decides the schedule.
        config: How long to train, and what chooses the best epoch.
        validate: Figures of a model on the held-out pages.
        position: Where to go on; None begins.

    Raises:
        CheckpointError: The position is of another model or optimizer.
    """
    profile, runtime, material = task.profile, task.runtime, task.material
    torch.manual_seed(seed_of("init", profile.seed))
    num_classes = len(material.index.class_names)
    first = position is None  # later weights are in the position, and the first ones need not be reached again
    model = create_model(profile.model, num_classes, weights=first, image_size=profile.data.image_size)
    model = runtime.place(model)
    if profile.runtime.sync_batch_norm and runtime.world_size > 1 and runtime.device.type == "cuda":
        model = convert_sync_batchnorm(model)
    distributed.same_weights(model)
    targets = material.index.labels
    counts = np.bincount(targets[task.train_rows], minlength=num_classes).tolist()
    batches = _batches(task)
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
    trainer = Trainer(parts, config, runtime, profile.seed, validate)
    if position is not None:
        _restore(trainer, position, task.run.last)
    return trainer


def _batches(task: Task) -> EpochBatches:
    train, runtime = task.profile.train, task.runtime
    return EpochBatches(
        len(task.train_rows), train.batch_size, train.accumulate, task.profile.seed, runtime.rank, runtime.world_size
    )


def _restore(trainer: Trainer, position: Checkpoint, path: Path) -> None:
    try:
        trainer.restore({**position.training, "model": position.model})
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its position does not fit this profile ({first_line(error)})", "start a new run"
        ) from error


def _variation(profile: Profile, num_classes: int) -> tuple[Policy, Mixing]:
    config = profile.augmentation
    return Policy.from_config(config), Mixing(config.mixup, config.cutmix, config.mix_probability, num_classes)


def _moving_average(model: torch.nn.Module, decay: float | None) -> Any:
    if decay is None:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=decay, use_warmup=True)


def _validator(task: Task, emit: Emit, stop: StopFlag) -> Validator:
    degraded = _degraded_view(task) if task.profile.data.degraded_validation else None
    batch_size = SCORING_BATCH * task.profile.train.batch_size
    return Validator(task.material, task.val_rows, degraded, task.scoring, batch_size, emit, stop)


def _degraded_view(task: Task) -> DegradedView:
    return DegradedView(task.material.index.ids, task.profile.data.split_seed)


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
    state = trainer.state
    if not state.best_epoch:
        raise DivergedError(f"{task.label}: {task.profile.train.monitor} was a number in no epoch", "lower --lr")
    rows = _rows_to_score(task)
    best = Checkpoint.load(task.run.best)
    found = _stored(task, rows)
    distributed.share(best if found is None else None)
    if found is None:
        found, degraded = _looked_at(task, best, rows, emit, stop)
        scored = found["val"].scored()
        best = replace(best, temperature=float(fit_temperature(scored.log_probs, scored.labels)))
        best.save(task.run.best)
        keep_facts(task.run.best, best)
        if degraded is not None:
            made_by = _made_by(task, task.val_rows, _degraded_view(task).name)
            store(task.run.best, "val", replace(degraded, fingerprint=made_by))
        for split, predictions in found.items():  # last: whoever goes on takes them for the sign that all is there
            found[split] = replace(predictions, fingerprint=_made_by(task, rows[split]))
            store(task.run.best, split, found[split])
    return Fitted(
        task.run, state.best_epoch, state.epoch, found["val"], found["train"], best.temperature, tuple(state.history)
    )


def _rows_to_score(task: Task) -> dict[str, np.ndarray]:
    sampled = stratified_sample(
        task.material.index.labels[task.train_rows], TRAIN_PAGES_SCORED, task.profile.data.split_seed
    )
    return {"val": task.val_rows, "train": task.train_rows[sampled]}


def _looked_at(
    task: Task, best: Checkpoint, rows: Mapping[str, np.ndarray], emit: Emit, stop: StopFlag
) -> tuple[dict[str, Predictions], Predictions | None]:
    """What the kept epoch says about each split, and about the damaged validation pages where these are wanted."""
    predictor = _validator(task, emit, stop).predictor(task.scoring.place(best.build(task.run.best)))
    look = functools.partial(predict, predictor, task.material.pages, emit=emit, stop=stop)
    found = {split: look(rows[split], task=NAMES[split]) for split in rows}
    if not task.profile.data.degraded_validation:
        return found, None
    return found, look(task.val_rows, view=_degraded_view(task), task="degraded validation pages")


def _stored(task: Task, rows: Mapping[str, np.ndarray]) -> dict[str, Predictions] | None:
    """The final predictions of a fit that had ended before the run was stopped; None unless all are there."""
    index = task.material.index
    found = {
        split: load_stored(task.run.best, split, _made_by(task, rows[split]), index.take(rows[split])) for split in rows
    }
    complete = {split: predictions for split, predictions in found.items() if predictions is not None}
    return complete if len(complete) == len(rows) else None


def _made_by(task: Task, rows: np.ndarray, view: str = PLAIN) -> dict[str, str]:
    pages = pages_fingerprint(task.material.index.take(rows))
    return fingerprint(facts_of(task.run.best).sha256, pages, view, task.scoring.precision)


def refit(task: Task, chosen: Fitted, *, resume: bool = False, emit: Emit = silent, stop: StopFlag = NEVER) -> Path:
    """Train once more, on all pages, for as many epochs as validation chose, along the same schedule.

    The result is `refit.ckpt` beside `best.ckpt`, with the temperature of the validated model; nothing is left
    to score it on.
    """
    config = task.profile.train.model_copy(update={"epochs": chosen.best_epoch, "patience": None, "monitor": "epoch"})
    rows = np.sort(np.concatenate([task.train_rows, task.val_rows]))
    everything = replace(task, train_rows=rows, run=RunFolder(task.run.path / "refit"), label="refit on all pages")
    position = Checkpoint.load_newest(everything.run.last) if resume else None
    with distributed.handed_out(_FitJob.of(everything, config, position, validates=False)):
        distributed.ready(lambda: None)
        trainer = build_trainer(everything, config, lambda model: {}, position)
        if not trainer.parts.schedule.foreseeable:
            raise InputError(
                f"train.refit: the schedule '{task.profile.scheduler.name}' follows validation, and a refit has none",
                "choose another --scheduler, or leave refit out",
            )
        run_fit(everything, trainer, emit, stop)
    last = _describer(everything)(trainer.weights_model.state_dict(), trainer.state.epoch, {}, {})
    path = task.run.path / "refit.ckpt"
    replace(last, temperature=chosen.temperature).save(path)
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
    def of(cls, task: Task, config: TrainConfig, position: Checkpoint | None, validates: bool = True) -> _FitJob:
        """The job of training a task.

        Raises:
            InputError: Some process would have nothing to do in a step.
        """
        material, batches = task.material, _batches(task)
        if not batches.smallest_share and batches.world_size > 1:
            raise InputError(
                f"{min(batches.count, batches.batch_size)} pages in {batches.accumulate} parts are not enough for "
                f"{batches.world_size} processes",
                "start fewer, or raise --batch-size",
            )
        return cls(
            task.profile, material.index, material.preprocess, (task.train_rows, task.val_rows), task.run.path, task.label,
            config, position, validates,
        )  # fmt: skip

    def __call__(self, stop: StopFlag) -> None:
        """Train, and look at pages, in step with the leader."""
        task = distributed.ready(lambda: self._task(stop))
        validate: Validate = _validator(task, silent, stop) if self.validates else lambda model: {}
        for _ in build_trainer(task, self.config, validate, self.position).run():
            distributed.raise_if_set(stop, task.label)
        if self.validates and (best := distributed.share(None)) is not None:
            _looked_at(task, best, _rows_to_score(task), silent, stop)

    def _task(self, stop: StopFlag) -> Task:
        data, runtime = self.profile.data, resolve_runtime(self.profile.runtime)
        cache = open_or_build(self.index, self.preprocess, data, workers=runtime.workers, should_stop=stop)
        material = Material(self.index, Pages(self.index, self.preprocess, data, cache), self.preprocess, {})
        scoring = scoring_runtime(self.profile.runtime)
        return Task(self.profile, material, *self.rows, RunFolder(self.run), runtime, scoring, self.label)
