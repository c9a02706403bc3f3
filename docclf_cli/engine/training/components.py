"""From a task to a trainer that is ready for its next step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import convert_sync_batchnorm

from docclf_cli.data.images.augmentation import Policy
from docclf_cli.data.loading.data_loader import data_loader
from docclf_cli.data.loading.datasets import Mixing, TrainingDataset
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import seed_of
from docclf_cli.engine.training.job import TrainingJob, Validate
from docclf_cli.engine.training.losses import build_loss
from docclf_cli.engine.training.optimizers import build_optimizer
from docclf_cli.engine.training.schedulers import ScheduleTotals, build_schedule
from docclf_cli.engine.training.trainer import Trainer, TrainerComponents
from docclf_cli.errors import CheckpointError
from docclf_cli.models.factory import create_model
from docclf_cli.models.weights import first_line
from docclf_cli.profile.schema import Profile, TrainConfig
from docclf_cli.stop import NEVER, StopFlag


def build_trainer(
    task: TrainingJob,
    config: TrainConfig,
    validate: Validate,
    position: Checkpoint | None = None,
    stop: StopFlag = NEVER,
) -> Trainer:
    """Model, loss, optimizer, schedule and loader of a task, ready for its next step.

    Args:
        task: What to train on. Its profile alone decides the schedule.
        config: How long to train, and what chooses the best epoch.
        validate: Metrics of a model on the held-out pages.
        position: Where to go on; None begins.
        stop: Polled while no batch comes.

    Raises:
        CheckpointError: The position is of another model or optimizer.
    """
    profile, runtime, prepared = task.profile, task.runtime, task.prepared
    torch.manual_seed(seed_of("init", profile.seed))
    num_classes = len(prepared.index.class_names)
    first = position is None  # later weights are in the position, and the first ones need not be reached again
    model = create_model(profile.model, num_classes, weights=first, image_size=profile.data.image_size)
    model = runtime.place(model)
    if profile.runtime.sync_batch_norm and runtime.world_size > 1 and runtime.device.type == "cuda":
        model = convert_sync_batchnorm(model)
    distributed.same_weights(model)
    targets = prepared.index.labels
    counts = np.bincount(targets[task.train_rows], minlength=num_classes).tolist()
    batches = task.batches
    totals = ScheduleTotals.of_run(profile, batches.steps)
    components = TrainerComponents(
        model=model,
        loss=build_loss(profile.loss, profile.model, counts),
        optimizer=build_optimizer(profile.optimizer, model),
        schedule=build_schedule(profile.scheduler, totals),
        ema=moving_average(model, profile.train.ema),
        loader=data_loader(
            TrainingDataset(prepared.pages, task.train_rows, targets, *_variation(profile, num_classes), profile.seed),
            batches,
            workers=runtime.workers,
            pin=runtime.device.type == "cuda",
            on_wait=stop.check_while_waiting,
            persistent=True,
            # A disk, unlike a core, is better read while the model works.
            gated=runtime.crowded and prepared.pages.cached,
        ),
        batches=batches,
        preprocess=prepared.preprocess,
        ids=prepared.index.ids,
    )  # fmt: skip
    trainer = Trainer(components, config, runtime, profile.seed, validate)
    if position is not None:
        _restore(trainer, position, task.run.last)
    return trainer


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


def moving_average(model: torch.nn.Module, decay: float | None) -> Any:
    """The moving average of a model's weights, whose decay grows from 0 to `decay` (see `train.ema`); None keeps none."""
    if decay is None:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=decay, use_warmup=True)
