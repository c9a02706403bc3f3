"""Reports and clears the caches of docclf; all of them may be deleted at any time."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from docclf_cli.data.loading import cache as page_cache
from docclf_cli.errors import InputError
from docclf_cli.registry import did_you_mean
from docclf_cli.results.caches import CacheCleared, CacheRow, CacheUsage
from docclf_cli.user_folders import cache_home

DESCRIPTIONS = {
    "pages": "resized pages",
    "numerics": "fastest numerics measured on this machine",
    "features": "features of pages for linear probes",
    "texts": "texts of pages: text layers and OCR",
    "samples": "the built-in sample documents",
    "s3": "checkpoints downloaded from S3, with their predictions",
}
REBUILT_SILENTLY = ("pages", "numerics", "features", "texts")  # the next command only takes longer


def measured_numerics() -> Path:
    """Return the folder of the numerics benchmarks."""
    return cache_home() / "numerics"


def features_folder() -> Path:
    """Return the folder of the features of linear probes."""
    return cache_home() / "features"


def cache_usage(pages: str = "auto") -> CacheUsage:
    """Return files and bytes of each cache.

    Args:
        pages: `data.cache` of the profile, which locates the page cache.
    """
    rows = tuple(_row(name, pages) for name in DESCRIPTIONS)
    return CacheUsage(rows, sum(row.bytes for row in rows))


def clear_caches(names: Sequence[str] = (), pages: str = "auto") -> CacheCleared:
    """Delete the named caches; by default those that are rebuilt silently.

    Commands that run at the same time keep the cache files they have open.

    Raises:
        InputError: There is no cache of that name.
    """
    for name in names:
        if name not in DESCRIPTIONS:
            raise InputError(
                f"there is no cache '{name}'{did_you_mean(name, tuple(DESCRIPTIONS))}", f"{', '.join(DESCRIPTIONS)}"
            )
    rows = tuple(_row(name, pages) for name in names or REBUILT_SILENTLY)
    for row in rows:
        if row.name == "pages":
            page_cache.clear(row.folder)
        else:
            for folder in _folders(row.name):
                shutil.rmtree(folder, ignore_errors=True)
    return CacheCleared(rows, sum(row.bytes for row in rows))


def _row(name: str, pages: str) -> CacheRow:
    if name == "pages":
        folder = page_cache.cache_folder(pages) or cache_home() / name
        used = page_cache.usage(folder)
        return CacheRow(name, DESCRIPTIONS[name], folder, used.cache_files, used.bytes)
    sizes = list(_sizes(_folders(name)))
    folder = next(iter(_folders(name)), cache_home() / name)
    return CacheRow(name, DESCRIPTIONS[name], folder, len(sizes), sum(sizes))


def _folders(name: str) -> list[Path]:
    # Each version of the samples has a folder of its own.
    return sorted(folder for folder in cache_home().glob(f"{name}*") if folder.is_dir())


def _sizes(folders: Iterable[Path]) -> Iterable[int]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path.stat().st_size
