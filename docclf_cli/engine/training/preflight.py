"""What of a training run can be known to fail before its first step, and before its pages are read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.tables import plural
from docclf_cli.data.loading.datasets import EpochBatches
from docclf_cli.engine.checkpoints.schema import LONGEST_NAME
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.engine.training.losses import build_loss
from docclf_cli.engine.training.optimizers import build_optimizer
from docclf_cli.engine.training.schedulers import Plateau, Schedule, ScheduleTotals, build_schedule
from docclf_cli.engine.training.trainer import TRAINING_COLUMNS, set_mode
from docclf_cli.engine.training.validator import measured_metrics
from docclf_cli.errors import DocclfError, InputError, is_out_of_memory
from docclf_cli.models.attention import ATTENTION_PREFIX
from docclf_cli.models.factory import create_model, resolve_name
from docclf_cli.models.sources import find_weights
from docclf_cli.models.weights import first_line, fit_weights
from docclf_cli.profile.schema import Profile

META = torch.device("meta")  # shapes without numbers: quick for the largest network
logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class PlannedFit:
    """Which pages a fit trains on and validates with.

    Attributes:
        train_rows: Rows of the index to train on, int64 [n].
        val_rows: Rows that are held out.
        fold: Number of the fold; None outside a cross-validation.
    """

    train_rows: np.ndarray
    val_rows: np.ndarray
    fold: int | None = None


def check_settings(profile: Profile, num_classes: int, own_val: int) -> None:
    """Settings that contradict each other, whatever the pages are.

    Args:
        profile: The resolved profile.
        num_classes: Length of the class axis.
        own_val: Pages of a validation set of its own.

    Raises:
        InputError: The run could not end as it is asked to.
    """
    data, train = profile.data, profile.train
    if train.folds is not None and train.refit:
        raise InputError(
            "train.refit and train.folds contradict each other: folds predict together, and none is refitted",
            "remove --folds, or add --set train.refit=false",
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
    """Class names that a checkpoint cannot hold.

    Raises:
        InputError: One of them is empty or too long.
    """
    for name in index.class_names:
        if not 1 <= len(name) <= LONGEST_NAME:
            counted = f"{len(name)} characters, and a class name has 1 to {LONGEST_NAME}"
            raise InputError(f"the label '{name[:40]}…' has {counted}", "shorten the label, or check data.label_column")


def check_fits(profile: Profile, index: DocumentIndex, fits: Sequence[PlannedFit], runtime: Runtime) -> None:
    """Everything about model, optimizer, loss and schedule that fails on any pages, tried on the smallest batch of noise.

    Args:
        profile: The resolved profile.
        index: All pages.
        fits: What is going to be trained.
        runtime: Device and processes of the run.

    Raises:
        InputError: Something does not fit the rest; it is named.
    """
    num_classes, smallest = len(index.class_names), min(fits, key=lambda fit: len(fit.train_rows))
    batches = check_batches(profile, num_classes, fits, runtime)
    if profile.train.batch_size > batches.step_pages:
        logger.warning(
            "train.batch_size: %d is more than the %d training pages, so each step sees all of them",
            profile.train.batch_size, batches.step_pages,
        )  # fmt: skip
    totals = ScheduleTotals(profile.optimizer.lr, profile.train.epochs, batches.steps)
    _check_schedule(profile, num_classes, build_schedule(profile.scheduler, totals))
    counts = np.bincount(index.labels[smallest.train_rows], minlength=num_classes)
    build_loss(profile.loss, profile.model, counts.tolist())
    build_optimizer(profile.optimizer, _outline(profile, num_classes))


def check_batches(profile: Profile, num_classes: int, fits: Sequence[PlannedFit], runtime: Runtime) -> EpochBatches:
    """That the network can be trained on the smallest batch there will be; again where pages turn out unreadable.

    Returns:
        The batches of the fit with the fewest pages.

    Raises:
        InputError: It cannot, or a fit has no page to train on or none to validate with.
    """
    if not all(len(fit.val_rows) for fit in fits):
        raise InputError("no held-out page can be read", "add pages, or name a validation set: data.val")
    batches = batches_of(profile, min(len(fit.train_rows) for fit in fits), runtime)
    check_shares(batches)
    _check_model(profile, num_classes, batches, runtime)
    return batches


def check_weights(profile: Profile, num_classes: int) -> None:
    """That the first weights can be reached and fit.

    Raises:
        DocclfError: That of `find_weights` or `fit_weights`.
    """
    source = find_weights(profile.model, resolve_name(profile.model.model_name))
    if source.state is not None:
        with warnings.catch_warnings(action="ignore"):  # that nothing is copied is meant
            fit_weights(_outline(profile, num_classes), source.state, source.origin, may_lack=ATTENTION_PREFIX)


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
    """How so many training pages become batches, and the share of these that is this process's."""
    train = profile.train
    return EpochBatches(pages, train.batch_size, train.accumulate, profile.seed, runtime.rank, runtime.world_size)


