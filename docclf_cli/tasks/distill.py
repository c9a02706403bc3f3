"""`distill`: trains one model on the probabilities of others, and says what it lost and gained."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from docclf_cli.data.images.corruptions import DegradedView
from docclf_cli.data.loading.pages import AS_IT_IS
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.members import Indices, merge_checkpoints, requests_of
from docclf_cli.engine.inference.predictor import Predictor
from docclf_cli.engine.inference.trained_model import VAL, TrainedModel
from docclf_cli.ensembling.merging import merge
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.metrics.calibration import cross_fitted
from docclf_cli.metrics.class_metrics import compute_metrics
from docclf_cli.metrics.compare import paired_difference, scored_together
from docclf_cli.profile.paths import absolute_data
from docclf_cli.profile.schema import DataConfig, Profile, RuntimeConfig
from docclf_cli.results.distilling import DistilledOn, DistillResult, ModelCost
from docclf_cli.results.predictions import Predictions
from docclf_cli.results.training import TrainingPlan, TrainResult
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.recipe import Recipe
from docclf_cli.tasks.train import train
from docclf_cli.tasks.unlabelled import label_unlabelled
from docclf_cli.text import Message

CLEAN, DEGRADED = "clean", "degraded"
TIMED_PAGES, ROUNDS = 16, 7
# Where the student takes its pages and their split from, if no others are named.
_OF_TEACHER = (
    "root", "images", "image_column", "label_column", "page_column", "pages", "group_column", "groups", "relabel", "exclude",
    "val", "val_fraction", "split_seed", "fold_seed", "limit", "resize_mode", "max_pixels", "allow_symlinks",
    "degraded_validation", "degraded_mirrored",
)  # fmt: skip


def data_of_teacher(teacher: Path) -> dict[str, object]:
    """The pages and the split of a teacher, by key of a profile: a student that has them is scored on pages it held out.

    Raises:
        CheckpointError: There is no such model.
    """
    data = TrainedModel.load(teacher).info.data
    return {f"data.{name}": getattr(data, name) for name in _OF_TEACHER if getattr(data, name) is not None}


def labels_of(folder: Path, profile: Profile, emit: Emit, stop: StopFlag) -> Path:
    """The table of a folder of pages that the teachers of a profile label, beside the run folder.

    Raises:
        InputError: No page is left that may be learned from.
        Interrupted: `stop` was set; the same call resumes it.
    """
    teachers = [TrainedModel.load(Path(path)) for path in profile.train.distill.teachers]
    output = Path(profile.output) / f"{profile.name}-unlabelled"
    own = profile.runtime.model_copy(update={"precision": "auto", "memory_format": "auto", "compile": "off"})
    return label_unlabelled(folder, teachers, absolute_data(profile.data), output, own, emit, stop)


def distill(
    profile: Profile,
    *,
    resume: Path | None = None,
    finished: bool = False,
    allow_changes: bool = False,
    overwrite: bool = False,
    recipe: Recipe | None = None,
    announce: Callable[[TrainingPlan], None] | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> DistillResult:
    """Train a student as its profile says, and compare it with its teachers.

    Args:
        profile: The student's; `train.distill.teachers` names the teachers.
        resume: Run folder to resume.
        finished: Whether that run is finished, and only the comparison is wanted.
        allow_changes: As `train`.
        overwrite: As `train`.
        recipe: As `train`.
        announce: As `train`.
        emit: Consumer of events.
        stop: Polled after every step.

    Raises:
        InputError: No teacher is named.
        DocclfError: As `train`.
    """
    if not profile.train.distill.teachers:
        raise InputError("no teacher is named", "name a run: --teacher runs/mine")
    trained: TrainResult | None = None
    run = resume
    if run is None or not finished:
        trained = train(
            profile, resume=resume, allow_changes=allow_changes, overwrite=overwrite, recipe=recipe, announce=announce,
            emit=emit, stop=stop,
        )  # fmt: skip
        run = trained.run
    student = TrainedModel.load(run)
    teachers = [TrainedModel.load(Path(path)) for path in profile.train.distill.teachers]
    stop.raise_if_set("the student is trained; it is not compared yet", "start the command again with --resume RUN")
    held_out = tuple(_compared(student, teachers, emit, stop))
    costs = _costs([[student], teachers], profile.runtime)
    result = DistillResult(
        run=run,
        model=profile.model.model_name,
        teachers=tuple(one.path for one in teachers),
        held_out=held_out,
        student=costs[0],
        teacher=costs[1],
        training=trained,
    )
    return replace(result, sentences=tuple(_sentences(result, any(one.is_folds for one in teachers))))


def _compared(
    student: TrainedModel, teachers: Sequence[TrainedModel], emit: Emit, stop: StopFlag
) -> Iterator[DistilledOn]:
    """The student against the mean of its teachers, on pages that all of them held out, clean and degraded."""
    data = student.info.data
    for name in (CLEAN, DEGRADED) if data.degraded_validation else (CLEAN,):
        sides = [_held_out(one, data, name == DEGRADED, emit, stop) for one in (student, *teachers)]
        shared = set(sides[0].ids.tolist()).intersection(*(one.ids.tolist() for one in sides[1:]))
        if not shared:
            return
        sides = [one.take(np.array([page in shared for page in one.ids.tolist()])) for one in sides]
        mine, *theirs = scored_together([_on_axis(cross_fitted(one), student.info.class_names) for one in sides])
        mean = replace(theirs[0], log_probs=merge(np.stack([one.log_probs for one in theirs])).astype(np.float32))
        own, of_teachers = compute_metrics(mine), compute_metrics(mean)
        yield DistilledOn(
            pages=name,
            count=len(mine),
            student_f1=own["f1_macro"],
            teacher_f1=of_teachers["f1_macro"],
            student_loss=own["log_loss"],
            teacher_loss=of_teachers["log_loss"],
            f1_macro=paired_difference(mine, mean),
            log_loss=paired_difference(mine, mean, "log_loss"),
        )


def _held_out(model: TrainedModel, data: DataConfig, degraded: bool, emit: Emit, stop: StopFlag) -> Predictions:
    """What a model says about the pages that it held out, clean or degraded in the way of `data`."""
    indices = Indices(model.info.data)
    view = (
        AS_IT_IS if not degraded else DegradedView.of_validation(indices.of("train", model.info.class_names).ids, data)
    )
    return merge_checkpoints(model, VAL, get_predictions(requests_of(model, VAL, indices, view), emit=emit, stop=stop))


def _on_axis(one: Predictions, class_names: tuple[str, ...]) -> Predictions:
    """The same with the class axis of the student, which has no class that a teacher lacks."""
    if one.class_names == class_names:
        return one
    order = [one.class_names.index(name) for name in class_names]
    new = {old: number for number, old in enumerate(order)}
    targets = np.array([new.get(int(label), -1) for label in one.labels], dtype=np.int64)
    return replace(one, log_probs=one.log_probs[:, order], class_names=class_names, targets=targets)


def _costs(sides: Sequence[Sequence[TrainedModel]], runtime: RuntimeConfig) -> list[ModelCost]:
    """What each side costs; they are timed in turns, so that what else the machine does slows both."""
    own = runtime.model_copy(update={"precision": "auto", "memory_format": "auto", "compile": "off"})
    predictors = [[model.predictor(own) for model in side] for side in sides]
    images = [[_noise(predictor) for predictor in side] for side in predictors]
    times: list[list[float]] = [[] for _ in sides]
    for turn in range(ROUNDS + 1):
        for number, side in enumerate(predictors):
            began = time.perf_counter()
            for predictor, pages in zip(side, images[number], strict=True):
                predictor.log_probs(pages)
            if turn:  # the first one warms up
                times[number].append(time.perf_counter() - began)
    found = []
    for side, seconds in zip(predictors, times, strict=True):
        networks = [network for predictor in side for network in predictor.networks]
        parameters = sum(one.numel() for network in networks for one in network.model.parameters())
        found.append(ModelCost(len(networks), parameters, TIMED_PAGES / statistics.median(seconds)))
    return found


def _noise(predictor: Predictor) -> torch.Tensor:
    size = predictor.preprocess.size
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (TIMED_PAGES, size, size, 3), dtype=torch.uint8, generator=generator)
    return pixels.movedim(-1, 1)


def _sentences(result: DistillResult, folds: bool) -> Iterator[str]:
    for one in result.held_out:
        yield Message.of(
            "{pages} held-out pages ({kind}): macro-F1 {f1:+.1f} points against the teachers (95 % {low:+.1f} … {high:+.1f}), log "
            "loss {loss:+.3f} ({loss_low:+.3f} … {loss_high:+.3f}).",
            pages=one.count, kind=Message.of(one.pages), f1=100 * one.f1_macro.value, low=100 * one.f1_macro.low, high=100 * one.f1_macro.high,
            loss=one.log_loss.value, loss_low=one.log_loss.low, loss_high=one.log_loss.high,
        )  # fmt: skip
    if not result.held_out:
        yield Message.of("No page is held out from the student and from all teachers, so they are not compared.")
    yield Message.of(
        "Networks alone: {student:.0f} pages per second against {teacher:.0f}, {factor:.1f} times as many; {parameters:.1f} against "
        "{others:.1f} million parameters.",
        student=result.student.pages_per_second, teacher=result.teacher.pages_per_second,
        factor=result.student.pages_per_second / result.teacher.pages_per_second,
        parameters=result.student.parameters / 1e6, others=result.teacher.parameters / 1e6,
    )  # fmt: skip
    if folds:
        yield Message.of(
            "The folds of a teacher were trained on pages that the student held out, and taught it on the others: the student's "
            "figures on held-out pages may be slightly too good. Test pages are in neither."
        )
