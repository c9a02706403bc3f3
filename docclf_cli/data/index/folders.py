"""List image files with one directory listing per folder, never one call per file."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePath

import numpy as np

from docclf_cli.data.images.page_files import PAGE_SUFFIXES
from docclf_cli.data.index.left_out import LINKED_FOLDER, LeftOut
from docclf_cli.text import composed, normalised

MAX_LENGTH = 512  # of an ID
_DRIVE = re.compile(r"[A-Za-z]:")
SYSTEM_FOLDER = "folder of the system"
# Of Windows, macOS, Linux, and of the shares of Synology, QNAP and NetApp.
_OF_SYSTEMS = frozenset((
    "@eadir", "@tmp", "@__thumb", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot",
    "$recycle.bin", "recycle", "recycle bin", "recycled", "recycler", "thumb", "thumbs", "thumbnail", "thumbnails",
    "snapshot", "snapshots", "lost+found", "system volume information", "network trash folder", "temporary items",
    "__pycache__",
))  # fmt: skip


def unsafe(ids: np.ndarray) -> list[int]:
    """Rows whose ID cannot be a file below the data root: absolute, with `..`, with a line break, or too long."""
    return [row for row, name in enumerate(ids) if _is_unsafe(name)]


def _is_unsafe(name: str) -> bool:
    return (
        len(name) > MAX_LENGTH
        or name.startswith(("/", "\\"))
        or bool(_DRIVE.match(name))
        or "\n" in name
        or "\r" in name
        or ".." in re.split(r"[/\\]", name)
    )


def holds_each_once(folder: Path, ids: np.ndarray) -> bool:
    """Whether every ID is the name of a file directly in the folder, and no ID occurs twice.

    Compared by sorted hashes, which for a million names is faster than a set. Should two of the
    64-bit hashes ever agree, a missing file is noticed when it is opened.
    """
    wanted, there = _hashes(ids), _hashes(_names(folder))
    if not len(there) or (wanted[1:] == wanted[:-1]).any():
        return False
    nearest = np.minimum(np.searchsorted(there, wanted), len(there) - 1)
    return bool((there[nearest] == wanted).all())


def _hashes(names: Sequence[str] | np.ndarray) -> np.ndarray:
    return np.sort(np.fromiter(map(hash, names), np.int64, len(names)))


def locate(ids: np.ndarray, folder: Path) -> tuple[np.ndarray, list[int]]:
    """The image file of each ID.

    An ID is a file name with or without its suffix, perhaps below a subfolder. Hangul names match in composed
    and decomposed form.

    Returns:
        Files relative to `folder`, an object array of `str`, and the rows that have none.
    """
    names = _names(folder)
    spelled = _Spelled(folder)
    for below in {spelled(posixpath.dirname(name)) for name in ids if "/" in name}:
        names += [f"{below}/{name}" for name in _names(folder / below)]
    found = _other_spellings(names) | {name: name for name in names}
    files = np.array([found.get(name) or found.get(normalised(name), "") for name in ids], dtype=object)
    return files, np.flatnonzero(files == "").tolist()


def ambiguous(ids: np.ndarray, rows: Iterable[int], folder: Path) -> dict[int, list[str]]:
    """The files of each row whose ID lacks a suffix and fits several files, for rows that `locate` could not resolve."""
    wanted = {row: normalised(ids[row]) for row in rows}
    of_stem: dict[str, list[str]] = {name: [] for name in wanted.values()}
    for below in {posixpath.dirname(name) for name in of_stem}:
        for name in (posixpath.join(below, name) for name in _names(folder / below)):
            stem, suffix = posixpath.splitext(name)
            if suffix.lower() in PAGE_SUFFIXES and normalised(stem) in of_stem:
                of_stem[normalised(stem)].append(name)
    return {row: sorted(of_stem[name]) for row, name in wanted.items() if len(of_stem[name]) > 1}


class _Spelled:
    """Maps folder names to their spelling on the disk, which may be decomposed Unicode."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spellings: dict[str, dict[str, str]] = {}

    def __call__(self, below: str) -> str:
        if os.path.isdir(self._folder / below):  # noqa: PTH112  (unlike Path.is_dir, False where it may not be looked at)
            return below
        path = ""
        for part in below.split("/"):
            if path not in self._spellings:
                self._spellings[path] = {composed(name): name for name in _names(self._folder / path)}
            path = posixpath.join(path, self._spellings[path].get(composed(part), part))
        return path


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  (three times faster than Path.iterdir on a million files)
    except OSError:
        return []


