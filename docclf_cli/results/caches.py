"""What `cache show` and `cache clear` return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CacheRow:
    """One kind of thing that is kept because making it takes time.

    Attributes:
        name: `pages`, `numerics`, `samples` or `s3`.
        holds: What it is.
        folder: Where it lies.
        files: How many files.
        bytes: Their size.
    """

    name: str
    holds: str
    folder: Path
    files: int
    bytes: int


@dataclass(frozen=True)
class CacheUsage:
    """What docclf keeps on this machine.

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
        rows: What was there, for each kind that was cleared.
        bytes: Bytes that are free again.
    """

    rows: tuple[CacheRow, ...]
    bytes: int
