"""Copies files into one folder per class, without ever overwriting a file."""

from __future__ import annotations

import contextlib
import filecmp
import io
import itertools
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.orientation import Orientation
from docclf_cli.data.images.page_files import PDF_SUFFIX, open_anywhere
from docclf_cli.data.images.remote import RemoteFiles
from docclf_cli.data.images.upright_copies import upright_copy
from docclf_cli.data.index.file_list import FileList, Found
from docclf_cli.errors import ResourceError
from docclf_cli.events import Emit, Progress
from docclf_cli.files import LINKS, TEMP_PREFIX, lacks, sweep_temporary
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.predict.page_predictions import PagePrediction

REVIEW, UNKNOWN_FILES, UNREADABLE_FILES = "_review", "_unknown", "_unreadable"
# What Windows and other systems refuse in a name, and the names that Windows keeps for devices.
_REFUSED = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_LONGEST = 100  # characters: in UTF-8 at most 400 bytes would be too many, so names are cut by bytes as well
_LONGEST_BYTES = 200


@dataclass(frozen=True)
class Upright:
    """How the pages of copies are turned upright.

    Attributes:
        max_pixels: Larger images are left as they lie.
        reencode: Also turn pixels that can only be encoded again with loss.
    """

    max_pixels: int
    reencode: bool = False


@dataclass
class SortedCopies:
    """What was done.

    Attributes:
        copied: Files copied.
        turned: Pages that are upright in the copies and were not before.
        not_turned: Files whose copies lie as before, because their format cannot be turned without loss.
    """

    copied: int = 0
    turned: int = 0
    not_turned: int = 0


