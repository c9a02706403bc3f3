"""Resized pages on the disk: a file of pixels that is mapped read-only, and a file that describes it.

Pixels are written by plain writes into preallocated space, never through a memory map: on a full disk a map raises a
signal, not an error. The describing file is published last, whole or not at all. Pixels without it belong to no cache
file, and the next builder removes them.

LMDB 0.9.36 (`lmdb` 3.0.0) was tried in the place of these files: 300 pages of 224 pixels, four alternating runs on two
loaded cores, medians of CPU time, LMDB's speed relative to this one. Filling: 0.94 in one process, 1.08 with two workers
that write under LMDB's locks, 0.94 with one writer without locks. A warm epoch: 0.91 in one process, 0.94 to 0.97 with
two workers. With its locks LMDB ends with SIGBUS when it is opened on a full disk, also for reading, because it maps its
lock file, and it does not open where a file system has no locks. With `lock=False` both work, but of two processes that
fill the same file one aborts (two trials of three) and pages are lost (in all three). So the lock of `cache` would stay,
as would eviction, keys and the worker pool. A data file that was cut short is SIGBUS for its readers; here that is
noticed when it is opened. Kills while filling, and a disk that fills up meanwhile, were harmless with both.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.errors import ResourceError
from docclf_cli.files import TEMP_PREFIX, save_with

CHANNELS = 3


@dataclass(frozen=True, eq=False)
class CacheFile:
    """Pages of one preprocessing.

    Attributes:
        path: The describing file.
        identities: Identity of the page in each slot, bytes [n]; empty for a slot that was never written.
        checksums: CRC-32 of each page, uint32 [n].
        unreadable: Reasons by slot, for pages that could not be read.
        pixels: uint8 [n, size, size, 3], mapped read-only.
    """

    path: Path
    identities: np.ndarray
    checksums: np.ndarray
    unreadable: Mapping[int, str]
    pixels: np.ndarray

    def slots(self) -> dict[bytes, int]:
        """Slot of each identity."""
        found = {identity: slot for slot, identity in enumerate(self.identities.tolist())}
        found.pop(b"", None)
        return found

    def page(self, slot: int) -> np.ndarray:
        """A copy of a page, uint8 [size, size, 3]."""
        return self.pixels[slot].copy()

    def intact(self, slot: int, page: np.ndarray) -> bool:
        """Whether a page has the checksum that was written."""
        return zlib.crc32(page.data) == self.checksums[slot]

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that is not forked maps the file itself; pickling a map would copy all of it.
        return open_cache_file, (self.path,)


class CacheDraft:
    """A cache file that is being written; several processes may write pages at the same time.

    Attributes:
        path: The file of pixels, under its temporary name.
        size: Side of a page in pixels.
        identities: Identity of the page in each slot.
        done: How many slots are finished.
    """

    def __init__(self, path: Path, size: int, identities: Sequence[str]) -> None:
        self.path = path
        self.size = size
        self.identities = identities
        self.done = 0
        self._is_done = np.zeros(len(identities), dtype=bool)
        self._checksums = np.zeros(len(identities), dtype=np.uint32)
        self._unreadable: dict[int, str] = {}

    def write(self, handle: int, slot: int, page: np.ndarray) -> int:
        """Write a page into its slot through an open file of pixels, and return its checksum."""
        content = np.ascontiguousarray(page).data.cast("B")
        offset = slot * len(content)
        written = 0
        while written < len(content):
            written += os.pwrite(handle, content[written:], offset + written)
        return zlib.crc32(content)

    def finish(self, slot: int, checksum: int, reason: str) -> None:
        """Note that a slot is finished: its page was written, or cannot be read for a reason."""
        self._checksums[slot] = checksum
        self._is_done[slot] = True
        self.done += 1
        if reason:
            self._unreadable[slot] = reason

    def missing(self) -> list[int]:
        """Slots that are not finished."""
        return np.flatnonzero(~self._is_done).tolist()

    def copy_from(self, cache_file: CacheFile) -> None:
        """Copy the missing pages that an older cache file has."""
        slot_of = cache_file.slots()
        handle = os.open(self.path, os.O_WRONLY)
        try:
            for slot in self.missing():
                old = slot_of.get(self.identities[slot].encode())
                if old is None:
                    continue
                if reason := cache_file.unreadable.get(old):
                    self.finish(slot, 0, reason)
                elif cache_file.intact(old, page := cache_file.page(old)):
                    self.finish(slot, self.write(handle, slot, page), "")
        finally:
            os.close(handle)

    def publish(self, key: str) -> Path:
        """Make it a cache file with the slots that are finished, and return the describing file.

        Raises:
            OSError: The disk is full.
        """
        path = self.path.with_name(f"{key}-{secrets.token_hex(8)}.npz")
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        self.path.replace(_pixels_of(path))
        known = [name.encode() if done else b"" for name, done in zip(self.identities, self._is_done, strict=True)]
        arrays: dict[str, np.ndarray] = {
            "identities": np.array(known, dtype="S32"),
            "checksums": self._checksums,
            "size": np.array(self.size),
            "unreadable": np.array(list(self._unreadable), dtype=np.int64),
            "reasons": np.array(list(self._unreadable.values()), dtype=np.str_),
        }
        try:
            save_with(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
        except ResourceError as error:  # the run can do without a cache, so this is no error of the run
            delete(path)
            raise OSError(error.message) from error
        return path


@contextlib.contextmanager
def cache_draft(folder: Path, size: int, identities: Sequence[str]) -> Iterator[CacheDraft]:
    """Room for the pages of a new cache file; it is removed at the end of the block unless it was published.

    Raises:
        OSError: The disk has no such room, or the folder cannot be written to.
    """
    path = folder / f"{TEMP_PREFIX}{secrets.token_hex(8)}.u8"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _allocate(handle, len(identities) * size * size * CHANNELS)
        finally:
            os.close(handle)
        yield CacheDraft(path, size, identities)
    finally:
        path.unlink(missing_ok=True)


def open_cache_file(path: Path) -> CacheFile | None:
    """The cache file with this describing file; None where a part of it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            told = {name: archive[name] for name in archive.files}
        shape = (len(told["identities"]), int(told["size"]), int(told["size"]), CHANNELS)
        pixels = np.asarray(np.memmap(_pixels_of(path), np.uint8, "r", shape=shape))
        unreadable = dict(zip(told["unreadable"].tolist(), told["reasons"].tolist(), strict=True))
        return CacheFile(path, told["identities"], told["checksums"], unreadable, pixels)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error):
        return None


