"""What is known of a run before any page is read: its pages and how they are split, its plan, and that all settings fit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from docclf_cli.data.index.added import draw_held_out
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import TrainingPages, load_training_pages
from docclf_cli.data.index.splits import ADDED, Split, folds, hold_out, limit
from docclf_cli.engine.checkpoints.run_folder import RunFolder, new_run_folder
from docclf_cli.engine.inference.leaks import say_copies_in_validation
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import resolve_runtime
from docclf_cli.engine.training.distillation import check_teachers
from docclf_cli.engine.training.packets import require_documents
from docclf_cli.engine.training.preflight import PlannedFit, check_classes, check_fits, check_settings
from docclf_cli.profile.paths import absolute_paths, typed_paths
from docclf_cli.profile.schema import Profile
from docclf_cli.results.training import TrainingPlan
from docclf_cli.tasks.learning import require_known_pages, sets_of_added
from docclf_cli.tasks.plan import Load, fit_to_minutes
from docclf_cli.tasks.recipe import Recipe, expected_minutes, require_weights
from docclf_cli.text import Message


@dataclass(frozen=True)
class CheckedRun:
    """A run that has passed every check that needs no page.

    Attributes:
        profile: With what `train.minutes` came to.
        index: All pages of training and validation.
        own_val: How many of them are a validation set of its own.
        fits: The pages that each fit trains on and holds out.
        split: The same by page, as it is stored.
        plan: What is shown before the start.
        pages: The pages, and those that were added later.
    """

    profile: Profile
    index: DocumentIndex
    own_val: int
    fits: tuple[PlannedFit, ...]
    split: Split
    plan: TrainingPlan
    pages: TrainingPages


def training_plan(profile: Profile, recipe: Recipe | None = None, *, overwrite: bool = False) -> TrainingPlan:
    """What `train` would do; nothing is written, and no weights are fetched.

    Raises:
        DocclfError: As `train`, as far as that can be known without reading pages.
    """
    typed, profile = typed_paths(profile), absolute_paths(profile)
    run = new_run_folder(Path(profile.output), profile.name, profile.model.name)
    run.require_free(overwrite)
    return check_run(profile, run, recipe or Recipe("", ""), typed, time.monotonic(), new=True).plan


def _with_frozen_stages(profile: Profile) -> Profile:
    """The profile in which `train.frozen_stages: auto` is 0 where there are no pretrained weights to keep."""
    if profile.train.frozen_stages != "auto" or profile.model.starts_trained:
        return profile
    return profile.model_copy(update={"train": profile.train.model_copy(update={"frozen_stages": 0})})


def check_run(
    profile: Profile, run: RunFolder, recipe: Recipe, typed: Mapping[str, str], began: float, *, new: bool
) -> CheckedRun:
    """Everything that can be known before pages are read: first of all whether the first weights are within reach.

    Args:
        profile: With absolute paths.
        run: Its folder.
        recipe: What the profile started from.
        typed: Paths as they were typed, by their absolute form.
        began: When the command began, by `time.monotonic`.
        new: Whether it starts now; a run that goes on has first weights and epochs already.

    Raises:
        DocclfError: A setting, the weights or the pages do not allow the run.
    """
    profile = _with_frozen_stages(profile)
    data = profile.data
    root = typed.get(data.root, data.root)
    origin = require_weights(profile, root) if new else Message.of("the position saved in {run}", run=run.path)
    pages = load_training_pages(data)
    index, own_val = pages.index, pages.own_val
    say_copies_in_validation(index, own_val)
    index.left_out.warn(data.root)
    num_classes = len(index.class_names)
    check_settings(profile, num_classes, own_val)
    check_classes(index)
    fits, split = _planned(profile, pages)
    require_known_pages(profile, split)
    if profile.train.packets:
        for one in fits:
            require_documents(index, one.train_rows, one.val_rows)
    if profile.train.distill.teachers:
        check_teachers(profile.train.distill, index, [one.val_rows for one in fits], data)
    first = fits[0]
    if new and profile.train.minutes is not None and profile.train.plan is None:
        models = models_of(profile, fits, len(index))
        load = Load(len(first.train_rows), len(first.val_rows), len(index), models, distributed.world_size())
        profile, recipe = fit_to_minutes(profile, recipe, index, load, began)
        profile = absolute_paths(profile)
    check_fits(profile, index, fits, resolve_runtime(profile.runtime))
    plan = _plan(profile, recipe, index, fits, own_val, run.path, origin, root)
    return CheckedRun(profile, index, own_val, fits, split, plan, pages)


def _plan(
    profile: Profile,
    recipe: Recipe,
    index: DocumentIndex,
    fits: Sequence[PlannedFit],
    own_val: int,
    run: Path,
    weights: str,
    root: str,
) -> TrainingPlan:
    data, train, first = profile.data, profile.train, fits[0]
    num_classes = len(index.class_names)
    how = Message.of("{share:.0%} held out", share=data.val_fraction)
    if own_val:
        how = Message.of("a validation set of its own")
    if train.folds:
        how = Message.of("{count} folds", count=train.folds)
    return TrainingPlan(
        run=run,
        profile=recipe.profile,
        reason=recipe.reason,
        model=profile.model.model_name,
        weights=weights,
        data=root,
        pages=len(index),
        train_pages=len(first.train_rows),
        val_pages=len(first.val_rows),
        split=how,
        classes=num_classes,
        image_size=profile.data.image_size,
        epochs=train.epochs,
        fits=len(fits),
        device=str(resolve_runtime(profile.runtime).device),
        minutes=round(
            train.minutes
            or expected_minutes(profile, num_classes, len(first.train_rows), len(first.val_rows), len(fits)),
            1,
        ),
        left_out=index.left_out.counts,
        fitted=train.plan or "",
    )


def models_of(profile: Profile, fits: Sequence[PlannedFit], pages: int) -> float:
    """How many models a run trains, a refit counted by how many pages more it sees."""
    return len(fits) + (pages / len(fits[0].train_rows) if profile.train.refit else 0)


def _planned(profile: Profile, pages: TrainingPages) -> tuple[tuple[PlannedFit, ...], Split]:
    """Which pages each fit of a run trains on, and the split that is stored.

    Pages that were added later are trained on but for a fifth of them, and none is in a validation set: epochs,
    temperatures and thresholds are chosen on pages that nobody picked.
    """
    data, train, index = profile.data, profile.train, pages.index
    base_rows = pages.base_rows
    never = draw_held_out(index, pages.added, data.split_seed, sets_of_added(pages, data))
    added = np.setdiff1d(pages.added, never)
    of_added = {ADDED: never} if len(never) else {}

    def planned(rows: np.ndarray, val_rows: np.ndarray, fold: int | None = None) -> PlannedFit:
        rows = np.sort(np.concatenate([base_rows[rows], added]))
        return PlannedFit(limit(rows, index.labels, data.limit, data.split_seed), base_rows[val_rows], fold)

    everything = np.arange(len(pages.base))
    if train.folds is not None:
        held_out = folds(pages.base, train.folds, data.fold_seed)
        chosen = range(train.folds) if train.fold is None else [train.fold]
        fits = [planned(np.setdiff1d(everything, held_out[fold]), held_out[fold], fold) for fold in chosen]
        trained = {"train": added} if len(added) else {}
        return tuple(fits), Split.of_folds(index, [base_rows[rows] for rows in held_out], {**trained, **of_added})
    if pages.own_val:
        one = planned(everything[: -pages.own_val], everything[-pages.own_val :])
    else:
        one = planned(*hold_out(pages.base, data.val_fraction, data.split_seed))
    return (one,), Split.of_rows(index, {"train": one.train_rows, "val": one.val_rows, **of_added})
