"""What `cache show` and `cache clear` return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CacheRow:
    """One cache.

    Attributes:
        name: `pages`, `numerics`, `features`, `samples` or `s3`.
        description: What it is.
        folder: Its folder.
        files: How many files.
        bytes: Their size.
    """

    name: str
    description: str
    folder: Path
    files: int
    bytes: int


@dataclass(frozen=True)
class CacheUsage:
    """The caches of docclf on this machine.

    Attributes:
        rows: One for each kind.
        bytes: Their size together.
    """

    rows: tuple[CacheRow, ...]
    bytes: int


@dataclass(frozen=True)
class CacheCleared:
    """What was deleted.

    Attributes:
        rows: What each cleared cache held.
        bytes: Bytes that are free again.
    """

    rows: tuple[CacheRow, ...]
    bytes: int
