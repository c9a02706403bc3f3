"""Pages are decoded once: the cache of resized pages that epochs, folds, members and later runs share.

A page is found by its identity (path, size and times of its file) and by everything that decides its pixels, so
that a changed image or setting is noticed, and an index that grew decodes only what is new. The cache may be
deleted at any time, also while it is in use. What a view makes of pages, such as their damaged copies, is kept alike.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import PIL

from docclf_cli.data.images.decode import RULES
from docclf_cli.data.loading.cache_builder import build_cache_file
from docclf_cli.data.loading.cache_file import CacheFile, cache_files, delete, open_cache_file, size_of, sweep
from docclf_cli.data.loading.pages import NamedView, PageCache, Pages
from docclf_cli.data.loading.worker_pool import Job, Read
from docclf_cli.events import Emit, silent
from docclf_cli.files import fingerprint_of
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.user_folders import cache_home, user_path

if TYPE_CHECKING:
    from docclf_cli.data.images.preprocess import Preprocess
    from docclf_cli.data.index.documents import DocumentIndex
    from docclf_cli.profile.schema import DataConfig

logger = logging.getLogger("docclf")
MAX_BYTES = 20 * 2**30
_LOCK = ".lock"
_POLL_SECONDS = 0.2


class Usage(NamedTuple):
    """What a cache folder holds."""

    cache_files: int
    bytes: int


def open_or_build(
    index: DocumentIndex,
    preprocess: Preprocess,
    config: DataConfig,
    *,
    workers: int = 0,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> PageCache | None:
    """The cached pages of an index; those that are not there yet are decoded first, by all `workers`.

    Several processes may call this at the same time: one builds, the others wait for it.

    Args:
        index: The pages.
        preprocess: Size, resize mode and interpolation count; mean and std do not.
        config: `cache`, `max_pixels` and `allow_symlinks`.
        workers: Processes to decode with; below two it happens in this one.
        emit: Consumer of progress.
        stop: Polled between pages; pages already read are kept.

    Returns:
        None where there is no cache: turned off, stopped, or no room for it (which is said). Pages are then decoded
        each time, with the same result.

    Raises:
        ResourceError: A decoding process died.
    """
    pages = Pages(index, preprocess, config)
    return _opened(pages, np.arange(len(index)), None, workers, emit, stop)


def open_or_build_view(
    pages: Pages,
    rows: np.ndarray,
    view: NamedView,
    *,
    workers: int = 0,
    stop: StopFlag = NEVER,
) -> PageCache | None:
    """The cached pages of some rows as a view shows them, from pages that are cached themselves; as `open_or_build`."""
    return _opened(pages, rows, view, workers, silent, stop)


def _opened(
    pages: Pages,
    rows: np.ndarray,
    view: NamedView | None,
    workers: int,
    emit: Emit,
    stop: StopFlag,
) -> PageCache | None:
    folder = cache_folder(pages.config.cache)
    if folder is None or not len(rows):
        return None
    build = _Build(pages, rows, view, folder, emit, stop)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (found := build.stored()) is not None:
            return found
        with _only_builder(folder, stop) as alone:
            if not alone:
                return None
            found = build.stored()  # perhaps by now, from who held the lock
            return build.make(workers) if found is None else found
    except OSError as error:
        logger.warning("no page cache in %s, pages are decoded each time: %s", folder, error.strerror or error)
        return None


def cache_folder(setting: str) -> Path | None:
    """The folder that `data.cache` means: `auto` is below the user's cache folder, `off` is None."""
    if setting == "off":
        return None
    if setting != "auto":
        return user_path(setting)
    return cache_home() / "pages"


def usage(folder: Path) -> Usage:
    """How many packs of pages a cache folder holds, and their bytes."""
    found = cache_files(folder)
    return Usage(len(found), sum(map(size_of, found)))


def clear(folder: Path) -> Usage:
    """Delete all cached pages (and nothing else) in a folder, and return what there was."""
    before = usage(folder)
    for path in cache_files(folder):
        delete(path)
    if folder.is_dir():
        # Leftovers are swept only while nobody builds.
        with _only_builder(folder, lambda: True) as alone:
            if alone:
                sweep(folder)
    return before


def identities(index: DocumentIndex) -> list[str]:
    """What each page's file is, by row: its path, size and times. A file that was changed or replaced is another one."""
    folder = (index.root / index.below).absolute()
    return [_identity(f"{folder}/{name}") for name in index.paths]


