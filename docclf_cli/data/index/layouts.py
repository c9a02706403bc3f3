"""The three layouts of a data root, each read into a `Listing` whose labels are still text.

- competition: `train.csv` and `train/`, `test.csv` or `sample_submission.csv` and `test/`, `meta.csv`
- folder tree: `train/ val/ test/` (or their other names, `split_places`) with class folders inside, or class folders alone
- CSV: any file with named columns, its images in the folder of the same stem
"""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from docclf_cli.data.images.page_files import PAGE_SUFFIXES
from docclf_cli.data.index.file_pages import named_pages
from docclf_cli.data.index.folders import (
    ambiguous,
    holds_each_once,
    image_files,
    is_skipped,
    locate,
    subfolders,
    unsafe,
    walk,
)
from docclf_cli.data.index.left_out import UNLISTED, LeftOut
from docclf_cli.data.index.tables import SHOWN, Table, examples, read_table, row_number
from docclf_cli.errors import InputError
from docclf_cli.page_ids import is_paged, page_id
from docclf_cli.registry import did_you_mean
from docclf_cli.text import and_more, normalised, plural
from docclf_cli.user_folders import user_path

if TYPE_CHECKING:
    from docclf_cli.profile.schema import DataConfig

logger = logging.getLogger("docclf")
_ADDRESS = re.compile(r"(s3|gs|https?|ftp):/")  # of two slashes `Path` keeps one
NO_TABLES = (*PAGE_SUFFIXES, ".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
QUICKSTART = "to try docclf without data of your own: docclf train --profile quickstart --data samples"


@dataclass(frozen=True, eq=False)
class Listing:
    """The pages of one split as the layout lists them.

    Attributes:
        source: The CSV file or folder, for messages.
        root: Folder that no page may leave.
        below: Folder of the images, relative to `root`; empty where they lie in it.
        ids: Object array of `str` [n].
        files: Object array of `str` [n], relative to `below`.
        labels: Label texts, an object array of `str` [n], or None.
        groups: Group names, an object array of `str` [n], or None.
        meta: The `meta.csv` that names the classes, where there is one.
        left_out: What lies in the folders and is no page.
        named: Page of the file that the table names, counted from 1, int64 [n]; 0 for the whole file; None: nowhere.
    """

    source: Path
    root: Path
    below: str
    ids: np.ndarray
    files: np.ndarray
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    meta: Path | None = None
    left_out: LeftOut = field(default_factory=LeftOut)
    named: np.ndarray | None = None


def has_split(root: Path, split: str) -> bool:
    """Whether a data root has a file or folder of its own for this split (a single CSV or class tree has none)."""
    if not root.is_dir():
        return False
    if split == "test" and (root / SUBMISSION).is_file():
        return True
    places = split_places(root)
    return split in places.tables or split in places.folders


def read_listing(root: Path, split: str, config: DataConfig) -> Listing:
    """List the pages of a split of a data root.

    A root without splits (a CSV, class folders, a folder of images) is read whole for any split.

    Raises:
        InputError: There is no such root or split, or its CSV has faults.
    """
    if _ADDRESS.match(str(root)):
        raise InputError(
            f"{config.root}: pages are read from folders of this machine", "download them, and name the folder"
        )
    if root.is_file():
        if root.suffix.lower() in NO_TABLES:
            raise InputError(
                f"{root} is a single file and no CSV",
                "name the folder that holds a folder of pages for each class (unpack an archive first), or a CSV file",
            )
        images = user_path(config.images) if config.images else root.with_suffix("")
        return _csv_listing(root, images, config, split)
    if not root.is_dir():
        beside = [path.name for path in root.parent.iterdir()] if root.parent.is_dir() else []
        raise InputError(
            f"{root}: there is no such data root{did_you_mean(root.name, beside)} (a folder or CSV file; --data names one)",
            QUICKSTART,
        )
    places = split_places(root)
    if places.tables or (root / SUBMISSION).is_file():
        return _competition_listing(root, split, config, places)
    return _tree_listing(root, split, config, places)


def _competition_listing(root: Path, split: str, config: DataConfig, places: SplitPlaces) -> Listing:
    labelled = root / places.tables.get(split, f"{split}.csv")
    submission = root / SUBMISSION
    folder = places.folders.get(split, split)
    if split == "test" and submission.is_file() and not _has_column(labelled, config.label_column):
        # Its zeros are placeholders, not labels.
        return _csv_listing(submission, root / folder, config, split, labelled=False, root=root)
    if labelled.is_file():
        known = split != "test" or _has_column(labelled, config.label_column)
        return _csv_listing(labelled, root / folder, config, split, labelled=known, root=root)
    if split == "test" and (root / folder).is_dir():
        return _unlabelled_folder(root, folder, config)
    beside = f", and the images in {folder}/ have no labels without it" if (root / folder).is_dir() else ""
    raise InputError(f"{root} has no {split}.csv{beside}", f"it has: {_content(root)}")


def _has_column(path: Path, column: str) -> bool:
    return path.is_file() and column in read_table(path).columns


def _csv_listing(
    path: Path, images: Path, config: DataConfig, split: str, *, labelled: bool = True, root: Path | None = None
) -> Listing:
    table = read_table(path)
    ids = table[config.image_column]
    labels = table[config.label_column] if labelled else None
    names, named = named_pages(table, ids, config.page_column)
    if named is None:
        files = ids if holds_each_once(images, ids) else _found(table, ids, ids, labels, images)
    else:
        files = _found(table, _page_keys(names, named), names, labels, images)
        one_page = np.array([not is_paged(name) for name in files.tolist()])
        if (named[one_page] > 0).any():  # now that files without a suffix in their ID are known
            named[one_page] = 0
            _check_ids(table, _page_keys(names, named), labels)
    root = root or images
    below = images.relative_to(root).as_posix() if root != images else ""
    groups = _groups(table, config.group_column, split) if labelled else None
    meta = path.parent / "meta.csv"
    left_out = _beside(images, files, config.allow_symlinks)
    return Listing(path, root, below, names, files, labels, groups, meta if meta.is_file() else None, left_out, named)


def _beside(images: Path, files: np.ndarray, follow_links: bool) -> LeftOut:
    """What lies in the folder of a table's images and is none of them."""
    left_out, listed = LeftOut(), set(files.tolist())
    try:
        exact = len(listed) == len(os.listdir(images))  # noqa: PTH208  (three times faster on a million files)
    except OSError:
        return left_out
    # The usual case, and by far the fastest: each file of the folder is a page, for none is missing.
    if not exact or any("/" in name for name in listed):
        left_out.add(UNLISTED, sum(name not in listed for name in walk(images, PAGE_SUFFIXES, follow_links, left_out)))
    return left_out


def _page_keys(names: np.ndarray, named: np.ndarray) -> np.ndarray:
    keys = names.copy()
    for row in np.flatnonzero(named).tolist():
        keys[row] = page_id(names[row], int(named[row]))
    return keys


def _groups(table: Table, column: str | None, split: str) -> np.ndarray | None:
    # Splits need to know what belongs together; for pages that are only scored they may be unknown.
    if column is None or (split == "test" and column not in table.columns):
        return None
    return table.names(column)


def _found(table: Table, ids: np.ndarray, names: np.ndarray, labels: np.ndarray | None, images: Path) -> np.ndarray:
    _check_ids(table, ids, labels)
    files, missing = locate(names, images)
    if missing:
        where = f"missing in {images}" if images.is_dir() else f"missing (there is no folder {images})"
        what = plural(len(missing), "image is", "images are")
        candidates = ambiguous(names, missing, images)
        if len(candidates) == len(missing):
            what, where = plural(len(missing), "ID fits", "IDs fit"), f"more than one image in {images}"
        shown = [f"{ids[row]!r} can be {' or '.join(files)}" for row, files in candidates.items()][:SHOWN]
        raise InputError(
            f"{table.path}: {what} {where}, of {len(ids)}: {examples(ids, missing)}",
            f"write the suffix: {and_more(shown, len(candidates))}" if candidates else "",
        )
    return files


def _check_ids(table: Table, ids: np.ndarray, labels: np.ndarray | None) -> None:
    faults = []
    if len(blank := np.flatnonzero(ids == "")):
        rows = and_more([f"row {row_number(row)}" for row in blank[:SHOWN]], len(blank))
        faults.append(f"{plural(len(blank), 'ID is', 'IDs are')} blank: {rows}")
    if escaping := unsafe(ids):
        what = plural(len(escaping), "ID is no file", "IDs are no files")
        faults.append(f"{what} below the data root: {examples(ids, escaping)}")
    faults.extend(_duplicates(ids, labels))
    if faults:
        raise InputError(f"{table.path}: {'; '.join(faults)}")


def _duplicates(ids: np.ndarray, labels: np.ndarray | None) -> list[str]:
    first: dict[str, int] = {}
    plain, conflicting = [], []
    for row, name in enumerate(ids):
        earlier = first.setdefault(name, row)
        if earlier == row or not name:
            continue
        same = labels is None or labels[earlier].strip() == labels[row].strip()
        text = f"{name!r} (rows {row_number(earlier)} and {row_number(row)}"
        if same:
            plain.append(f"{text})")
        else:
            conflicting.append(f"{text}: {labels[earlier]!r} and {labels[row]!r})")  # type: ignore[index]
    faults = []
    if conflicting:
        what = plural(len(conflicting), "ID has", "IDs have")
        faults.append(f"{what} conflicting labels: {and_more(conflicting[:SHOWN], len(conflicting))}")
    if plain:
        what = plural(len(plain), "ID appears", "IDs appear")
        faults.append(f"{what} more than once: {and_more(plain[:SHOWN], len(plain))}")
    return faults


def _tree_listing(root: Path, split: str, config: DataConfig, places: SplitPlaces) -> Listing:
    if not places.folders:
        return _class_folders(root, "", config)
    if split not in places.folders:
        raise InputError(f"{root} has no folder {split}/", f"it has: {_content(root)}")
    if split == TRAIN and places.beside:
        shown = and_more([f"{name}/" for name in places.beside[:SHOWN]], len(places.beside))
        logger.warning("%s: not used, because it is part of no split: %s", root, shown)
    return _class_folders(root, places.folders[split], config)


def _class_folders(root: Path, below: str, config: DataConfig) -> Listing:
    folder, left_out = root / below, LeftOut()
    classes, stray, files = subfolders(folder), 0, []
    for name in image_files(folder, config.allow_symlinks, left_out):
        if "/" in name:
            files.append(name)
        else:
            stray += 1
    if not files and stray:
        return _unlabelled_folder(root, below, config)
    if not files:
        raise InputError(_nothing_in(folder), QUICKSTART)
    labels = np.array([_class_of(name) for name in files], dtype=object)
    if stray:
        logger.warning("%s: %s outside of the class folders: left out", folder, plural(stray, "image", "images"))
    if empty := sorted({normalised(name) for name in classes} - set(labels)):
        logger.warning("%s: no image in %s: left out", folder, and_more(empty[:SHOWN], len(empty)))
    ids = np.array(files, dtype=object)
    return Listing(folder, root, below, ids, ids, labels, left_out=left_out)


def _class_of(file: str) -> str:
    r"""The class of an image in a class folder, as text: bytes of its name that are not UTF-8 become `\udcXX`."""
    return normalised(file.split("/", 1)[0]).encode("utf-8", "backslashreplace").decode()


def _unlabelled_folder(root: Path, below: str, config: DataConfig) -> Listing:
    folder, left_out = root / below, LeftOut()
    files = np.array(image_files(folder, config.allow_symlinks, left_out), dtype=object)
    if not len(files):
        raise InputError(_nothing_in(folder), QUICKSTART)
    return Listing(folder, root, below, files, files, left_out=left_out)


def _nothing_in(folder: Path) -> str:
    linked = any(path.is_symlink() for path in folder.iterdir())
    links = "; symbolic links are followed with --set data.allow_symlinks=true" if linked else ""
    return (
        f"{folder} holds no pages: neither train.csv (ID,target) with a folder train/, nor class folders with images "
        f"(it has: {_content(folder)}){links}"
    )


def _content(folder: Path) -> str:
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    return and_more(names[:SHOWN], len(names)) or "nothing"


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
    """The names of the folders and CSV files of the splits of a data root.

    Attributes:
        folders: Name of the folder by split.
        tables: Name of the CSV file by split.
        beside: Visible folders beside those of a folder tree, which are part of no split.
    """

    folders: Mapping[str, str]
    tables: Mapping[str, str]
    beside: tuple[str, ...] = ()


def split_places(root: Path) -> SplitPlaces:
    """Find the folders and CSV files of a data root whose names are those of splits, in any case (`Train`, `valid`, `dev`).

    A folder named otherwise than `train`, `val` or `test` could be a class as well (`training`, `dev`). It is a split
    where training pages lie in class folders below one of its kind, or where there are no other folders.

    Raises:
        InputError: Two folders or files name one split, or the root cannot be listed.
    """
    try:
        with os.scandir(root) as scanned:
            entries = [entry for entry in scanned if not is_skipped(entry.name)]
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
    """One name for each split; `train`, `val`, `test` themselves take precedence."""
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
