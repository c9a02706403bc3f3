"""Checks a training run for everything that can fail before its pages are read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading.datasets import EpochBatches
from docclf_cli.engine.checkpoints.schema import LONGEST_NAME
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.engine.training.linear_probe import begins_with_probe
from docclf_cli.engine.training.losses import build_loss
from docclf_cli.engine.training.optimizers import build_optimizer
from docclf_cli.engine.training.schedulers import Plateau, Schedule, ScheduleTotals, build_schedule
from docclf_cli.engine.training.trainer import TRAINING_COLUMNS
from docclf_cli.engine.training.validator import measured_metrics
from docclf_cli.errors import DocclfError, InputError, is_out_of_memory
from docclf_cli.models.attention import ATTENTION_PREFIX
from docclf_cli.models.factory import create_model, resolve_name
from docclf_cli.models.freezing import Freezing, set_mode
from docclf_cli.models.sources import find_weights
from docclf_cli.models.weights import first_line, fit_weights
from docclf_cli.profile.schema import Profile
from docclf_cli.text import plural

META = torch.device("meta")  # shapes without values: fast for any network
logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class PlannedFit:
    """The pages of one fit.

    Attributes:
        train_rows: Rows of the index to train on, int64 [n].
        val_rows: Held-out rows, int64 [m].
        fold: Number of the fold; None outside a cross-validation.
    """

    train_rows: np.ndarray
    val_rows: np.ndarray
    fold: int | None = None


def check_settings(profile: Profile, num_classes: int, own_val: int) -> None:
    """Refuse settings that contradict each other, whatever the pages are.

    Args:
        profile: The resolved profile.
        num_classes: Length of the class axis.
        own_val: Number of pages of a separate validation set.

    Raises:
        InputError: Two settings contradict each other.
    """
    data, train = profile.data, profile.train
    if train.fold is not None and train.refit:
        raise InputError(
            "train.refit needs all folds, whose held-out pages give it its temperature, and train.fold trains one of them",
            "remove --fold, or add --set train.refit=false",
        )
    if train.distill.teachers and (profile.augmentation.mixup or profile.augmentation.cutmix):
        raise InputError(
            "train.distill and mixed pages contradict each other: a fold judges the pages that it was not trained on, one at a time",
            "add --set augmentation.mixup=0 --set augmentation.cutmix=0",
        )
    if train.distill.teachers and train.only_probes:
        raise InputError(
            "train.distill: a linear probe alone is fitted to labels, and learns nothing from teachers",
            "add epochs: --epochs 20, or choose another --profile",
        )
    if train.folds is None and not own_val and data.val_fraction == 0:
        raise InputError(
            "data.val_fraction is 0, so no page would be held out to choose the best epoch",
            "set it to a value such as 0.2, name a validation set (data.val), or use --folds",
        )
    if train.folds is not None and own_val:
        logger.warning("the %d pages of the validation set are cut into folds together with the others", own_val)
    _check_measured(profile, num_classes, "train.monitor", train.monitor)


def check_classes(index: DocumentIndex) -> None:
    """Refuse class names that a checkpoint cannot store.

    Raises:
        InputError: A name is empty or too long.
    """
    for name in index.class_names:
        if not 1 <= len(name) <= LONGEST_NAME:
            length = f"{len(name)} characters, and a class name has 1 to {LONGEST_NAME}"
            raise InputError(f"the label '{name[:40]}…' has {length}", "shorten the label, or check data.label_column")


def check_fits(profile: Profile, index: DocumentIndex, fits: Sequence[PlannedFit], runtime: Runtime) -> None:
    """Try model, optimizer, loss and schedule on the smallest batch, filled with noise.

    Args:
        profile: The resolved profile.
        index: All pages.
        fits: The fits of the run.
        runtime: Device and processes of the run.

    Raises:
        InputError: A setting does not fit the others; it is named.
    """
    num_classes = len(index.class_names)
    smallest = min(fits, key=lambda fit: len(fit.train_rows))
    batches = check_batches(profile, num_classes, fits, runtime)
    if profile.train.batch_size > batches.step_pages:
        logger.warning(
            "train.batch_size: %d is more than the %d training pages, so each step sees all of them",
            profile.train.batch_size,
            batches.step_pages,
        )
    _check_frozen(profile)
    totals = ScheduleTotals(profile.optimizer.lr, profile.train.epochs, batches.steps)
    _check_schedule(profile, num_classes, build_schedule(profile.scheduler, totals))
    counts = np.bincount(index.labels[smallest.train_rows], minlength=num_classes)
    build_loss(profile.loss, profile.model, counts.tolist())
    network = _shape_only_network(profile, num_classes)
    build_optimizer(profile.optimizer, network)
    begins_with_probe(profile.train, network, profile.model.model_name)


def _check_frozen(profile: Profile) -> None:
    """Refuse to keep what nothing has learned."""
    if profile.model.starts_trained:
        return
    if profile.train.batch_norm == "frozen":
        raise InputError(
            "train.batch_norm: frozen keeps the statistics of pretrained weights, and this run has none",
            "add --set train.batch_norm=train",
        )
    if profile.train.frozen_stages:
        raise InputError(
            f"train.frozen_stages: {profile.train.frozen_stages} keeps pretrained weights, and this run has none",
            "add --set train.frozen_stages=0",
        )


def check_batches(profile: Profile, num_classes: int, fits: Sequence[PlannedFit], runtime: Runtime) -> EpochBatches:
    """Check that the network can be trained on the smallest batch; repeated if some pages cannot be read.

    Returns:
        The batches of the fit with the fewest pages.

    Raises:
        InputError: It cannot be trained, or a fit has no page to train on or to validate with.
    """
    if not all(len(fit.val_rows) for fit in fits):
        raise InputError("no held-out page can be read", "add pages, or name a validation set: data.val")
    batches = batches_of(profile, min(len(fit.train_rows) for fit in fits), runtime)
    check_shares(batches)
    _check_model(profile, num_classes, batches, runtime)
    return batches


def check_weights(profile: Profile, num_classes: int) -> None:
    """Check that the pretrained weights are available and fit the network.

    Raises:
        DocclfError: As `find_weights` and `fit_weights`.
    """
    source = find_weights(profile.model, resolve_name(profile.model.model_name))
    if source.state is not None:
        with warnings.catch_warnings(action="ignore"):  # copying to the meta device does nothing, on purpose
            fit_weights(
                _shape_only_network(profile, num_classes), source.state, source.origin, may_lack=ATTENTION_PREFIX
            )


def forward_flops(profile: Profile, num_classes: int) -> float:
    """Floating-point operations of a forward pass of one page; 0 where they cannot be counted without numbers."""
    side = profile.data.image_size
    try:
        model = _network(profile, num_classes, META).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 3, side, side, device=META))
    except DocclfError:
        raise
    except Exception:  # some networks compute with numbers on their way
        return 0.0
    return float(counter.get_total_flops())


def batches_of(profile: Profile, pages: int, runtime: Runtime) -> EpochBatches:
    """Plan the batches for a number of training pages, and the shard of each that belongs to this process."""
    train = profile.train
    return EpochBatches(pages, train.batch_size, train.accumulate, profile.seed, runtime.rank, runtime.world_size)


def check_shares(batches: EpochBatches) -> None:
    """Refuse batches without pages, or with fewer pages in a step than processes.

    Raises:
        InputError: The batches are such.
    """
    if not batches.count:
        raise InputError("no readable page is left to train on", "add pages")
    if not batches.smallest_share and batches.world_size > 1:
        raise InputError(
            f"{batches.step_pages} pages in {batches.accumulate} parts are not enough for {batches.world_size} processes",
            "start fewer, or raise --batch-size",
        )


def _check_model(profile: Profile, num_classes: int, batches: EpochBatches, runtime: Runtime) -> None:
    """Try the network on noise of its image size, with as many pages as its smallest micro-batch.

    Raises:
        InputError: It cannot be trained on such a batch.
    """
    pages = min(max(batches.smallest_share, 1), 2)  # more than two make no difference
    fault = _training_fault(profile, num_classes, pages, runtime)
    if fault is None:
        return
    name = profile.model.model_name
    size = profile.data.image_size
    if pages == 1 and _training_fault(profile, num_classes, 2, runtime) is None:
        parts = plural(batches.accumulate * batches.world_size, "part", "parts")
        raise InputError(
            f"{name} cannot be trained on one page at a time, and a step has "
            f"{plural(batches.step_pages, 'page', 'pages')} in {parts}",
            "raise --batch-size, or lower train.accumulate",
        ) from fault
    raise InputError(
        f"data.image_size: {name} cannot be trained on pages of {size} x {size} pixels ({first_line(fault)})",
        "choose another --image-size or --model",
    ) from fault


def _check_measured(profile: Profile, num_classes: int, key: str, monitor: str) -> None:
    measured = (*TRAINING_COLUMNS, *measured_metrics(num_classes, profile.data.degraded_validation))
    if monitor in measured:
        return
    needs = "; data.degraded_validation is off" if monitor.endswith("_degraded") else ""
    raise InputError(f"{key}: '{monitor}' is not available{needs}", f"available: {', '.join(measured)}")


def _check_schedule(profile: Profile, num_classes: int, schedule: Schedule) -> None:
    name = profile.scheduler.name
    train = profile.train
    snapshots = train.snapshots
    if train.refit and not schedule.foreseeable:
        raise InputError(
            f"train.refit: the schedule '{name}' needs validation metrics, and a refit has none",
            "choose another --scheduler, or remove refit",
        )
    if isinstance(schedule, Plateau):
        _check_measured(profile, num_classes, "scheduler.params.monitor", schedule.monitor)
    epochs = range(1, train.epochs + 1)
    if snapshots.keep == "cycle" and not any(schedule.ends_cycle(epoch) for epoch in epochs):
        logger.warning(
            "train.snapshots.keep: no cycle of '%s' ends in %d epochs: no snapshot is stored", name, train.epochs
        )
    if snapshots.keep == "every" and snapshots.k > train.epochs:
        logger.warning(
            "train.snapshots.k: %d is more than the %d epochs: no snapshot is stored", snapshots.k, train.epochs
        )


def _training_fault(profile: Profile, num_classes: int, pages: int, runtime: Runtime) -> Exception | None:
    """Return the error of training the network on a number of pages; None if there is none.

    A fault on the meta device is confirmed on the real one, which alone knows which kernels are deterministic.
    """
    if not profile.runtime.deterministic and _training_fault_on(META, profile, num_classes, pages) is None:
        return None
    return _training_fault_on(runtime.device, profile, num_classes, pages)


def _training_fault_on(device: torch.device, profile: Profile, num_classes: int, pages: int) -> Exception | None:
    forked = [device] if device.type == "cuda" else []
    side = profile.data.image_size
    try:
        with torch.random.fork_rng(devices=forked):
            model = _network(profile, num_classes, device)
            logits = model(torch.rand(pages, 3, side, side, device=device))
            if device != META:  # shapes alone have no backward pass that could fail
                logits.float().sum().backward()
    except DocclfError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return error
    return None


def _network(profile: Profile, num_classes: int, device: torch.device) -> torch.nn.Module:
    """Build the network in the mode it is trained in, without pretrained weights."""
    with device:
        model = create_model(profile.model, num_classes, weights=False, image_size=profile.data.image_size)
    train = profile.train
    set_mode(model, Freezing.in_epoch(train, train.epochs - 1))
    return model


def _shape_only_network(profile: Profile, num_classes: int) -> torch.nn.Module:
    """Build the network for the names and shapes of its parameters, on the meta device if timm can."""
    try:
        return _network(profile, num_classes, META)
    except DocclfError:
        raise
    except Exception:
        return _network(profile, num_classes, torch.device("cpu"))
