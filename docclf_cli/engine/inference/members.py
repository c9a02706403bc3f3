"""Members: from checkpoints and runs to what they say about a split, and to the pages they never trained on.

Nothing here imports torch; it is needed only where predictions are missing.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import load_index, load_training_index
from docclf_cli.data.index.splits import Split
from docclf_cli.data.loading.pages import NamedView
from docclf_cli.engine.checkpoints.info import CheckpointInfo, info_of
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.requests import PlainView, PredictionRequest
from docclf_cli.ensembling.merging import merge
from docclf_cli.errors import CheckpointError, InputError
from docclf_cli.events import Emit, silent
from docclf_cli.files import fingerprint_of, write_json
from docclf_cli.profile.paths import absolute_data
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag

Use = Literal["best", "folds", "snapshots"]
SPLITS = ("train", "val", "test")
VAL, TEST = "val", "test"
_FILES = ("groups", "relabel", "val")  # of a data section, besides the pages
_FOLD = re.compile(r"fold-\d+")
logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class Member:
    """What predicts as one: a checkpoint, or all folds of a run.

    Attributes:
        name: Label in tables.
        path: Checkpoint file, or the folder of a folds run.
        checkpoints: Its checkpoint; of a folds run one per fold that was trained.
        weight: As listed.
    """

    name: str
    path: Path
    checkpoints: tuple[CheckpointInfo, ...]
    weight: float = 1.0

    @property
    def is_folds(self) -> bool:
        """Whether it is a folds run."""
        return self.path.is_dir()

    @property
    def info(self) -> CheckpointInfo:
        """Of the checkpoint; of a folds run of its first, with which the others share all but weights and temperature."""
        return self.checkpoints[0]

    @property
    def temperature(self) -> float:
        """Divides the logits that new pages get; of a folds run those of the mean of its folds, as training stored it.

        A folds run without one (of an earlier docclf) has the geometric mean of its folds' own.
        """
        return self._temperatures[0]

    def temperature_of(self, split: str) -> float:
        """The same for a split: held-out pages of a folds run are read by single folds, which have one of their own."""
        return self._temperatures[1 if split == VAL else 0]

    @cached_property
    def _temperatures(self) -> tuple[float, float]:
        """Of new pages, and of held-out pages."""
        if len(self.checkpoints) > 1 and (stored := _stored_temperatures(self)) is not None:
            return stored
        mean = float(np.exp(np.mean([np.log(info.temperature) for info in self.checkpoints])))
        return mean, mean

    @cached_property
    def key(self) -> str:
        """The same for the same checkpoints, whatever they are called."""
        return fingerprint_of([info.sha256 for info in self.checkpoints])

    @property
    def folder(self) -> Path:
        """Where what commands derive from it goes."""
        return self.path if self.is_folds else self.path.parent


def member_at(path: Path, *, name: str | None = None, weight: float = 1.0) -> Member:
    """The member a user means: a checkpoint file, a run by its best checkpoint, or a folds run as one member.

    Raises:
        CheckpointError: There is no such file, or no checkpoint in the folder.
    """
    if not path.is_dir():
        return Member(name or _label(path), path, (info_of(path),), weight)
    if (best := RunFolder(path).best).is_file():
        _say_unfinished(path)
        return Member(name or path.name, best, (info_of(best),), weight)
    if folds := fold_checkpoints(path):
        _say_unfinished(path)
        return Member(name or path.name, path, tuple(info_of(fold) for fold in folds), weight)
    if path.exists():
        raise CheckpointError(
            f"{path}: no best.ckpt in this folder", "name a checkpoint file, or the folder of a finished run"
        )
    raise CheckpointError(f"{path}: there is no such checkpoint")


def members_at(path: Path, use: Use, *, name: str | None = None, weight: float = 1.0) -> list[Member]:
    """The members that a run gives: one, or one for each snapshot; these share the weight.

    Raises:
        CheckpointError: The run has no such checkpoints.
    """
    if use == "snapshots":
        found = RunFolder(path).snapshots()
        if not found:
            raise CheckpointError(f"{path}: no snapshots in this run", "train with --set train.snapshots.keep=cycle")
        label = name or path.name
        return [Member(f"{label} {file.stem}", file, (info_of(file),), weight / len(found)) for file in found]
    if use == "folds" and not fold_checkpoints(path):
        raise CheckpointError(f"{path}: no folds in this run", "train with --folds 5, or say `use: best`")
    return [member_at(path, name=name, weight=weight)]


def fold_checkpoints(run: Path) -> list[Path]:
    """The best checkpoint of each fold that was trained, by fold."""
    found = [path for path in run.glob("fold-*/best.ckpt") if _FOLD.fullmatch(path.parent.name)]
    return sorted(found, key=lambda path: int(path.parent.name.removeprefix("fold-")))


def store_temperatures(run: RunFolder, folds: Sequence[RunFolder], *, mean_of_folds: float, out_of_fold: float) -> None:
    """Keep the temperatures of some folds in the folder of their run: of their mean, and of each by itself."""
    member = Member(run.path.name, run.path, tuple(info_of(fold.best) for fold in folds))
    found = {"mean_of_folds": mean_of_folds, "out_of_fold": out_of_fold, "checkpoints": member.key}
    write_json(run.temperature, found)


def _stored_temperatures(member: Member) -> tuple[float, float] | None:
    """What `store_temperatures` kept for exactly these folds; None where it is missing or damaged."""
    try:
        content = json.loads(RunFolder(member.path).temperature.read_text(encoding="utf-8"))
        found = float(content["mean_of_folds"]), float(content["out_of_fold"])
        return found if content["checkpoints"] == member.key and min(found) > 0 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def folds_as_members(member: Member) -> list[Member]:
    """Each fold of a folds run as a member of its own."""
    return [Member(info.path.parent.name, info.path, (info,)) for info in member.checkpoints]


def predictions_of(
    member: Member,
    split: str,
    *,
    data: DataConfig | None = None,
    view: NamedView | None = None,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> Predictions:
    """What a member says about a split of its data, or of other data; log-probabilities are uncalibrated.

    For a folds run `val` is out-of-fold (each page by the fold that did not train on it), `test` the mean of its folds.

    Args:
        member: `member_at`.
        split: `train` or `val` of the member's run, or `test`.
        data: Other pages (`data_of`); None is what it was trained on.
        view: How pages are looked at; called with rows of the split's index.
        runtime_config: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: There is no such split.
        Interrupted: `stop` was set.
    """
    requests = requests_of(member, split, Indices(data or member.info.data), view)
    found = get_predictions(requests, runtime_config=runtime_config, emit=emit, stop=stop)
    return merge_checkpoints(member, split, found)


def requests_of(member: Member, split: str, indices: Indices, view: NamedView | None = None) -> list[PredictionRequest]:
    """What must be asked for: one want for each checkpoint of a member; `merge_checkpoints` makes one of the answers."""
    requests = []
    for info in member.checkpoints:
        index = indices.of("test" if split == "test" else "train", info.class_names)
        rows = np.arange(len(index)) if split == "test" else split_rows(info, index, split)
        requests.append(PredictionRequest(info, index, rows, split, indices.config, view or PlainView()))
    return requests


def merge_checkpoints(member: Member, split: str, found: Sequence[Predictions]) -> Predictions:
    """The answers of a member's checkpoints as the member's: pooled out-of-fold, or the mean of the folds."""
    if len(found) == 1:
        return found[0]
    made_by = {
        **found[0].fingerprint,
        "checkpoint": member.key,
        "data": fingerprint_of([_data(one) for one in found]),
        "precision": precisions_of(found),
    }
    if split == "test":
        log_probs = merge(np.stack([one.log_probs for one in found])).astype(np.float32)
        return replace(found[0], log_probs=log_probs, fingerprint=made_by)
    return replace(pooled(found), fingerprint=made_by)


def precisions_of(found: Sequence[Predictions]) -> str:
    """The number format that predictions were made in, as text; each where they differ."""
    return ", ".join(sorted({one.fingerprint.get("precision", "unknown") for one in found}))


def pooled(parts: Sequence[Predictions], order: np.ndarray | None = None) -> Predictions:
    """Predictions for disjoint sets of pages as one.

    Args:
        parts: Of the same classes.
        order: IDs in the order wanted; pages in no part are left out. By default part after part.
    """
    first = parts[0]

    def column(name: str) -> np.ndarray | None:
        return None if getattr(first, name) is None else np.concatenate([getattr(part, name) for part in parts])

    columns: dict[str, Any] = {name: column(name) for name in ("ids", "log_probs", "targets", "groups", "status")}
    together = replace(first, **columns)
    if order is None:
        return together
    place = {name: row for row, name in enumerate(together.ids.tolist())}
    return together.take([place[name] for name in order.tolist() if name in place])


class Indices:
    """The pages of a data section, read once for each split and order of classes.

    Args:
        config: The data section.
    """

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self._read: dict[tuple[str, tuple[str, ...]], DocumentIndex] = {}

    def of(self, split: Literal["train", "test"], class_names: tuple[str, ...]) -> DocumentIndex:
        """All pages that a run trains and validates on, or the test pages; targets follow `class_names`.

        Raises:
            InputError: The data is missing or faulty.
        """
        if (split, class_names) not in self._read:
            require_known_place(self.config)
            if split == "train":
                self._read[split, class_names] = load_training_index(self.config, class_names)[0]
            else:
                # Groups are those of training pages.
                alone = self.config.model_copy(update={"groups": None})
                self._read[split, class_names] = load_index(alone, "test", class_names)
        return self._read[split, class_names]


def is_at_hand(config: DataConfig) -> bool:
    """Whether there is anything where a data section says that pages are."""
    return is_placed(config) and (config.root == "samples" or Path(config.root).exists())


def is_placed(config: DataConfig) -> bool:
    """Whether a data section says where pages are, not only relative to some folder."""
    return config.root == "samples" or Path(config.root).is_absolute()


def require_known_place(config: DataConfig) -> None:
    """Refuse to guess where pages are from the folder that a command is started in.

    Raises:
        InputError: The root is relative: an earlier docclf kept it as it was typed, and it was not found again.
    """
    if not is_placed(config):
        raise InputError(
            f"the data is '{config.root}', a relative path, and the run does not say relative to which folder",
            f"name the pages with --data, such as --data {config.root}",
        )


def data_of(trained_on: DataConfig, root: str, images: str | None = None, split: str = TEST) -> DataConfig:
    """A data section for other pages, read as the training pages were; or for the training pages in another place.

    Args:
        trained_on: The data section of a run.
        root: Where the pages are.
        images: Folder of the images of a CSV.
        split: `train` and `val` mean the run's own pages, whose root has moved: its groups, corrected labels and
            validation set stay, and those that lay below the old root are looked for below the new one.
    """
    there = absolute_data(trained_on.model_copy(update={"root": root, "images": images}))
    if split != TEST:
        return there.model_copy(update={key: _moved(trained_on, there, key) for key in _FILES})
    # Files that belong to the training data say nothing about other pages.
    return there.model_copy(update={**dict.fromkeys(_FILES), "limit": None})


def _moved(trained_on: DataConfig, there: DataConfig, key: str) -> str | None:
    """A file of the training data where it is now; None where there is none, which is said."""
    file, root = getattr(trained_on, key), Path(trained_on.root)
    if file is not None and Path(file).is_relative_to(root):
        file = str(Path(there.root) / Path(file).relative_to(root))
    if file is None or Path(file).exists():
        return file
    logger.warning("data.%s: %s does not exist and is not used", key, file)
    return None


def split_rows(info: CheckpointInfo, index: DocumentIndex, split: str) -> np.ndarray:
    """Rows of a run's training pages that a checkpoint was trained on, or that were held out from it.

    Raises:
        InputError: The split is not known, or the checkpoint is a refit, from which nothing was held out.
    """
    if split not in SPLITS:
        raise InputError(f"--split: '{split}' is not one of {', '.join(SPLITS)}")
    file, part = _stored_split(info.path)
    if file is None:
        raise InputError(
            f"{info.path.parent}: no split.csv beside the checkpoint, so its {split} pages are not known",
            "score --split test",
        )
    if info.saw_all:
        raise InputError(
            f"{info.path} was refitted on all pages, so none is held out", "score --split test, or take best.ckpt"
        )
    stored = Split.load(file)
    if part == VAL or split == VAL:
        return stored.rows(index, part if split == VAL else split)
    others = [stored.rows(index, name) for name in stored.names if name != part]
    return np.sort(np.concatenate(others))


def trained_ids(member: Member) -> np.ndarray:
    """IDs of the pages that a member was trained on, text [n]; empty where its split is not known."""
    seen = [np.empty(0, np.str_)]
    for info in member.checkpoints:
        file, part = _stored_split(info.path)
        if file is not None:
            stored = Split.load(file)
            seen.append(stored.ids[(stored.parts != part) | info.saw_all].astype(np.str_))
    return np.unique(np.concatenate(seen))


def _stored_split(checkpoint: Path) -> tuple[Path | None, str]:
    """The split file of a checkpoint's run, and what it calls the pages that this checkpoint does not know."""
    folder = checkpoint.parent.parent if checkpoint.parent.name == "snapshots" else checkpoint.parent
    if (own := RunFolder(folder).split).is_file():
        return own, VAL
    if _FOLD.fullmatch(folder.name) and (of_run := RunFolder(folder.parent).split).is_file():
        return of_run, folder.name
    return None, VAL


def _label(checkpoint: Path) -> str:
    stem = checkpoint.stem
    return checkpoint.parent.name if stem == "best" and checkpoint.parent.name else stem


def _data(predictions: Predictions) -> str:
    return predictions.fingerprint["data"]


def _say_unfinished(run: Path) -> None:
    folder = RunFolder(run)
    if folder.state.is_file() and not folder.finished:
        logger.warning("%s is not finished: its best checkpoint so far is used", run)
