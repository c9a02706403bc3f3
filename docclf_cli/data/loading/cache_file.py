"""Resized pages on the disk: one file of pixels, mapped read-only, and one that says whose they are.

Pixels are written by plain writes into preallocated space, never through a written memory map (on a full disk
that is a signal, not an error). The describing file is published last, whole or not at all; pixels without it are
nobody's, and swept by the next builder.
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
        identities: Whose page lies in each slot, bytes [n]; empty for a slot that was never filled.
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
        """Whether a page is what was written."""
        return zlib.crc32(page.data) == self.checksums[slot]

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that is not forked maps the file itself; pickling a map would copy all of it.
        return open_cache_file, (self.path,)


@dataclass(frozen=True, eq=False)
class Draft:
    """A pack that is being filled; slots may be written from several processes."""

    path: Path
    size: int
    count: int

    @property
    def page_bytes(self) -> int:
        """Bytes of one page."""
        return self.size * self.size * CHANNELS

    def write(self, handle: int, slot: int, page: np.ndarray) -> int:
        """Write a page into its slot, and return its checksum."""
        content = np.ascontiguousarray(page).data.cast("B")
        offset, written = slot * self.page_bytes, 0
        while written < len(content):
            written += os.pwrite(handle, content[written:], offset + written)
        return zlib.crc32(content)


@contextlib.contextmanager
def draft(folder: Path, size: int, count: int) -> Iterator[Draft]:
    """Room for `count` pages, gone when the block ends unless it was published.

    Raises:
        OSError: The disk has no such room, or the folder cannot be written to.
    """
    path = folder / f"{TEMP_PREFIX}{secrets.token_hex(8)}.u8"
    new = Draft(path, size, count)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _allocate(handle, count * new.page_bytes)
        finally:
            os.close(handle)
        yield new
    finally:
        path.unlink(missing_ok=True)


def publish(
    new: Draft, key: str, identities: Sequence[str], checksums: np.ndarray, unreadable: Mapping[int, str]
) -> Path:
    """Make a filled draft a pack, and return its describing file.

    Raises:
        OSError: The disk is full.
    """
    path = new.path.with_name(f"{key}-{secrets.token_hex(8)}.npz")
    handle = os.open(new.path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    new.path.replace(_pixels_of(path))
    arrays: dict[str, np.ndarray] = {
        "identities": np.array([identity.encode() for identity in identities], dtype="S32"),
        "checksums": checksums.astype(np.uint32),
        "size": np.array(new.size),
        "unreadable": np.array(list(unreadable), dtype=np.int64),
        "reasons": np.array(list(unreadable.values()), dtype=np.str_),
    }
    try:
        save_with(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
    except ResourceError as error:  # there is no need of a cache: builders give it up and go on
        delete(path)
        raise OSError(error.message) from error
    return path


def open_cache_file(path: Path) -> CacheFile | None:
    """The pack of a describing file; None where a part of it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            told = {name: archive[name] for name in archive.files}
        shape = (len(told["identities"]), int(told["size"]), int(told["size"]), CHANNELS)
        pixels = _pixels_of(path)
        unreadable = dict(zip(told["unreadable"].tolist(), told["reasons"].tolist(), strict=True))
        return CacheFile(
            path, told["identities"], told["checksums"], unreadable,
            np.asarray(np.memmap(pixels, np.uint8, "r", shape=shape)),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error):
        return None


def cache_files(folder: Path, key: str = "") -> list[Path]:
    """Describing files of packs (whose key starts so), least recently used first."""
    found = []
    for path in folder.glob(f"{key}*-{'[0-9a-f]' * 16}.npz"):
        with contextlib.suppress(OSError):  # deleted meanwhile
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]


def size_of(path: Path) -> int:
    """Bytes of a pack."""
    total = 0
    for part in (path, _pixels_of(path)):
        with contextlib.suppress(OSError):
            total += part.stat().st_size
    return total


def delete(path: Path) -> None:
    """Remove a pack; processes that have it mapped keep their pages."""
    for part in (path, _pixels_of(path)):
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what builders that were killed left behind; only for who holds the folder's lock."""
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
        os.truncate(handle, size)  # no room is set aside, so a full disk shows when pages are written