def sort_copies(
    target: Path,
    predictions: Iterable[PagePrediction],
    files: FileList,
    class_names: Sequence[str],
    *,
    allow_symlinks: bool,
    upright: Upright | None = None,
    emit: Emit,
    stop: StopFlag,
    remote: RemoteFiles | None = None,
) -> SortedCopies:
    """Copy each file into the folder of its class, into that folder below `_review`, `_unknown` or `_unreadable`.

    A copy keeps the path that its file has below the folder it was found in. Where another file has its name already,
    it gets a number; where the same content has it, there is nothing to do, so that the same work can be done twice.

    Args:
        target: Parent of the class folders.
        predictions: One for each file.
        files: The files.
        class_names: Names along the class axis.
        allow_symlinks: Follow symbolic links that leave the folder a file was found in.
        upright: How pages that do not lie upright are turned; None copies files as they are.
        emit: Consumer of progress events.
        stop: Polled between files.
        remote: Fetches files that lie in an object store.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written to.
        Interrupted: `stop` was set.
    """
    folders, done_so_far = folder_names(class_names), SortedCopies()
    if target.is_dir():
        sweep_temporary(target)
    for done, prediction in enumerate(predictions, 1):
        stop.raise_if_set("stopped while files were copied", "run the same command again to continue from here")
        if not prediction.top:
            place = UNREADABLE_FILES
        elif prediction.is_unknown:
            place = UNKNOWN_FILES
        elif prediction.needs_review:
            place = f"{REVIEW}/{folders[prediction.chosen]}"
        else:
            place = folders[prediction.chosen if prediction.decided is None else prediction.decided]
        copying = _Copying(target, place, allow_symlinks, remote, _Turning.of(prediction, upright))
        copying.copy(files, prediction.row, done_so_far)
        emit(Progress("copying files", done, len(files)))
    return done_so_far


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Return a folder name per class that is valid on every file system and unique regardless of case."""
    used, names = {REVIEW, UNKNOWN_FILES, UNREADABLE_FILES}, []
    for class_name in class_names:
        plain = _plain(class_name)
        name = next(name for number in itertools.count(1) if (name := _numbered(plain, number)).casefold() not in used)
        used.add(name.casefold())
        names.append(name)
    return names


def _plain(name: str) -> str:
    text = _REFUSED.sub("_", unicodedata.normalize("NFC", name)).strip(" ")[:_LONGEST]
    text = text.encode("utf-8", "replace")[:_LONGEST_BYTES].decode("utf-8", "ignore").rstrip(" .")
    return f"_{text}" if not text or text.startswith((".", "-")) or _DEVICES.match(text) else text


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


@dataclass(frozen=True)
class _Turning:
    """The pages of a file that do not lie upright, by number from 0, where they are to be turned."""

    pages: Mapping[int, Orientation]
    upright: Upright | None

    @classmethod
    def of(cls, prediction: PagePrediction, upright: Upright | None) -> _Turning:
        lying = {number: lies for number, lies in prediction.lies if lies is not None and not lies.upright}
        return cls({} if upright is None else lying, upright)

    def __call__(self, source: IO[bytes], is_pdf: bool) -> bytes | None:
        """The file with these pages turned; None where there is nothing to turn, or no way to."""
        if not self.pages or self.upright is None:
            return None
        try:
            return upright_copy(
                source, self.pages, is_pdf=is_pdf, max_pixels=self.upright.max_pixels, reencode=self.upright.reencode
            )
        except UnreadablePage:  # a page that is not asked about, or its file has changed: it is copied as it is
            return None


@dataclass(frozen=True)
class _Copying:
    """How one file is copied.

    Attributes:
        target: Parent of the class folders.
        place: The folder below it.
        allow_symlinks: Follow symbolic links that leave the folder the file was found in.
        remote: Fetches files that lie in an object store.
        turning: Which of its pages are turned upright.
    """

    target: Path
    place: str
    allow_symlinks: bool
    remote: RemoteFiles | None
    turning: _Turning

    def copy(self, files: FileList, row: int, done: SortedCopies) -> None:
        """Copy the file of a row, and count what was done."""
        path, root = files.path(row)
        wanted = self.target / self.place / below_its_folder(files[row])
        temp = self.target / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
        try:
            wanted.parent.mkdir(parents=True, exist_ok=True)
            try:
                # Not flushed to the disk one by one: should the machine lose power, the copies are made again.
                with open_anywhere(path, root, self.allow_symlinks, self.remote) as source, temp.open("xb") as copy:
                    turned = self.turning(source, path.suffix.lower() == PDF_SUFFIX)
                    source.seek(0)
                    shutil.copyfileobj(source if turned is None else io.BytesIO(turned), copy)
                    times = os.fstat(source.fileno())
                with contextlib.suppress(PermissionError):  # some shares keep times to themselves
                    os.utime(temp, ns=(times.st_atime_ns, times.st_mtime_ns))
                done.copied += place_numbered(temp, wanted)[1]
                done.turned += 0 if turned is None else len(self.turning.pages)
                done.not_turned += bool(self.turning.pages) and turned is None
            finally:
                temp.unlink(missing_ok=True)
        except UnreadablePage:  # it may not be opened, or has gone meanwhile
            return
        except OSError as error:
            raise ResourceError(f"{wanted} cannot be written: {error.strerror or error}", "see --copy-to") from error


def place_numbered(temp: Path, wanted: Path) -> tuple[Path, bool]:
    """Give a temporary file its name, with a number where another file has it; the same content is left as it is.

    Returns:
        The file of that content, and whether it is new.
    """
    for number in itertools.count(1):
        place = wanted.with_name(f"{_numbered(wanted.stem, number)}{wanted.suffix}")
        try:
            place_copy(temp, place)
        except FileExistsError:
            if filecmp.cmp(temp, place, shallow=False):
                return place, False
        else:
            return place, True
    raise AssertionError


def place_copy(temp: Path, place: Path) -> None:
    """Give a temporary file its name, unless a file of that name exists, which a rename would replace.

    Raises:
        FileExistsError: Such a file exists.
    """
    try:
        os.link(temp, place)
    except FileExistsError:
        raise
    except OSError as error:
        if not lacks(LINKS, error, place.parent):
            raise
        place.open("xb").close()  # an empty file that takes the name
        try:
            temp.replace(place)
        except OSError:
            place.unlink(missing_ok=True)
            raise


def below_its_folder(file: Found) -> PurePath:
    """The path of a file below the folder it was found in; its name alone where it was named itself."""
    name = PurePath(file.name)
    inside = file.folder and not name.is_absolute() and ".." not in name.parts
    return name if inside else PurePath(name.name)
