"""Building a pack: pages that older packs have are copied, the others decoded; what was done is kept on a stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from docclf_cli.data.loading.cache_file import (
    CacheFile,
    Draft,
    cache_files,
    delete,
    draft,
    open_cache_file,
    publish,
    sweep,
)
from docclf_cli.data.loading.worker_pool import Job, Read, decode_into
from docclf_cli.events import Emit, Progress
from docclf_cli.stop import StopFlag


def build_cache_file(
    folder: Path,
    key: str,
    size: int,
    identities: Sequence[str],
    job_of: Callable[[int], Job],
    read: Read,
    *,
    workers: int,
    emit: Emit,
    stop: StopFlag,
) -> Path | None:
    """Make a pack of pages; only for who holds the folder's lock.

    Args:
        folder: The cache.
        key: Stands for what decides pixels besides the image file.
        size: Side of a page in pixels.
        identities: Whose pages, by slot.
        job_of: How to come by the page of a slot.
        read: Reads a page.
        workers: Processes to decode with.
        emit: Consumer of progress.
        stop: Polled between pages.

    Returns:
        The pack, which lacks pages after a stop; None if it would have none.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.
        ResourceError: A decoding process died.
    """
    sweep(folder)
    with draft(folder, size, len(identities)) as new:
        filling = _CacheBuilder(new, identities)
        missing = filling.copied(
            [cache_file for path in cache_files(folder, key) if (cache_file := open_cache_file(path)) is not None]
        )
        for slot, checksum, reason in decode_into(new, [job_of(slot) for slot in missing], read, workers, stop):
            filling.set(slot, checksum, reason)
            emit(Progress("reading pages", filling.count, len(identities)))
        if not filling.count:
            return None
        path = filling.publish(key)
    _delete_superseded(folder, key, path)
    return path


class _CacheBuilder:
    """What is known of the slots of a draft."""

    def __init__(self, new: Draft, identities: Sequence[str]) -> None:
        self.draft, self.identities = new, identities
        self.checksums = np.zeros(new.count, dtype=np.uint32)
        self.unreadable: dict[int, str] = {}
        self.full = np.zeros(new.count, dtype=bool)
        self.count = 0

    def set(self, slot: int, checksum: int, reason: str) -> None:
        self.checksums[slot], self.full[slot] = checksum, True
        self.count += 1
        if reason:
            self.unreadable[slot] = reason

    def copied(self, sources: Sequence[CacheFile]) -> list[int]:
        """Take over pages that older packs have, and return the slots that are still to be filled."""
        handle = os.open(self.draft.path, os.O_WRONLY)
        try:
            for cache_file in sources:
                slot_of = cache_file.slots()
                for slot in np.flatnonzero(~self.full).tolist():
                    if (old := slot_of.get(self.identities[slot].encode())) is not None:
                        self._copy(cache_file, old, slot, handle)
        finally:
            os.close(handle)
        return np.flatnonzero(~self.full).tolist()

    def _copy(self, cache_file: CacheFile, old: int, slot: int, handle: int) -> None:
        if reason := cache_file.unreadable.get(old):
            self.set(slot, 0, reason)
        elif cache_file.intact(old, page := cache_file.page(old)):
            self.set(slot, self.draft.write(handle, slot, page), "")

    def publish(self, key: str) -> Path:
        known = [name if full else "" for name, full in zip(self.identities, self.full.tolist(), strict=True)]
        return publish(self.draft, key, known, self.checksums, self.unreadable)


def _delete_superseded(folder: Path, key: str, path: Path) -> None:
    newest = open_cache_file(path)
    if newest is None:
        return
    have = newest.slots().keys()
    for other in cache_files(folder, key):
        if other != path and (cache_file := open_cache_file(other)) is not None and cache_file.slots().keys() <= have:
            delete(other)
