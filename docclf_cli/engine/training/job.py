"""One training job: what it trains on, and the trainer and validator built for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import convert_sync_batchnorm

from docclf_cli.data.images.augmentation import Policy
from docclf_cli.data.images.corruptions import DegradedView
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.splits import limit
from docclf_cli.data.loading.data_loader import data_loader, never_stop
from docclf_cli.data.loading.datasets import EpochBatches, Mixing, TrainingDataset
from docclf_cli.data.loading.prepared_pages import PreparedPages
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import info_of
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime, seed_of
from docclf_cli.engine.runtime.folded_norms import Pairs, folds, pairs_to_fold
from docclf_cli.engine.runtime.numerics import SCORING_BATCH
from docclf_cli.engine.training.distillation import Teachers
from docclf_cli.engine.training.linear_probe import (
    PAGES_TO_BEGIN,
    ProbeBudget,
    ProbePages,
    ProbeTrainer,
    begins_with_probe,
    resolve_views,
)
from docclf_cli.engine.training.losses import build_loss
from docclf_cli.engine.training.optimizers import build_optimizer
from docclf_cli.engine.training.pace import Allowance, Pace
from docclf_cli.engine.training.preflight import batches_of
from docclf_cli.engine.training.schedulers import ScheduleTotals, build_schedule
from docclf_cli.engine.training.text import RunTexts, TextLearner, reads_only
from docclf_cli.engine.training.trainer import Trainer, TrainerComponents
from docclf_cli.engine.training.validator import Validator
from docclf_cli.errors import CheckpointError
from docclf_cli.events import Emit
from docclf_cli.models.factory import create_model, pretrained_stats
from docclf_cli.models.freezing import Freezing
from docclf_cli.models.weights import classifier_names, first_line, read_weights
from docclf_cli.profile.schema import Profile, TrainConfig
from docclf_cli.stop import NEVER, StopFlag

SCORING_COST = 1 / 4  # of a forward pass, in the time of training on a page
Validate = Callable[[torch.nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class TrainingJob:
    """The inputs of one fit.

    Attributes:
        profile: The resolved profile.
        prepared: All pages, readable and labelled.
        train_rows: Rows of the pages to train on, int64 [n].
        val_rows: Rows of the held-out pages, int64 [m].
        run: Folder for the files of this fit.
        runtime: Device and numerics of training.
        scoring: Device and numerics of validation.
        label: Name of the fit in messages.
        allowance: The time it may take; None where its epochs are fixed.
        texts: Of all pages; None where the run does not read.
    """

    profile: Profile
    prepared: PreparedPages
    train_rows: np.ndarray
    val_rows: np.ndarray
    run: RunFolder
    runtime: Runtime
    scoring: Runtime
    label: str
    allowance: Allowance | None = None
    texts: RunTexts | None = None

    @functools.cached_property
    def reader(self) -> TextLearner | None:
        """What learns from the text of the training pages; None where the run does not read."""
        if self.texts is None:
            return None
        return TextLearner(self.profile, self.prepared.index, self.train_rows, self.texts)

    @property
    def batches(self) -> EpochBatches:
        """The training batches, and the shard of each that belongs to this process."""
        return batches_of(self.profile, len(self.train_rows), self.runtime)

    @property
    def degraded_view(self) -> DegradedView:
        """The view that degrades held-out pages for validation."""
        return DegradedView.of_validation(self.prepared.index.ids, self.profile.data)

    @property
    def scored_pages(self) -> int:
        """Forward passes of a validation."""
        return len(self.val_rows) * self.profile.data.scored_views

    @property
    def pass_cost(self) -> float:
        """Time of a forward pass, in epochs with their validation."""
        return SCORING_COST / (len(self.train_rows) + SCORING_COST * self.scored_pages)

    @property
    def probe_budget(self) -> ProbeBudget | None:
        """The time of a fit that is a linear probe alone; None where it may take what it takes."""
        if self.allowance is None or not self.profile.train.only_probes:
            return None
        scored = self.scored_pages + self.allowance.passes_after
        return ProbeBudget(self.allowance.seconds, self.allowance.clock(), scored, self.allowance.clock)

    def validator(self, emit: Emit, stop: StopFlag) -> Validator:
        """Build the validator, which scores a model on the held-out pages."""
        degraded = None
        if self.profile.data.degraded_validation:
            degraded = self.prepared.view_dataset(self.degraded_view, self.val_rows, self.runtime.workers, stop)
        batch_size = SCORING_BATCH * self.profile.train.batch_size
        alone = self.reader.alone if self.reader is not None and reads_only(self.profile) else None
        return Validator(self.prepared, self.val_rows, degraded, self.scoring, batch_size, emit, stop, alone)


def build_trainer(
    job: TrainingJob,
    config: TrainConfig,
    validate: Validate,
    position: Checkpoint | None = None,
    stop: StopFlag = NEVER,
) -> Trainer:
    """Build the trainer of a job: model, loss, optimizer, schedule and data loader, ready for the next step.

    Args:
        job: What to train on. Its profile alone decides the schedule.
        config: How long to train, and which metric selects the best epoch.
        validate: Computes the metrics of a model on the held-out pages.
        position: Checkpoint to resume from; None starts at the first step.
        stop: Polled while the trainer waits for a batch.

    Raises:
        CheckpointError: The position belongs to another model or optimizer.
    """
    profile = job.profile
    runtime = job.runtime
    prepared = job.prepared
    torch.manual_seed(seed_of("init", profile.seed))
    num_classes = len(prepared.index.class_names)
    # A resumed run takes its weights from the position: the first ones need not be downloaded again.
    model = create_model(profile.model, num_classes, weights=position is None, image_size=profile.data.image_size)
    if position is None and profile.model.checkpoint_path is not None:
        carry_classes(model, Path(profile.model.checkpoint_path), prepared.index.class_names)
    model = runtime.place(model)
    if profile.runtime.sync_batch_norm and runtime.world_size > 1 and runtime.device.type == "cuda":
        model = convert_sync_batchnorm(model)
    distributed.broadcast_weights(model)
    targets = prepared.index.labels
    counts = np.bincount(targets[job.train_rows], minlength=num_classes).tolist()
    batches = job.batches
    augmentation = profile.augmentation
    mixing = Mixing(augmentation.mixup, augmentation.cutmix, augmentation.mix_probability, num_classes)
    policy = Policy.from_config(augmentation)
    # A rank that stopped while it waits for a page would leave the others within a step.
    on_wait = never_stop if distributed.is_distributed() else stop.check_while_waiting
    loader = data_loader(
        TrainingDataset(prepared.pages, job.train_rows, targets, policy, mixing, profile.seed),
        batches,
        workers=runtime.workers,
        pin=runtime.device.type == "cuda",
        on_wait=on_wait,
        persistent=True,
        # A disk, unlike a core, is better read while the model computes.
        gated=runtime.crowded and prepared.pages.cached,
    )
    pairs: Pairs = ()
    if Freezing.in_epoch(config, 0).keeps_norms and folds(runtime):
        pairs = pairs_to_fold(model, profile.data.image_size, runtime)
    components = TrainerComponents(
        model=model,
        loss=build_loss(profile.loss, profile.model, counts),
        optimizer=build_optimizer(profile.optimizer, model),
        schedule=build_schedule(profile.scheduler, ScheduleTotals.of_run(profile, batches.steps)),
        ema=moving_average(model, profile.train.ema),
        loader=loader,
        batches=batches,
        preprocess=prepared.preprocess,
        ids=prepared.index.ids,
        norms=pairs,
        teachers=Teachers.open(config.distill, prepared.index, profile.runtime) if config.distill.teachers else None,
    )
    name = profile.model.model_name
    probes = begins_with_probe(config, model, name)
    arguments = (components, config, runtime, profile.seed, validate)
    trainer = ProbeTrainer(_probe_pages(job, config, stop), name, *arguments) if probes else Trainer(*arguments)
    if position is not None:
        try:
            trainer.restore({**position.training, "model": position.model})
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{job.run.last}: its position does not fit this profile ({first_line(error)})", "start a new run"
            ) from error
    if job.allowance is not None and not config.only_probes:
        trainer.pace = Pace(
            job.allowance, config.epochs, batches.steps, trainer.global_step, job.pass_cost, int(probes)
        )
    return trainer


def preprocess_of(profile: Profile) -> Preprocess:
    """Return the preprocessing of a profile, with the mean, deviation and interpolation of its pretrained model."""
    mean, std, interpolation = pretrained_stats(profile.model)
    return Preprocess(profile.data.image_size, profile.data.resize_mode, mean, std, interpolation)


def _probe_pages(job: TrainingJob, config: TrainConfig, stop: StopFlag) -> ProbePages:
    """What a linear probe sees: all training pages where it is all of the training, else a sample of many."""
    assert config.linear_probe is not None
    profile, prepared = job.profile, job.prepared
    at_most = None if config.only_probes else PAGES_TO_BEGIN
    rows = limit(job.train_rows, prepared.index.labels, at_most, profile.seed)
    views = resolve_views(config.linear_probe, len(rows))
    on_wait = stop.check_while_waiting
    return ProbePages(prepared, rows, profile.augmentation, views, profile.seed, on_wait, job.probe_budget)


def carry_classes(model: Any, path: Path, class_names: Sequence[str]) -> None:
    """Give a model the classifier rows of the classes that it shares with a checkpoint it starts from, by name.

    With equal class names nothing changes. Otherwise a new class starts near zero while the others keep what was
    learned; files that are no docclf checkpoint have no class names, and nothing is carried over.

    Args:
        model: A timm model that was built from the checkpoint's weights.
        path: The checkpoint.
        class_names: Along the class axis of the model.
    """
    try:
        known = info_of(path).class_names
    except CheckpointError:
        return
    shared = [name for name in class_names if name in known]
    if tuple(class_names) == known or not shared:
        return
    state = read_weights(path)
    new, old = [class_names.index(name) for name in shared], [known.index(name) for name in shared]
    with torch.no_grad():
        for name in classifier_names(model):
            layer = model.get_submodule(name)
            for kind in ("weight", "bias"):
                rows, stored = getattr(layer, kind), state.get(f"{name}.{kind}")
                if rows is None or stored is None or stored.shape[1:] != rows.shape[1:]:
                    continue
                if kind == "weight":
                    torch.nn.init.trunc_normal_(rows, std=0.01)
                else:
                    torch.nn.init.zeros_(rows)
                rows[new] = stored[old].to(rows)


def moving_average(model: torch.nn.Module, decay: float | None) -> Any:
    """Build timm's `ModelEmaV3`, whose decay grows from 0 to `decay` (see `train.ema`); None builds none."""
    if decay is None:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=decay, use_warmup=True)