def _other_spellings(names: Iterable[str]) -> dict[str, str]:
    # By composed name, and by name without suffix where that is unambiguous (two candidates find nothing).
    found: dict[str, str] = {}
    for name in names:
        stem, suffix = posixpath.splitext(name)
        if suffix.lower() in PAGE_SUFFIXES:
            key = normalised(stem)
            found[key] = "" if key in found else name
    return found | {normalised(name): name for name in names}


def image_files(folder: Path, follow_links: bool = False, left_out: LeftOut | None = None) -> list[str]:
    """All files of pages below a folder by their suffix, relative to it, sorted; otherwise as `walk`."""
    return sorted(walk(folder, PAGE_SUFFIXES, follow_links, left_out))


def subfolders(folder: Path) -> list[str]:
    """Names of the visible folders in a folder, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not is_skipped(entry.name) and entry.is_dir())


def walk(
    folder: Path, suffixes: Collection[str], follow_links: bool = False, left_out: LeftOut | None = None
) -> Iterator[str]:
    """Files below a folder by their suffix, relative to it, one folder after another; hidden ones are left out.

    The content of each folder comes sorted by name, so that no more than one folder is ever held. A folder that
    cannot be listed comes as its own name with a slash at the end: reading it as a page gives the reason.

    Args:
        folder: Where to start.
        suffixes: In lower case, with their dots.
        follow_links: Enter folders that are symbolic links.
        left_out: Counts what is visible and neither a file of these suffixes nor a folder that is entered.
    """
    return _walk(folder, "", suffixes, follow_links, LeftOut() if left_out is None else left_out, set())


def _walk(
    root: Path,
    below: str,
    suffixes: Collection[str],
    follow_links: bool,
    left_out: LeftOut,
    seen: set[tuple[int, int]],
) -> Iterator[str]:
    try:
        status = (root / below).stat()
        # A link to a folder above would never end: each folder is entered once.
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(root / below) as scanned:
            entries = sorted((entry for entry in scanned if _counts(entry, left_out)), key=lambda entry: entry.name)
    except OSError:
        yield f"{below or '.'}/"
        return
    for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        if _is_folder(entry, follow_links):
            yield from _walk(root, name, suffixes, follow_links, left_out, seen)
        elif entry.is_symlink() and _is_folder(entry, True):
            left_out.add(LINKED_FOLDER)
        elif PurePath(entry.name).suffix.lower() in suffixes:
            yield name
        else:
            left_out.add_file(entry.name)


def _counts(entry: os.DirEntry[str], left_out: LeftOut) -> bool:
    """Whether an entry is read; folders of the system are counted as left out, hidden ones are not."""
    if is_system_folder(entry.name) and _is_folder(entry, True):
        left_out.add(SYSTEM_FOLDER)
    return not is_skipped(entry.name)


def _is_folder(entry: os.DirEntry[str], follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # a link that leads in a circle, or into a folder that may not be entered
        return False


def is_skipped(name: str) -> bool:
    """Whether a file or folder is skipped: it is hidden, or made by a system for itself."""
    return name.startswith((".", "__MACOSX")) or is_system_folder(name)


def is_system_folder(name: str) -> bool:
    """Whether a name is that of a system folder: thumbnails, recycle bins, snapshots."""
    return name.casefold() in _OF_SYSTEMS
