"""Load the index of a split from the data section of a profile, with its corrections and groups applied."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from docclf_cli.data.index.added import added_rows, with_added
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.file_pages import kept_together, with_pages
from docclf_cli.data.index.labels import Classes, read_meta
from docclf_cli.data.index.layouts import QUICKSTART, SUBMISSION, Listing, has_split, read_listing
from docclf_cli.data.index.overlays import grouped, relabelled, rows_named, with_groups
from docclf_cli.data.index.tables import SHOWN, examples, read_table
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.text import and_more, composed, plural
from docclf_cli.user_folders import user_path

if TYPE_CHECKING:
    from docclf_cli.profile.schema import DataConfig

__all__ = [
    "DocumentIndex", "has_own_validation", "load_index", "load_training_index", "names_split", "resolve_root",
    "submission_ids", "submission_targets",
]  # fmt: skip

Split = Literal["train", "val", "test"]
logger = logging.getLogger("docclf")


def load_index(config: DataConfig, split: Split, class_names: Sequence[str] | None = None) -> DocumentIndex:
    """The pages of a split.

    A data root that names no splits (a CSV, class folders, a folder of images) is read whole for `train` and
    for `test`: whether pages were trained on is known from the run's stored split, not from here.

    Args:
        config: The data section.
        split: `train`; `test`; or `val`: a separate validation set (`data.val`, `val.csv`, `val/`).
        class_names: The class axis of a model; labels are mapped to it by name. By default the data's own.

    Raises:
        InputError: The data is missing or faulty; the message names files, rows and counts.
    """
    index, source = _read(config, split, class_names)
    index = _overlaid(index, config, (split,))
    if split == "train":
        _check_trainable(index, source)
    return index


@dataclass(frozen=True, eq=False)
class TrainingPages:
    """All pages to train and validate on.

    Attributes:
        index: The pages: those of the data, those that `data.add` adds, and a validation set of one's own.
        own_val: How many, at the end, are a validation set of their own.
        base: The pages of the data alone, with the labels they have without `data.add`: they decide the split.
        added: Rows of the added pages, int64 [n].
    """

    index: DocumentIndex
    own_val: int
    base: DocumentIndex
    added: np.ndarray

    @property
    def base_rows(self) -> np.ndarray:
        """The row of each page of the data in `index`, int64 [n]."""
        return np.setdiff1d(np.arange(len(self.index)), self.added)


def load_training_pages(config: DataConfig, class_names: Sequence[str] | None = None) -> TrainingPages:
    """All pages to train and validate on, and which of them were added later.

    Raises:
        InputError: As for `load_index`.
    """
    if has_own_validation(config):
        train, source = _read(config, "train", class_names)
        val, _ = _read(config, "val", train.class_names)
        base = _overlaid(train.joined(val), config, ("train", "val"))
        _check_trainable(base.take(np.arange(len(train))), source)
        own_val = len(val)
    else:
        base, own_val = load_index(config, "train", class_names), 0
    if config.exclude is not None:
        base, own_val = _without_excluded(base, own_val, config)
    if not config.add:
        return TrainingPages(base, own_val, base, np.empty(0, np.int64))
    files = [user_path(path) for path in config.add]
    index = with_added(base, own_val, files, may_add_classes=class_names is None)
    return TrainingPages(index, own_val, base, added_rows(base, own_val, index))


def _without_excluded(base: DocumentIndex, own_val: int, config: DataConfig) -> tuple[DocumentIndex, int]:
    """The pages without those of `data.exclude`, and how many of a validation set of its own are left.

    Raises:
        InputError: The file names a page that is not there, or leaves too little to train on.
    """
    path = _named_file(config, "exclude")
    table = read_table(path)
    named = rows_named(table, base, ("train", "val"))
    if missing := [record for record, rows in enumerate(named) if not rows]:
        what = plural(len(missing), "ID is", "IDs are")
        raise InputError(f"{path}: {what} not among the training pages: {examples(table['ID'], missing)}")
    kept = np.ones(len(base), dtype=bool)
    kept[[row for rows in named for row in rows]] = False
    if (np.bincount(base.labels[kept], minlength=1) > 0).sum() < 2:
        raise InputError(f"{path} leaves pages of fewer than two classes", "training needs at least two")
    return base.take(kept), int(kept[len(base) - own_val :].sum()) if own_val else 0


def load_training_index(config: DataConfig, class_names: Sequence[str] | None = None) -> tuple[DocumentIndex, int]:
    """All pages to train and validate on, and how many of them, at the end, are a validation set of their own.

    Raises:
        InputError: As for `load_index`.
    """
    pages = load_training_pages(config, class_names)
    return pages.index, pages.own_val


def resolve_root(config: DataConfig, emit: Emit = silent, stop: StopFlag = NEVER) -> Path:
    """The data root as a path; `samples` are drawn first where they are not there yet."""
    if config.root == "samples":
        from docclf_cli.data.samples.samples import samples_root

        return samples_root(emit, stop)
    return user_path(config.root)


def names_split(config: DataConfig, split: Split) -> bool:
    """Whether the data root has a file or folder of its own for this split."""
    return has_split(resolve_root(config), split)


def has_own_validation(config: DataConfig) -> bool:
    """Whether there is a separate validation set, so that no training pages are held out."""
    return config.val is not None or names_split(config, "val")


def submission_ids(config: DataConfig) -> np.ndarray | None:
    """The IDs of `sample_submission.csv` in its order, text [n]; None where there is no such file."""
    path = resolve_root(config) / SUBMISSION
    return read_table(path)[config.image_column] if path.is_file() else None


def submission_targets(config: DataConfig, class_names: Sequence[str]) -> dict[str, str]:
    """The target of each class in a submission: its number in `meta.csv`, or its name where there is no such file.

    Raises:
        InputError: `meta.csv` does not know a class.
    """
    path = resolve_root(config) / "meta.csv"
    if not path.is_file():
        return {name: name for name in class_names}
    numbers = {name: str(number) for number, name in enumerate(read_meta(path).names)}
    if unknown := [name for name in class_names if name not in numbers]:
        raise InputError(
            f"{path} does not know the class {and_more(unknown[:SHOWN], len(unknown))}",
            and_more(list(numbers)[:30], len(numbers)),
        )
    return {name: numbers[name] for name in class_names}


def _read(config: DataConfig, split: Split, class_names: Sequence[str] | None) -> tuple[DocumentIndex, Path]:
    """The pages of a split without corrections, and the CSV file or folder that lists them."""
    root = resolve_root(config)
    if split != "val":
        listing = read_listing(root, split, config)
    elif config.val is not None:
        listing = read_listing(user_path(config.val), "val", config.model_copy(update={"images": None}))
    elif has_split(root, "val"):
        listing = read_listing(root, "val", config)
    else:
        raise InputError(
            f"{root} has no validation set of its own", "pages are held out of train, or name one: data.val"
        )
    return _index_of(listing, config, root, split, class_names), listing.source


def _index_of(
    listing: Listing, config: DataConfig, root: Path, split: Split, class_names: Sequence[str] | None
) -> DocumentIndex:
    classes = _classes(listing, config, root, split, class_names)
    targets = None
    if listing.labels is not None:
        targets = classes.encode(listing.labels)
        if faults := classes.faults(listing.labels, targets):
            raise InputError(f"{listing.source}: {'; '.join(faults)}", classes.hint(listing.labels, targets))
    index = DocumentIndex(
        listing.root, listing.ids, listing.files, targets, classes.names, below=listing.below, left_out=listing.left_out
    )
    index, rows = with_pages(index, listing.source, config, listing.named)
    _refuse_one_name_twice(index.ids, listing.source)
    return index if listing.groups is None else with_groups(index, listing.groups[rows])


def _refuse_one_name_twice(ids: np.ndarray, source: Path) -> None:
    if all(map(str.isascii, ids)):
        return
    names, counts = np.unique(np.array([composed(name) for name in ids], np.str_), return_counts=True)
    if (counts > 1).any():
        raise InputError(
            f"{source}: {str(names[counts.argmax()])!r} is one name, written composed and decomposed, for two pages",
            "rename one of them",
        )


def _classes(
    listing: Listing, config: DataConfig, root: Path, split: Split, class_names: Sequence[str] | None
) -> Classes:
    own = read_meta(listing.meta) if listing.meta is not None else None
    if own is None and split == "val" and config.val is not None and listing.source.is_file():
        own = _own_classes(config)  # it is a part of the same data, wherever it lies
    folder = root if root.is_dir() else root.parent
    shares_meta = listing.meta is not None and listing.meta.parent == folder
    if class_names is None and listing.labels is not None and not shares_meta:
        class_names = _training_names(config, root, split)
    if own is not None:
        return own.onto(class_names) if class_names else own
    if class_names:
        return Classes.of_names(class_names)
    if listing.labels is None:
        return Classes((), {})
    import pandas as pd

    return Classes.of_labels(list(pd.unique(listing.labels)))


def _training_names(config: DataConfig, root: Path, split: Split) -> Sequence[str] | None:
    if split == "train" or (split == "test" and not has_split(root, "train")):
        return None
    return _classes(read_listing(root, "train", config), config, root, "train", None).names


def _own_classes(config: DataConfig) -> Classes | None:
    """The classes of the `meta.csv` of a data root, where there is one."""
    root = resolve_root(config)
    path = (root if root.is_dir() else root.parent) / "meta.csv"
    return read_meta(path) if path.is_file() else None


def _overlaid(index: DocumentIndex, config: DataConfig, splits: Sequence[Split]) -> DocumentIndex:
    if config.relabel is not None:
        index = _relabelled(index, config, splits)
    if config.groups is not None:
        index = grouped(index, _named_file(config, "groups"), splits)
    return kept_together(index)


def _relabelled(index: DocumentIndex, config: DataConfig, splits: Sequence[Split]) -> DocumentIndex:
    own = _own_classes(config)
    knows_all = own is not None and set(own.names).issuperset(index.class_names)
    classes = own.onto(index.class_names) if own is not None and knows_all else Classes.of_names(index.class_names)
    # Corrections are about training pages; a test page of the same name is called `test/NAME`.
    elsewhere = _training_ids(config) if "test" in splits and names_split(config, "test") else ()
    return relabelled(index, _named_file(config, "relabel"), classes, splits, elsewhere)


def _training_ids(config: DataConfig) -> set[str]:
    plain = config.model_copy(update={"relabel": None, "groups": None})
    if not names_split(config, "train"):
        return set()
    index = load_training_index(plain)[0]
    return {*index.row_of, *index.rows_of_document}


def _named_file(config: DataConfig, key: str) -> Path:
    path = user_path(getattr(config, key))
    if not path.exists() and (beside := resolve_root(config) / path).exists():
        raise InputError(f"data.{key}: there is no file {path}", f"did you mean {beside}?")
    return path


def _check_trainable(index: DocumentIndex, source: Path) -> None:
    if index.targets is None:
        raise InputError(f"{source} holds images but no labels", f"put them into a folder per class; {QUICKSTART}")
    counts = index.counts()
    if (counts > 0).sum() < 2:
        only = index.class_names[int(counts.argmax())]
        raise InputError(f"{source}: all {len(index)} pages are of one class ({only})", "training needs at least two")
    if (counts == 0).any():
        empty = [name for name, count in zip(index.class_names, counts, strict=True) if not count]
        logger.warning("%s: no page of class %s", source, and_more(empty[:SHOWN], len(empty)))
