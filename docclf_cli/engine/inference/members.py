"""Members: from checkpoints and runs to what they say about a split, and to the pages they never trained on.

Nothing here imports torch; it is needed only where predictions are missing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import load_index, load_training_index
from docclf_cli.data.index.splits import ADDED, Split
from docclf_cli.data.loading.pages import NamedView
from docclf_cli.engine.checkpoints.info import CheckpointInfo
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.requests import AS_IT_IS, PredictionRequest
from docclf_cli.engine.inference.trained_model import FOLD, TEST, VAL, TrainedModel
from docclf_cli.ensembling.merging import merge
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.files import fingerprint_of
from docclf_cli.profile.paths import absolute_data
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag

SPLITS = ("train", "val", "test")
_FILES = ("groups", "relabel", "val")  # of a data section, besides the pages
logger = logging.getLogger("docclf")


def predictions_of(
    member: TrainedModel,
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
        member: `TrainedModel.load`.
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


def requests_of(
    member: TrainedModel, split: str, indices: Indices, view: NamedView | None = None
) -> list[PredictionRequest]:
    """What must be asked for: one want for each checkpoint of a member; `merge_checkpoints` makes one of the answers."""
    requests = []
    for info in member.checkpoints:
        index = indices.of("test" if split == "test" else "train", info.class_names)
        rows = np.arange(len(index)) if split == "test" else split_rows(info, index, split)
        requests.append(PredictionRequest(info, index, rows, split, indices.config, view or AS_IT_IS))
    return requests


def merge_checkpoints(member: TrainedModel, split: str, found: Sequence[Predictions]) -> Predictions:
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
    return there.model_copy(update={**dict.fromkeys(_FILES), "add": (), "limit": None})


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
    others = [stored.rows(index, name) for name in stored.names if name not in (part, ADDED)]
    return np.sort(np.concatenate(others))


def trained_ids(member: TrainedModel) -> np.ndarray:
    """IDs of the pages that a member was trained on, text [n]; empty where its split is not known."""
    seen = [np.empty(0, np.str_)]
    for info in member.checkpoints:
        file, part = _stored_split(info.path)
        if file is not None:
            stored = Split.load(file)
            trained = (stored.parts != part) | info.saw_all
            seen.append(stored.ids[trained & (stored.parts != ADDED)].astype(np.str_))
    return np.unique(np.concatenate(seen))


def _stored_split(checkpoint: Path) -> tuple[Path | None, str]:
    """The split file of a checkpoint's run, and what it calls the pages that this checkpoint does not know."""
    folder = checkpoint.parent.parent if checkpoint.parent.name == "snapshots" else checkpoint.parent
    if (own := RunFolder(folder).split).is_file():
        return own, VAL
    if FOLD.fullmatch(folder.name) and (of_run := RunFolder(folder.parent).split).is_file():
        return of_run, folder.name
    return None, VAL


def _data(predictions: Predictions) -> str:
    return predictions.fingerprint["data"]
