"""Restore a pushed model into a folder, and verify every byte."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from docclf_cli.errors import InputError, RemoteError
from docclf_cli.events import Emit, Event, Progress, silent
from docclf_cli.files import atomic_write, sha256_of
from docclf_cli.registry import did_you_mean
from docclf_cli.results.storage import PulledFile, PullResult
from docclf_cli.services.storage.errors import remote_errors
from docclf_cli.services.storage.manifest import Manifest, StoredFile, read_manifest
from docclf_cli.services.storage.s3 import OBJECTS, Target, connect, require_name
from docclf_cli.services.storage.transfer import transfers
from docclf_cli.stop import NEVER, StopFlag

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LAST = "run.json"  # says that a run is finished, so it comes when everything else is there


def pull(
    name: str,
    folder: Path,
    target: Target,
    *,
    overwrite: bool = False,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> PullResult:
    """Restore a stored model into a folder.

    Files that are there already with the same content are kept; a pull that was interrupted goes on.

    Args:
        name: Name of the model.
        folder: Where to; made where it is missing.
        target: Where from.
        overwrite: Replace files that differ.
        emit: Consumer of progress; called from several threads, one at a time.
        stop: Polled several times a second.

    Raises:
        InputError: There is no such model, or other files are in the way.
        RemoteError: The store refuses or cannot be reached, or what it holds is damaged.
        ResourceError: The disk is full or the folder cannot be written to.
        Interrupted: `stop` was set; the same pull goes on.
    """
    began = time.monotonic()
    task = f"pull {name}"
    require_name(name)
    client = connect(target)
    manifest = read_manifest(client, target, name)
    if manifest is None:
        raise _no_such_model(client, target, name)
    missing = _missing_files(manifest, folder, overwrite)
    size = sum(file.size for file in missing)
    done = 0

    def emit_in_all(event: Event) -> None:
        emit(Progress(task, done + event.done, size, "bytes") if isinstance(event, Progress) else event)

    for file in missing:
        key, path = target.object_key(file.sha256), folder / file.path
        download(client, target, key, path, task, size=file.size, sha256=file.sha256, emit=emit_in_all, stop=stop)
        done += file.size
    fetched = {file.path for file in missing}
    rows = tuple(
        PulledFile(folder / file.path, file.size, file.sha256, file.path in fetched) for file in manifest.files
    )
    return PullResult(name, folder, rows, size, round(time.monotonic() - began, 3))


def download(
    client: S3Client,
    target: Target,
    key: str,
    path: Path,
    task: str,
    *,
    size: int,
    sha256: str | None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> str:
    """Fetch an object into a file, which appears only after its content has been verified.

    Args:
        client: Client.
        target: Bucket.
        key: Object.
        path: The file.
        task: What it is fetched for, as progress names it.
        size: Bytes, for the progress.
        sha256: What the content must have; None takes it as it is.
        emit: Consumer of progress.
        stop: Polled several times a second.

    Returns:
        The hexadecimal SHA-256 of the content.

    Raises:
        RemoteError: The store refuses or cannot be reached, or the content is not what it should be.
        ResourceError: The disk is full or the folder cannot be written to.
    """
    with atomic_write(path, "w+b") as file:
        with remote_errors(target.uri(key)), transfers(client, task, size, emit, stop) as running:
            running.download(target.bucket, key, file)
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        if found != (sha256 or found):
            raise RemoteError(
                f"{target.uri(key)}: its content is not what was pushed (SHA-256 differs)", "push the model again"
            )
    return found


def _missing_files(manifest: Manifest, folder: Path, overwrite: bool) -> list[StoredFile]:
    """The files that have to be fetched, the one that marks a finished run last."""
    missing = [file for file in manifest.files if not _is_there(folder / file.path, file.sha256)]
    inside = folder.resolve()
    if outside := [file.path for file in missing if not (folder / file.path).resolve().is_relative_to(inside)]:
        raise InputError(f"{folder / outside[0]} leads out of {folder}", "remove the symbolic link, or pull elsewhere")
    in_the_way = [str(folder / file.path) for file in missing if (folder / file.path).exists()]
    if in_the_way and not overwrite:
        raise InputError(
            f"other files are in the way: {', '.join(in_the_way[:3])}", "pull into another folder, or add --overwrite"
        )
    return sorted(missing, key=lambda file: (file.path == _LAST, file.path))


def _is_there(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _no_such_model(client: S3Client, target: Target, name: str) -> InputError:
    names = _stored_names(client, target)
    hint = f"stored: {', '.join(names[:20])}" if names else "nothing is stored there"
    return InputError(f"{target}: there is no model '{name}'{did_you_mean(name, names)}", hint)


def _stored_names(client: S3Client, target: Target) -> list[str]:
    prefix = f"{target.prefix}/" if target.prefix else ""
    with remote_errors(target):
        answer = client.list_objects_v2(Bucket=target.bucket, Prefix=prefix, Delimiter="/")
    found: Sequence[str] = [
        item["Prefix"].removeprefix(prefix).rstrip("/") for item in answer.get("CommonPrefixes", ())
    ]
    return [name for name in found if name != OBJECTS]