def cache_files(folder: Path, key: str = "") -> list[Path]:
    """Describing files of the cache files in a folder (of those whose key starts so), least recently used first."""
    found = []
    for path in folder.glob(f"{key}*-{'[0-9a-f]' * 16}.npz"):
        with contextlib.suppress(OSError):  # deleted meanwhile
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]


def size_of(path: Path) -> int:
    """Bytes of a cache file, both parts together."""
    total = 0
    for part in (path, _pixels_of(path)):
        with contextlib.suppress(OSError):
            total += part.stat().st_size
    return total


def delete(path: Path) -> None:
    """Remove a cache file; processes that have it mapped keep their pages."""
    for part in (path, _pixels_of(path)):
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed builders left behind; only for the process that holds the folder's lock."""
    for path in folder.glob(f"*-{'[0-9a-f]' * 16}.u8"):
        if not path.with_suffix(".npz").exists():
            path.unlink(missing_ok=True)
    for path in folder.glob(f"{TEMP_PREFIX}*"):
        path.unlink(missing_ok=True)


def _pixels_of(path: Path) -> Path:
    return path.with_suffix(".u8")


def _allocate(handle: int, size: int) -> None:
    try:
        os.posix_fallocate(handle, 0, size)
    except AttributeError:
        os.truncate(handle, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.truncate(handle, size)  # no room is reserved, so a full disk shows when pages are written
