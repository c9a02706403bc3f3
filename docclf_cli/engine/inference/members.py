"""Finds the pages of a member's splits, and merges the predictions of its checkpoints.

Nothing here imports torch; it is needed only where predictions are missing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
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
from docclf_cli.engine.inference.requests import AS_IT_IS, PredictionRequest
from docclf_cli.engine.inference.store import PLAIN, stored_prefix
from docclf_cli.engine.inference.trained_model import FOLD, TEST, VAL, TrainedModel
from docclf_cli.ensembling.merging import merge
from docclf_cli.errors import InputError
from docclf_cli.files import fingerprint_of
from docclf_cli.profile.paths import absolute_data
from docclf_cli.profile.schema import DataConfig
from docclf_cli.results.predictions import Predictions

SPLITS = ("train", "val", "test")
_FILES = ("groups", "relabel", "exclude", "val")  # of a data section, besides the pages
logger = logging.getLogger("docclf")


def requests_of(
    member: TrainedModel, split: str, indices: Indices, view: NamedView | None = None
) -> list[PredictionRequest]:
    """Request predictions of a split from each checkpoint of a member; `merge_checkpoints` merges what comes back."""
    requests = []
    for info in member.checkpoints:
        index = indices.of("test" if split == "test" else "train", info.class_names)
        rows = np.arange(len(index)) if split == "test" else split_rows(info, index, split)
        requests.append(PredictionRequest(info, index, rows, split, indices.config, view or AS_IT_IS))
    return requests


def merge_checkpoints(member: TrainedModel, split: str, found: Sequence[Predictions]) -> Predictions:
    """Merge the predictions of a member's checkpoints: pooled out-of-fold, or the mean of the folds."""
    if len(found) == 1:
        return found[0]
    made_by = {
        **found[0].fingerprint,
        "checkpoint": member.key,
        "data": fingerprint_of([one.fingerprint["data"] for one in found]),
        "precision": precisions_of(found),
    }
    if split == "test":
        sides: dict[str, Any] = {}
        for name in ("log_probs", "image", "text"):
            several = [getattr(one, name) for one in found]
            there = all(side is not None for side in several)
            sides[name] = merge(np.stack(several)).astype(np.float32) if there else None
        return replace(found[0], fingerprint=made_by, **sides)
    return replace(pooled(found), fingerprint=made_by)


def precisions_of(found: Sequence[Predictions]) -> str:
    """The number format that predictions were made in; several, joined by commas, if they differ."""
    return ", ".join(sorted({one.fingerprint.get("precision", "unknown") for one in found}))


def pooled(parts: Sequence[Predictions], order: np.ndarray | None = None) -> Predictions:
    """Join predictions for disjoint sets of pages.

    Args:
        parts: Of the same classes.
        order: IDs in the order wanted; pages in no part are left out. By default part after part.
    """
    first = parts[0]

    def column(name: str) -> np.ndarray | None:
        several = [getattr(part, name) for part in parts]
        if name in ("image", "text") and any(one is not None for one in several):  # some folds may have left text off
            several = [_side(part, name) for part in parts]
        return None if several[0] is None else np.concatenate(several)

    names = ("ids", "log_probs", "targets", "groups", "status", "image", "text")
    columns: dict[str, Any] = {name: column(name) for name in names}
    together = replace(first, **columns)
    if order is None:
        return together
    place = {name: row for row, name in enumerate(together.ids.tolist())}
    return together.take([place[name] for name in order.tolist() if name in place])


def _side(part: Predictions, name: str) -> np.ndarray:
    """What image or text alone say; a fold that left text off has its image, and no page with text."""
    side = getattr(part, name)
    if side is not None:
        return np.asarray(side)
    return part.log_probs if name == "image" else np.full_like(part.log_probs, np.nan)


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
    """Whether the files of a data section exist."""
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


def stored_predictions(member: TrainedModel, split: str, view: str = PLAIN) -> Predictions | None:
    """The newest stored predictions of a member for the pages of a split in a view; None unless all checkpoints have some.

    Those in the number format that a checkpoint is to predict with come first; others are named.
    """
    found = [next(_stored(info, split, view), None) for info in member.checkpoints]
    complete = [one for one in found if one is not None]
    return merge_checkpoints(member, split, complete) if len(complete) == len(found) else None


def _stored(info: CheckpointInfo, split: str, view: str) -> Iterator[Predictions]:
    files = (info.path.parent / "predictions").glob(f"{stored_prefix(split, view)}-*.npz")
    others = []
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            found = Predictions.load(path)
        except InputError as error:
            logger.warning("%s", error.message)
            continue
        if (found.fingerprint.get("checkpoint"), found.fingerprint.get("view")) != (info.sha256, view):
            continue
        if found.fingerprint.get("precision") == info.precision:
            yield found
        else:
            others.append((path, found))
    for path, found in others:
        logger.warning(
            "%s was computed in %s, and this checkpoint predicts in %s",
            path,
            found.fingerprint.get("precision"),
            info.precision,
        )
        yield found