def check_shares(batches: EpochBatches) -> None:
    """Refuse a training without pages, or one in which some process would have nothing to do.

    Raises:
        InputError: It is one.
    """
    if not batches.count:
        raise InputError("no readable page is left to train on", "add pages")
    if not batches.smallest_share and batches.world_size > 1:
        raise InputError(
            f"{batches.step_pages} pages in {batches.accumulate} parts are not enough for {batches.world_size} processes",
            "start fewer, or raise --batch-size",
        )


def _check_model(profile: Profile, num_classes: int, batches: EpochBatches, runtime: Runtime) -> None:
    """Try the network on noise of its image size, as few pages as its smallest micro-batch will have.

    What fails without numbers is tried with them before it is believed.
    """
    pages = min(max(batches.smallest_share, 1), 2)  # more than two are no other case
    fault = _fault(profile, num_classes, pages, runtime)
    if fault is None:
        return
    name, size, told = profile.model.model_name, profile.data.image_size, first_line(fault)
    if pages == 1 and _fault(profile, num_classes, 2, runtime) is None:
        parts = plural(batches.accumulate * batches.world_size, "part", "parts")
        raise InputError(
            f"{name} cannot be trained on one page at a time, and a step has "
            f"{plural(batches.step_pages, 'page', 'pages')} in {parts}",
            "raise --batch-size, or lower train.accumulate",
        ) from fault
    raise InputError(
        f"data.image_size: {name} cannot be trained on pages of {size} x {size} pixels ({told})",
        "choose another --image-size or --model",
    ) from fault


def _check_measured(profile: Profile, num_classes: int, key: str, monitor: str) -> None:
    measured = (*TRAINING_COLUMNS, *measured_metrics(num_classes, profile.data.degraded_validation))
    if monitor in measured:
        return
    needs = "; data.degraded_validation is off" if monitor.endswith("_degraded") else ""
    raise InputError(f"{key}: '{monitor}' is not available{needs}", f"available: {', '.join(measured)}")


def _check_schedule(profile: Profile, num_classes: int, schedule: Schedule) -> None:
    name, train, snapshots = profile.scheduler.name, profile.train, profile.train.snapshots
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


def _fault(profile: Profile, num_classes: int, pages: int, runtime: Runtime) -> Exception | None:
    """Why the network cannot be trained on so many pages; None where it can."""
    if not profile.runtime.deterministic and _fault_on(META, profile, num_classes, pages) is None:
        return None
    return _fault_on(runtime.device, profile, num_classes, pages)  # it alone knows which kernels are deterministic


def _fault_on(device: torch.device, profile: Profile, num_classes: int, pages: int) -> Exception | None:
    forked, side = [device] if device.type == "cuda" else [], profile.data.image_size
    try:
        with torch.random.fork_rng(devices=forked):
            model = _network(profile, num_classes, device)
            logits = model(torch.rand(pages, 3, side, side, device=device))
            if device != META:  # of shapes alone nothing more can be wrong
                logits.float().sum().backward()
    except DocclfError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return error
    return None


def _network(profile: Profile, num_classes: int, device: torch.device) -> torch.nn.Module:
    """The network as it is trained, without its first weights."""
    with device:
        model = create_model(profile.model, num_classes, weights=False, image_size=profile.data.image_size)
    set_mode(model, frozen=profile.train.freeze_epochs >= profile.train.epochs)
    return model


def _outline(profile: Profile, num_classes: int) -> torch.nn.Module:
    """The names and shapes of its parameters, without their numbers where timm can build it so."""
    try:
        return _network(profile, num_classes, META)
    except DocclfError:
        raise
    except Exception:
        return _network(profile, num_classes, torch.device("cpu"))
