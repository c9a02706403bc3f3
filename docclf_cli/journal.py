"""A journal: one line of JSON an event, each on the disk before work goes on.

The file only grows. A line that a crash cut short is no event: it is removed when the journal is opened again.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from docclf_cli.errors import InputError, ResourceError
from docclf_cli.files import write_bytes

JOURNAL = "journal.jsonl"


class Journal:
    """An open journal; one process writes it at a time (the folder's lock sees to that).

    Args:
        path: The file; it is created where there is none.

    Attributes:
        events: What it held when it was opened.

    Raises:
        InputError: A line before the last is damaged.
        ResourceError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.exists():
                write_bytes(path, b"")  # its folder is flushed as well
            self._file: IO[bytes] = path.open("ab", buffering=0)
            self.events = tuple(_events(path))
            os.truncate(path, sum(_lengths_of_whole_lines(path)))
        except OSError as error:
            raise ResourceError(
                f"{path} cannot be written: {error.strerror}", "name another folder with --output"
            ) from error

    def append(self, event: Mapping[str, Any]) -> None:
        """Write an event; it is on the disk when this returns.

        Raises:
            ResourceError: It cannot be written; the journal is as it was before.
        """
        line = json.dumps(event, ensure_ascii=True, allow_nan=False).encode() + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            os.truncate(self.path, before)
            raise ResourceError(
                f"{self.path} cannot be written: {error.strerror}", "free some space; all events before are saved"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lengths_of_whole_lines(path: Path) -> Iterator[int]:
    with path.open("rb") as file:
        yield from (len(line) for line in file if line.endswith(b"\n"))


def _events(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(
                    f"{path}, line {number}: damaged", "correct or delete this line; each line is an event of its own"
                ) from error
