"""The files of a run that are pushed, and their content when they were read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from docclf_cli.errors import InputError
from docclf_cli.files import TEMP_PREFIX, sha256_of
from docclf_cli.services.storage.s3 import require_key

# Checkpoints, profile, figures, predictions, reports; nothing else of a run folder leaves the machine.
SUFFIXES = frozenset((".ckpt", ".yaml", ".csv", ".json", ".npz", ".png", ".html", ".md"))
# Positions to go on from, and what a crash could leave.
_NOT_FINISHED = ("last.ckpt", "last.previous.ckpt")
_FOREIGN_FOLDERS = ("wandb", "cache")


@dataclass(frozen=True)
class LocalFile:
    """A file to push.

    Attributes:
        source: Where it is.
        path: What it is called in the model, with slashes.
        size: Bytes.
        sha256: Hexadecimal.
        identity: Tells whether it was changed since it was read.
    """

    source: Path
    path: str
    size: int
    sha256: str
    identity: tuple[int, int, int]

    @classmethod
    def read(cls, source: Path, path: str) -> LocalFile:
        """Read a file once.

        Raises:
            InputError: It is no regular file, cannot be read, or changes meanwhile.
        """
        try:
            before = _identity(source)
            file = cls(source, path, before[1], sha256_of(source), before)
        except OSError as error:
            raise InputError(f"{source}: {error.strerror}") from error
        file.require_unchanged()
        return file

    def require_unchanged(self) -> None:
        """Check that the file has not changed since it was read.

        Raises:
            InputError: Someone wrote to it.
        """
        if not self.source.exists() or _identity(self.source) != self.identity:
            raise InputError(f"{self.source} was changed while it was pushed", "push it again when it is finished")


def find_files(sources: Sequence[Path], *, with_last: bool = False) -> list[tuple[Path, str]]:
    """The files of `sources` (one run folder, or files) with their names in the model, sorted by name.

    Of a run folder: checkpoints but `last.ckpt` (which only serves to go on training), profile, figures, predictions
    and reports. Left out are temporary and hidden files, caches, wandb's folder, and whatever is not a regular file.

    Raises:
        InputError: There is nothing to push, two files have the same name, or a name S3 does not allow.
    """
    if len(sources) == 1 and sources[0].is_dir():
        found = [(path, path.relative_to(sources[0]).as_posix()) for path in _of_run(sources[0], with_last)]
        if not any(name.endswith(".ckpt") for _, name in found):
            raise InputError(f"{sources[0]}: no checkpoint in this folder", "name the folder of a finished run")
    else:
        found = [(path, path.name) for path in sources]
    _require_files(found)
    return sorted(found, key=lambda item: item[1])


def _of_run(folder: Path, with_last: bool) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _FOREIGN_FOLDERS and not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if _belongs(name, with_last) and stat.S_ISREG(path.lstat().st_mode):
                yield path


def _belongs(name: str, with_last: bool) -> bool:
    if name.startswith((".", TEMP_PREFIX)) or Path(name).suffix not in SUFFIXES:
        return False
    if name in _NOT_FINISHED:
        return with_last and name == "last.ckpt"
    return not name.endswith(".previous.ckpt")


def _require_files(found: Sequence[tuple[Path, str]]) -> None:
    names: dict[str, Path] = {}
    for path, name in found:
        require_key(name, str(path))
        if path.is_dir():
            raise InputError(f"{path} is a folder", "push one run folder, or files, at a time")
        if not path.is_file():
            raise InputError(f"{path}: there is no such file" if not path.exists() else f"{path}: not a regular file")
        if name in names:
            raise InputError(f"{path} and {names[name]} have the same name", "push them under two names (--name)")
        names[name] = path


def _identity(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
