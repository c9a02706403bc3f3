"""Pages are decoded once: epochs, folds, members and later runs share a cache of resized pages.

A page is found by its identity (path, size and times of its file) and by everything that decides its pixels. So a
changed image or setting is noticed, and of an index that grew only the new pages are decoded. The cache may be deleted
at any time, also while it is in use. What a view makes of pages, such as corrupted copies, is cached in the same way.
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
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import PIL

from docclf_cli.data.images.decode import RULES
from docclf_cli.data.images.page_files import PDF_SUFFIX, pdf_renderer
from docclf_cli.data.loading.cache_file import (
    CHANNELS,
    CacheFile,
    cache_draft,
    cache_files,
    delete,
    open_cache_file,
    size_of,
    sweep,
)
from docclf_cli.data.loading.pages import NamedView, PageCache, Pages
from docclf_cli.data.loading.worker_pool import Job, decode_into
from docclf_cli.events import Emit, Progress, silent
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
    """The cached pages of an index; those that are missing are decoded first, by all `workers`.

    Several processes may call this at the same time: one builds, the others wait for it.

    Args:
        index: The pages.
        preprocess: Size, resize mode and interpolation count; mean and std do not.
        config: `cache`, `max_pixels` and `allow_symlinks`.
        workers: Processes to decode with; below two it happens in this one.
        emit: Consumer of progress.
        stop: Polled between pages; pages already read are kept.

    Returns:
        None where there is no cache: it is turned off, the work was stopped, or there is no room (a warning says so).
        Pages are then decoded each time, with the same result.

    Raises:
        ResourceError: A worker process died.
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
    builder = _CacheBuilder(pages, rows, view, folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (found := builder.find()) is not None:
            return found
        with _only_builder(folder, stop) as alone:
            if not alone:
                return None
            found = builder.find()  # the process that held the lock may have made it
            return builder.build(workers, emit, stop) if found is None else found
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
    """How many cache files a folder holds, and their bytes."""
    found = cache_files(folder)
    return Usage(len(found), sum(map(size_of, found)))


def clear(folder: Path) -> Usage:
    """Delete all cached pages (and nothing else) in a folder, and return what there was."""
    before = usage(folder)
    for path in cache_files(folder):
        delete(path)
    if folder.is_dir():
        # What killed builders left is removed only while no other process builds.
        with _only_builder(folder, lambda: True) as alone:
            if alone:
                sweep(folder)
    return before


def identities(index: DocumentIndex) -> list[str]:
    """Identity of each row: a digest of its file's path, size and times, and of the page. A changed or replaced file has another one."""
    folder, numbers = (index.root / index.below).absolute(), index.numbers
    if numbers is None:
        return [_digest(*_file_facts(f"{folder}/{name}")) for name in index.paths]
    facts: dict[str, tuple[object, ...]] = {}
    for name in index.paths.tolist():
        if name not in facts:
            facts[name] = _file_facts(f"{folder}/{name}")
    pages = zip(index.paths.tolist(), numbers.tolist(), strict=True)
    return [_digest(*facts[name], *([f"page {number}"] if number else [])) for name, number in pages]


class _CacheBuilder:
    """Finds the cache file of some rows of an index in a folder, or makes it.

    Args:
        pages: All pages of the index.
        rows: The rows that are cached.
        view: What is cached of each page; None for the page itself.
        folder: The cache.
    """

    def __init__(self, pages: Pages, rows: np.ndarray, view: NamedView | None, folder: Path) -> None:
        config = pages.config
        root = None if config.allow_symlinks else os.path.realpath(pages.index.root)
        facts = [RULES, PIL.__version__, pages.preprocess.pixel_fingerprint(), config.max_pixels, root]
        names = _rendered(pages.index.take(rows))
        if view is not None:
            facts.append(view.name)
            # The ID decides what the view does to a page.
            names = [_digest(name, page_id) for name, page_id in zip(names, pages.index.ids[rows], strict=True)]
        self.pages = pages
        self.rows = rows
        self.folder = folder
        self.identities = names
        self.key = fingerprint_of(*facts)  # stands for all that decides pixels besides the image file
        self.read = functools.partial(_read, pages, view)

    def find(self) -> PageCache | None:
        """The pages, if one cache file has them all."""
        for path in reversed(cache_files(self.folder, self.key)):
            if (cache_file := open_cache_file(path)) is not None and (cache := self._cache(cache_file)) is not None:
                with contextlib.suppress(OSError):
                    os.utime(path)  # the least recently used cache files are deleted first
                return cache
        return None

    def build(self, workers: int, emit: Emit, stop: StopFlag) -> PageCache | None:
        """Make a cache file; only for the process that holds the folder's lock.

        Pages that older cache files have are copied, the others are read. After a stop the file has the pages that
        were read until then.

        Returns:
            The pages; None where there is no room for them, or on a stop.

        Raises:
            OSError: The disk is full, or the folder cannot be written to.
            ResourceError: A worker process died.
        """
        size = self.pages.preprocess.size
        source = None if self.pages.cache is None else self.pages.cache.cache_file.path
        if not _make_room(self.folder, len(self.rows) * size * size * CHANNELS, source):
            return None
        sweep(self.folder)
        with cache_draft(self.folder, size, self.identities) as draft:
            for path in cache_files(self.folder, self.key):
                if (older := open_cache_file(path)) is not None:
                    draft.copy_from(older)
            index = self.pages.index
            rows = ((slot, int(self.rows[slot])) for slot in draft.missing())
            jobs = [Job(slot, row, index.path(row)) for slot, row in rows]
            for slot, checksum, reason in decode_into(draft, jobs, self.read, workers, stop):
                draft.finish(slot, checksum, reason)
                emit(Progress("reading pages", draft.done, len(self.rows)))
            if not draft.done:
                return None
            cache_file = open_cache_file(draft.publish(self.key))
        if cache_file is None:
            return None
        self._delete_superseded(cache_file)
        return self._cache(cache_file)

    def _cache(self, cache_file: CacheFile) -> PageCache | None:
        slot_of = cache_file.slots()
        found = [slot_of.get(identity.encode(), -1) for identity in self.identities]
        if min(found) < 0:
            return None
        slots = np.full(len(self.pages.index), -1, dtype=np.int64)
        slots[self.rows] = found
        return PageCache(cache_file, slots, self.read)

    def _delete_superseded(self, newest: CacheFile) -> None:
        pages = newest.slots().keys()
        for path in cache_files(self.folder, self.key):
            if path != newest.path and (older := open_cache_file(path)) is not None and older.slots().keys() <= pages:
                delete(path)


def _rendered(index: DocumentIndex) -> list[str]:
    """The identities of pages; those of PDFs with the version of what renders them."""
    names = identities(index)
    pdfs = [row for row, name in enumerate(index.paths.tolist()) if name.lower().endswith(PDF_SUFFIX)]
    for row in pdfs:
        names[row] = _digest(names[row], pdf_renderer())
    return names


def _read(pages: Pages, view: NamedView | None, row: int) -> np.ndarray:
    page = pages[row]
    return page if view is None else view(page, row)


def _file_facts(path: str) -> tuple[object, ...]:
    # The change time as well: a file put in place with the old size and modification time is still another one.
    try:
        status = os.stat(path)  # noqa: PTH116  (a Path for each of a million files takes longer than asking)
    except OSError as error:
        return path, error.errno
    return path, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest(*facts: object) -> str:
    return hashlib.blake2b("\0".join(map(str, facts)).encode(errors="surrogateescape"), digest_size=16).hexdigest()


def _make_room(folder: Path, needed: int, keep: Path | None) -> bool:
    """Whether there is room for so many bytes, once the least recently used cache files are deleted.

    `keep` is never deleted. A warning says so where there is no room.
    """
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