@dataclass(frozen=True, eq=False)
class _Build:
    pages: Pages
    rows: np.ndarray
    view: NamedView | None
    folder: Path
    emit: Emit
    stop: StopFlag

    @property
    def read(self) -> Read:
        return functools.partial(_read, self.pages, self.view)

    @functools.cached_property
    def key(self) -> str:
        """Stands for what decides pixels besides the image file."""
        config, index = self.pages.config, self.pages.index
        root = None if config.allow_symlinks else os.path.realpath(index.root)
        facts = [RULES, PIL.__version__, self.pages.preprocess.pixel_fingerprint(), config.max_pixels, root]
        return fingerprint_of(*facts, *([] if self.view is None else [self.view.name]))

    @functools.cached_property
    def identities(self) -> list[str]:
        files = identities(self.pages.index.take(self.rows))
        if self.view is None:
            return files
        ids = self.pages.index.ids[self.rows]  # they decide what the view does to a page
        return [_digest(file, page_id) for file, page_id in zip(files, ids, strict=True)]

    def stored(self) -> PageCache | None:
        """The pages, if one pack has them all."""
        for path in reversed(cache_files(self.folder, self.key)):
            if (cache_file := open_cache_file(path)) is not None and (cache := self._from(cache_file)) is not None:
                with contextlib.suppress(OSError):
                    os.utime(path)  # least recently used packs go first
                return cache
        return None

    def _from(self, cache_file: CacheFile) -> PageCache | None:
        slot_of = cache_file.slots()
        found = [slot_of.get(identity.encode(), -1) for identity in self.identities]
        slots = np.full(len(self.pages.index), -1, dtype=np.int64)
        slots[self.rows] = found
        return None if min(found) < 0 else PageCache(cache_file, slots, self.read)

    def make(self, workers: int) -> PageCache | None:
        """Build a pack of them; None where there is no room, or on a stop."""
        size = self.pages.preprocess.size
        source = None if self.pages.cache is None else self.pages.cache.cache_file.path
        if not _make_room(self.folder, len(self.rows) * size * size * 3, source):
            return None
        path = build_cache_file(
            self.folder, self.key, size, self.identities, self._job, self.read,
            workers=workers, emit=self.emit, stop=self.stop,
        )  # fmt: skip
        cache_file = None if path is None else open_cache_file(path)
        return None if cache_file is None else self._from(cache_file)

    def _job(self, slot: int) -> Job:
        row = int(self.rows[slot])
        return Job(slot, row, self.pages.index.path(row))


def _read(pages: Pages, view: NamedView | None, row: int) -> np.ndarray:
    page = pages[row]
    return page if view is None else view(page, row)


def _identity(path: str) -> str:
    # The change time as well: a file put in place with the old size and modification time is still another one.
    try:
        status = os.stat(path)  # noqa: PTH116  (a Path for each of a million files takes longer than asking)
        facts: tuple[object, ...] = (path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as error:
        facts = (path, error.errno)
    return _digest(*facts)


def _digest(*facts: object) -> str:
    return hashlib.blake2b("\0".join(map(str, facts)).encode(errors="surrogateescape"), digest_size=16).hexdigest()


def _make_room(folder: Path, needed: int, keep: Path | None) -> bool:
    """Delete the packs that were used least recently, but `keep`, until there is room; or say that there is none."""
    allowed = min(MAX_BYTES, (shutil.disk_usage(folder).free + usage(folder).bytes) // 2)
    allowed -= size_of(keep) if keep else 0
    if needed > allowed:
        logger.warning(
            "no page cache: it would take %.1f GiB, and %.1f GiB are allowed in %s; pages are prepared each time",
            needed / 2**30, allowed / 2**30, folder,
        )  # fmt: skip
        return False
    others = [path for path in cache_files(folder) if path != keep]
    kept = sum(map(size_of, others))
    for path in others:
        if kept + needed <= allowed:
            break
        kept -= size_of(path)
        delete(path)
    return True


@contextlib.contextmanager
def _only_builder(folder: Path, give_up: Callable[[], bool]) -> Iterator[bool]:
    """Hold the folder's lock; False where that was not possible before `give_up` returned True."""
    try:
        import fcntl
    except ImportError:  # Windows: two builders do twice the work, and both are right
        yield True
        return
    with (folder / _LOCK).open("a") as file:
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if give_up():
                    yield False
                    return
                time.sleep(_POLL_SECONDS)
        yield True
