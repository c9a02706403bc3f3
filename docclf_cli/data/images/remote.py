"""Pages of files that lie in an object store, named `s3://bucket/key`; what fetches them is given from above."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

SCHEME = "s3://"
_AS_PATH = "s3:/"  # what a path makes of it


@dataclass(frozen=True)
class RemoteFile:
    """An object that was listed.

    Attributes:
        uri: Its address.
        state: Changes when its content does.
    """

    uri: str
    state: str


class RemoteFiles(Protocol):
    """Lists and fetches objects; can be pickled, so that loader processes fetch as well."""

    def list(self, prefix: str) -> Iterator[RemoteFile]:
        """All objects below `s3://bucket/prefix/`, by key.

        Raises:
            RemoteError: The store refuses or cannot be reached.
        """
        ...

    def open(self, uri: str) -> IO[bytes]:
        """The content of an object, seekable.

        Raises:
            UnreadablePage: There is no such object, or it is too large.
            RemoteError: The store refuses or cannot be reached.
        """
        ...


def is_remote(name: str) -> bool:
    """Whether a name is the address of an object."""
    return name.startswith(SCHEME)


def uri_of(path: Path) -> str | None:
    """The address that a path stands for; None for one of this machine."""
    text = path.as_posix()
    return f"{SCHEME}{text.removeprefix(_AS_PATH)}" if text.startswith(_AS_PATH) else None
