"""Predicts with ensemble members: for the pages that they hold out, and for the pages to predict."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from docclf_cli.data.index.index import names_split, resolve_root
from docclf_cli.data.index.left_out import LeftOut
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.leaks import find_leaks
from docclf_cli.engine.inference.members import (
    Indices,
    data_of,
    is_placed,
    merge_checkpoints,
    precisions_of,
    requests_of,
    require_known_place,
    split_rows,
)
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.trained_model import TrainedModel, folds_as_members, members_at
from docclf_cli.engine.inference.views import PageView
from docclf_cli.ensembling.alignment import refuse_duplicates
from docclf_cli.ensembling.merging import Merge, merge
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.files import fingerprint_of
from docclf_cli.metrics.alignment import check_same_classes
from docclf_cli.profile.paths import absolute_data
from docclf_cli.profile.schema import DataConfig, MemberConfig, RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.text import Message
from docclf_cli.user_folders import user_path

logger = logging.getLogger("docclf")
CROSSED = Message.of("each member was trained on pages that other members hold out")
VAL: Literal["val"] = "val"
TEST: Literal["test"] = "test"
# What decides the pages of a data root, and must be the same for members that are to share one.
_SAME = ("images", "image_column", "label_column", "page_column", "pages")
# Keys of `data` that are the checkpoint's or the training run's, whatever a profile says.
_NOT_GIVEN = frozenset(("root", "image_size", "resize_mode", "val_fraction", "split_seed", "fold_seed", "limit"))


def open_members(configs: Sequence[MemberConfig]) -> list[TrainedModel]:
    """The members of a profile. A folds run that is alone gives each of its folds.

    Raises:
        InputError: There are fewer than two, one is listed twice, or their classes differ.
        CheckpointError: A checkpoint is missing or damaged.
    """
    if not configs:
        raise InputError("an ensemble needs members", "name runs or checkpoints: --members runs/a --members runs/b")
    members: list[TrainedModel] = []
    for config in configs:
        path = user_path(config.checkpoint_path or config.run or "")
        members += members_at(path, config.use, name=config.name, weight=config.weight)
    if len(members) == 1 and members[0].is_folds:
        members = folds_as_members(members[0])
    if len(members) == 1:
        raise InputError(
            f"an ensemble needs two members, and there is only {members[0].path}",
            "add another run with --members; for test-time augmentation of one model: docclf tta",
        )
    names = [member.name for member in members]
    refuse_duplicates([member.key for member in members], [str(member.path) for member in members])
    check_same_classes([member.info.class_names for member in members], names)
    # Members that share a label are own apart by their paths.
    named = [replace(one, name=str(one.path)) if names.count(one.name) > 1 else one for one in members]
    # Sorted, so that nothing (not even the order of classes in files) depends on who was listed first.
    return sorted(named, key=lambda member: member.key)


@dataclass(frozen=True, eq=False)
class EvaluationPages:
    """The pages that members are evaluated on.

    Attributes:
        target: Pages to predict.
        split: `test`; or `val`: the held-out pages themselves.
        held_out: Where the pages are that the members were not trained on; None where none are known.
        common: IDs of the pages that all members hold out, in the order of the data.
        why_none: Why there are none.
    """

    target: Indices
    split: str
    held_out: Indices | None
    common: np.ndarray
    why_none: str = ""

    def left_out(self, class_names: tuple[str, ...]) -> LeftOut:
        """The files and folders beside the pages to predict that are no pages."""
        if self.split == TEST or self.held_out is None:
            return self.target.of(TEST, class_names).left_out
        return self.held_out.of("train", class_names).left_out


def find_evaluation_pages(
    members: Sequence[TrainedModel], given: Mapping[str, Any], split: str | None
) -> EvaluationPages:
    """Find the pages to predict, and the pages that the members hold out.

    Args:
        members: Who speaks about them.
        given: Keys of `data` that the user stated; a `root` other than the members' own names other pages to predict.
        split: `test` or `val`; None is `test` where the data sets test pages apart, else `val`.

    Raises:
        InputError: Members were trained on different data and no root is given, or there is no such split.
    """
    if split not in (None, VAL, TEST):
        raise InputError(
            f"--split: '{split}' is not one of val, test", "members are not scored on pages that trained them"
        )
    own, root = _own_data(members), given.get("root")
    root = None if root is None else absolute_data(DataConfig(root=str(root))).root
    other = root is not None and (own is None or _place(own.model_copy(update={"root": root})) != _place(own))
    if own is None and not other:
        shown = ", ".join(f"{member.name} on {member.info.data.root}" for member in members[:3])
        raise InputError(f"the members were trained on different data ({shown})", "name the pages to predict: --data")
    target = data_of(members[0].info.data, str(root), split=split or TEST) if other else own
    assert target is not None
    require_known_place(target)
    target = target.model_copy(update={key: value for key, value in given.items() if key not in _NOT_GIVEN})
    held_out, common, why = _held_out(members, [target, *([own] if own and other else [])], other)
    apart = names_split(target, TEST)
    chosen = split or (TEST if other or apart else VAL)
    if chosen == VAL and not len(common):
        raise InputError(f"there is no page that all members hold out: {why}", "predict test pages: --split test")
    return EvaluationPages(Indices(target), chosen, held_out, common, why)


def _own_data(members: Sequence[TrainedModel]) -> DataConfig | None:
    """The data section that members share; None where they differ."""
    sections = [member.info.data for member in members]
    if any(_place(section) != _place(sections[0]) for section in sections):
        return None
    grouped = next((section for section in sections if section.groups or section.group_column), sections[0])
    return sections[0].model_copy(update={"groups": grouped.groups, "group_column": grouped.group_column})


def _place(section: DataConfig) -> tuple[object, ...]:
    known = is_placed(section) and section.root != "samples"
    root = str(resolve_root(section).resolve()) if known else section.root
    return root, *(getattr(section, key) for key in _SAME)


def _held_out(
    members: Sequence[TrainedModel], candidates: Sequence[DataConfig], other: bool
) -> tuple[Indices | None, np.ndarray, str]:
    """The first data whose training pages hold all that members hold out; those that all share; else why not."""
    why = ""
    for config in candidates:
        indices = Indices(config)
        try:
            own = [_held_out_ids(member, indices) for member in members]
        except InputError as error:
            why = error.message
            continue
        shared = set.intersection(*(set(ids) for ids in own))
        common = np.array([page for page in own[0] if page in shared], dtype=np.str_)
        return indices, common, "" if len(common) else CROSSED
    return None, np.empty(0, dtype=np.str_), why


def _held_out_ids(member: TrainedModel, indices: Indices) -> list[str]:
    ids: list[str] = []
    for info in member.checkpoints:
        index = indices.of("train", info.class_names)
        ids += index.ids[split_rows(info, index, VAL)].tolist()
    return ids


@dataclass(frozen=True, eq=False)
class MemberPredictions:
    """The calibrated predictions of one member, by name of the view.

    Attributes:
        member: Who says it.
        held_out: About the pages it was not trained on; empty where no page is held out by all members.
        target: About the pages to predict.
        precision: Number format of all of them.
    """

    member: TrainedModel
    held_out: Mapping[str, Predictions]
    target: Mapping[str, Predictions]
    precision: str

    def merged(self, views: Sequence[str], how: Merge) -> MemberPredictions:
        """Return the predictions with the given views merged into one, which is named `merged`."""
        held_out, target = (
            {MERGED: _merged([side[name] for name in views], how, views)} if side else {}
            for side in (self.held_out, self.target)
        )
        return replace(self, held_out=held_out, target=target)


MERGED = "merged"


def predict_members(
    members: Sequence[TrainedModel],
    views: Sequence[Sequence[PageView]],
    evaluation_pages: EvaluationPages,
    *,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> list[MemberPredictions]:
    """Predict the held-out pages and the pages to predict with every member, once in each of its views.

    Raises:
        Interrupted: `stop` was set; what is finished is stored.
    """
    asked = [
        (number, view.name, split, [replace(one, view=view) for one in requests])
        for number, member in enumerate(members)
        for split, requests in _requests(member, evaluation_pages)
        for view in views[number]
    ]
    flat = [one for *_, requests in asked for one in requests]
    found = iter(get_predictions(flat, runtime_config=runtime_config, emit=emit, stop=stop))
    by_view: list[dict[str, dict[str, Predictions]]] = [{VAL: {}, TEST: {}} for _ in members]
    made: list[list[Predictions]] = [[] for _ in members]
    for number, view, split, requests in asked:
        parts = [next(found) for _ in requests]
        made[number] += parts
        by_view[number][split][view] = _calibrated(
            members[number], split, view, merge_checkpoints(members[number], split, parts)
        )
    return [
        MemberPredictions(member, own[VAL], own[TEST if evaluation_pages.split == TEST else VAL], precisions_of(parts))
        for member, own, parts in zip(members, by_view, made, strict=True)
    ]


def _requests(member: TrainedModel, evaluation_pages: EvaluationPages) -> Iterator[tuple[str, list[PredictionRequest]]]:
    if evaluation_pages.held_out is not None and len(evaluation_pages.common):
        yield VAL, requests_of(member, VAL, evaluation_pages.held_out)
    if evaluation_pages.split == TEST:
        yield TEST, requests_of(member, TEST, evaluation_pages.target)


def _calibrated(member: TrainedModel, split: str, view: str, predictions: Predictions) -> Predictions:
    # The precision is no part of what a member is: training may have stored another one for its held-out pages.
    made_by = {"checkpoint": member.key, "view": view, "data": predictions.fingerprint["data"]}
    return replace(predictions.at_temperature(member.temperature_of(split)), fingerprint=made_by)


def _merged(views: Sequence[Predictions], how: Merge, names: Sequence[str]) -> Predictions:
    log_probs = merge(np.stack([view.log_probs for view in views]), how)
    made_by = {**views[0].fingerprint, "view": fingerprint_of(how, list(names))}
    return replace(views[0], log_probs=log_probs.astype(np.float32), fingerprint=made_by, image=None, text=None)


def trained_on(members: Sequence[TrainedModel], evaluation_pages: EvaluationPages) -> np.ndarray:
    """Which target pages some member was trained on, bool [n]: by their content, whatever they are called there."""
    if evaluation_pages.split == VAL:
        return np.zeros(len(evaluation_pages.common), dtype=bool)
    known = [evaluation_pages.held_out] if evaluation_pages.held_out is not None else []
    return find_leaks(members, evaluation_pages.target.of(TEST, members[0].info.class_names), known).copies
