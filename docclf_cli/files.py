"""The one way to write a file: whole or absent.

A temporary file in the same folder, flushed to the disk, renamed over the target, and the folder flushed.
After a crash either the old content or the new is there, never a part; orphaned temporary files start with
`TEMP_PREFIX` and are swept by the next writer.

Some file systems (exFAT, SMB, network drives in user space, shared folders of virtual machines) have no hard links, no
locks, or cannot flush folders. Writing works without each of them, with one warning about the consequence (`lacks`).
"""

import contextlib
import errno
import glob
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from docclf_cli.errors import ResourceError

TEMP_PREFIX = ".docclf-tmp-"
LINKS, LOCKS, FLUSHES = "hard links", "locks", "flushing of folders"
_MEANS = {
    LINKS: "files are moved into place instead",
    LOCKS: "two commands can write the same run at the same time, so start only one",
    FLUSHES: "after a power failure the newest files may be missing",
}
# What file systems answer to what they do not have; EPERM and EACCES mean it for links alone.
_LACKING = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK}
_NO_LINKS = {*_LACKING, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EXDEV}
_warned = set[str]()
_WRITABLE = "name a folder you may write to with --output"
logger = logging.getLogger("docclf")


def lacks(feature: str, error: OSError, folder: Path) -> bool:
    """Whether an error means that a file system lacks `LINKS`, `LOCKS` or `FLUSHES`; warns once for each."""
    if error.errno not in (_NO_LINKS if feature == LINKS else _LACKING):
        return False
    if feature not in _warned:
        _warned.add(feature)
        logger.warning("%s: its file system has no %s; %s", folder, feature, _MEANS[feature])
    return True


def may_write(folder: Path) -> bool:
    """Whether a folder may be written to, or created where it is missing."""
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    return os.access(there, os.W_OK)


def require_writable(folder: Path) -> None:
    """Refuse a folder that may not be written to, before anything is computed for it.

    Raises:
        ResourceError: It may not be written to, or not be created.
    """
    if not may_write(folder):
        raise ResourceError(f"{folder} cannot be written to", _WRITABLE)


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that replaces `path` when the block ends without an error.

    Text is UTF-8, and line ends are written as given.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written to.
    """
    temp = path.parent / f"{TEMP_PREFIX}{path.name}-{os.getpid()}-{secrets.token_hex(4)}"
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temp.open(mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise ResourceError(f"{path} cannot be written: {error.strerror or error}", _disk_hint(error)) from error
    finally:
        with contextlib.suppress(OSError):
            temp.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill, which becomes `path` when the block ends without an error; a folder there is replaced.

    Raises:
        ResourceError: The folder cannot be written to.
    """
    mark = f"{path.name}-{os.getpid()}-{secrets.token_hex(4)}"
    new, old = path.parent / f"{TEMP_PREFIX}{mark}", path.parent / f"{TEMP_PREFIX}old-{mark}"
    try:
        try:
            new.mkdir(parents=True)
            yield new
            if path.exists():
                path.rename(old)
            new.rename(path)
            _sync_folder(path.parent)
        except OSError as error:
            if old.exists() and not path.exists():
                old.rename(path)
            raise ResourceError(f"{path} cannot be written: {error.strerror or error}", _disk_hint(error)) from error
    finally:
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` with `content`, whole or not at all."""
    with atomic_write(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    r"""Replace `path` with UTF-8 `content`, whole or not at all.

    A byte of a file name that is not UTF-8 (a lone surrogate, PEP 383) becomes `\udcXX`, which JSON and YAML read back.
    """
    write_bytes(path, content.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Replace `path` with indented JSON; not-a-number is refused rather than written."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def save_with(path: Path, save: Callable[[Any], object]) -> None:
    """Replace `path` by what `save(file)` writes (a figure, an array archive, a tensor file)."""
    with atomic_write(path) as file:
        try:
            save(file)
        except Exception as error:
            # torch raises an error of its own where a full disk is met in a callback.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def previous_of(path: Path) -> Path:
    """The path under which `keep_previous` keeps the earlier content."""
    return path.with_suffix(f".previous{path.suffix}")


def keep_previous(path: Path) -> None:
    """Keep the present content of `path` under a second name before it is replaced; no byte is copied.

    Where there are no hard links it has only the second name until then.
    """
    if not path.exists():
        return
    temp = path.with_name(f"{TEMP_PREFIX}{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        try:
            temp.hardlink_to(path)
        except OSError as error:
            if not lacks(LINKS, error, path.parent):
                raise
            path.replace(previous_of(path))  # until the next content is there, this is the newest
            return
        temp.replace(previous_of(path))
    except OSError as error:
        raise ResourceError(f"{path} cannot be kept: {error.strerror or error}", _disk_hint(error)) from error
    finally:
        temp.unlink(missing_ok=True)  # a rename onto another name of the same file does nothing (POSIX)


def bring_back_previous(path: Path) -> None:
    """Undo `keep_previous`, so that a damaged `path` is not the next content to be kept."""
    try:
        previous_of(path).replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise ResourceError(f"{path} cannot be replaced: {error.strerror or error}", _disk_hint(error)) from error


def sweep_temporary(folder: Path, name: str = "") -> list[Path]:
    """Remove what killed writers (of the file `name`, or of any) left in `folder` (not below it), and return it."""
    orphans = [path for path in folder.glob(f"{TEMP_PREFIX}{glob.escape(name)}*") if path.is_file()]
    for path in orphans:
        path.unlink(missing_ok=True)
    return orphans


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_of(*parts: object) -> str:
    """First sixteen hexadecimal digits of the SHA-256 of JSON-representable `parts`."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _sync_folder(folder: Path) -> None:
    # Windows cannot open folders; there a rename is durable enough.
    with contextlib.suppress(PermissionError, AttributeError):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            if not lacks(FLUSHES, error, folder):
                raise


def _disk_hint(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free some space, or name another folder with --output; everything written earlier is intact"
    return _WRITABLE
