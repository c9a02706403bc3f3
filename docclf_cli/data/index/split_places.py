"""What a data root calls its splits: `train`, `val`, `test` and their usual other names, in any case."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from docclf_cli.data.index.folders import is_passed_over, subfolders
from docclf_cli.errors import InputError

TRAIN = "train"
SUBMISSION = "sample_submission.csv"
SPLITS = (TRAIN, "val", "test")
_SPLIT_OF = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class SplitPlaces:
    """Where the splits of a data root are.

    Attributes:
        folders: Name of the folder by split.
        tables: Name of the CSV file by split.
        beside: Visible folders beside those of a folder tree, which are part of no split.
    """

    folders: Mapping[str, str]
    tables: Mapping[str, str]
    beside: tuple[str, ...] = ()


def split_places(root: Path) -> SplitPlaces:
    """The folders and CSV files of a data root that are named as splits.

    A folder named otherwise than `train`, `val` or `test` could be a class as well (`training`, `dev`). It is a split
    where training pages lie in class folders below one of its kind, or where there are no other folders.

    Raises:
        InputError: Two folders or files name one split, or the root cannot be listed.
    """
    try:
        with os.scandir(root) as scanned:
            entries = [entry for entry in scanned if not is_passed_over(entry.name)]
            folders = sorted(entry.name for entry in entries if entry.is_dir())
            tables = sorted(e.name for e in entries if PurePath(e.name).suffix.lower() == ".csv" and e.is_file())
    except OSError as error:
        raise InputError(f"{root} cannot be listed: {error.strerror}") from error
    of_tables = _one_each(root, _by_split(tables), "")
    if TRAIN not in of_tables and not any(f"{split}.csv" in tables for split in SPLITS):
        of_tables = {}
    named = _one_each(root, _by_split(folders), "/")
    if not of_tables and SUBMISSION not in tables and not _are_splits(root, folders, named):
        named = {}
    beside = tuple(name for name in folders if name not in named.values()) if named else ()
    return SplitPlaces(named, of_tables, beside)


def _by_split(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if (split := _SPLIT_OF.get(PurePath(name).stem.casefold())) is not None:
            found[split].append(name)
    return found


def _one_each(root: Path, named: Mapping[str, list[str]], mark: str) -> dict[str, str]:
    """The one name of each split: `train`, `val`, `test` themselves go before all others."""
    found = {}
    for split, names in named.items():
        own = [name for name in names if PurePath(name).stem == split]
        if len(own or names) > 1:
            both = " and ".join(f"{name}{mark}" for name in names)
            raise InputError(f"{root}: {both} both name the {split} split", "rename or move one of them")
        found[split] = (own or names)[0]
    return found


def _are_splits(root: Path, folders: list[str], named: Mapping[str, str]) -> bool:
    if any(split in folders for split in SPLITS):
        return True
    if TRAIN in named and subfolders(root / named[TRAIN]):
        return True
    return set(folders) == set(named.values()) and any(subfolders(root / name) for name in folders)
