"""What `s3-push` and `s3-pull` return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PushedFile:
    """A file of a pushed model.

    Attributes:
        path: What it is called in the model.
        size: Bytes.
        sha256: Hexadecimal.
        sent: It was missing, and had to be sent.
    """

    path: str
    size: int
    sha256: str
    sent: bool


@dataclass(frozen=True)
class PushResult:
    """What `s3-push` did.

    Attributes:
        name: Name of the stored model, for `s3-pull`.
        manifest: `s3://` address of its manifest.
        files: What belongs to it.
        bytes_sent: Bytes of what was missing.
        seconds: Wall time, reading the files included.
        dry_run: Nothing was sent.
    """

    name: str
    manifest: str
    files: tuple[PushedFile, ...]
    bytes_sent: int
    seconds: float
    dry_run: bool = False


@dataclass(frozen=True)
class PulledFile:
    """A file of a pulled model.

    Attributes:
        path: Where it is.
        size: Bytes.
        sha256: Hexadecimal.
        fetched: It was not there, and had to be fetched.
    """

    path: Path
    size: int
    sha256: str
    fetched: bool


@dataclass(frozen=True)
class PullResult:
    """What `s3-pull` restored: every file is there, and its SHA-256 is that of the manifest.

    Attributes:
        name: Name of the stored model.
        folder: Where it was restored.
        files: What belongs to it.
        bytes_fetched: Bytes of what was missing.
        seconds: Wall time.
    """

    name: str
    folder: Path
    files: tuple[PulledFile, ...]
    bytes_fetched: int
    seconds: float
