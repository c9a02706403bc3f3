"""Push a model: content under its SHA-256 first, only what is missing, and the manifest last."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.results.storage import PushedFile, PushResult
from docclf_cli.services.storage.errors import code_of, remote_errors
from docclf_cli.services.storage.manifest import ABSENT, Manifest, StoredFile, read_manifest, write_manifest
from docclf_cli.services.storage.run_files import LocalFile, find_files
from docclf_cli.services.storage.s3 import OBJECTS, Target, connect, require_name
from docclf_cli.services.storage.transfer import POLL_SECONDS, raise_if_stopped, transfers
from docclf_cli.stop import NEVER, StopFlag

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger("docclf")
LOOK_UPS = 8  # at a time
READERS = 4
DANGLING_AFTER = timedelta(days=1)
# Without permission to list, S3 refuses to say that something is not there; sending it then tells.
_ABSENT_OR_HIDDEN = (*ABSENT, "AccessDenied", "403")


def push(
    sources: Sequence[Path],
    target: Target,
    *,
    name: str | None = None,
    with_last: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> PushResult:
    """Store a run folder, or files, as a model under a name.

    A reader sees the model only once all of it is there. Pushing again sends what is missing. Reports may be added to
    a stored model; other checkpoints under its name need `overwrite`.

    Args:
        sources: One run folder, or files.
        target: Where to.
        name: Name of the model; by default that of the folder, or of a single file.
        with_last: Push `last.ckpt` as well, to go on training elsewhere.
        overwrite: Replace a model of this name that has other checkpoints.
        dry_run: Send nothing, and say what would be sent.
        emit: Consumer of progress; called from several threads, one at a time.
        stop: Polled several times a second; ends between two parts.

    Raises:
        InputError: Files or names that cannot be pushed, or the name is taken.
        RemoteError: The store refuses or cannot be reached.
        Interrupted: `stop` was set; readers see nothing of it, and the same push goes on.
    """
    began = time.monotonic()
    task = f"push to {target}"
    name = require_name(name or _default_name(sources))
    found = find_files(sources, with_last=with_last)
    with _reading(found) as reading:
        client = connect(target)
        stored = read_manifest(client, target, name, absent=_ABSENT_OR_HIDDEN)
        files = [_read(future, stop, task) for future in reading]
    manifest = Manifest(name, tuple(StoredFile(file.path, file.size, file.sha256) for file in files))
    if stored and not overwrite:
        _require_same_model(target, stored, manifest)
    missing = _missing(client, target, files)
    if not dry_run:
        _abort_dangling(client, target)
        _send(client, target, list(missing.values()), task, emit, stop)
        raise_if_stopped(stop, task)
        if stored is None or stored.files != manifest.files:
            write_manifest(client, target, manifest, replaces=stored)
    rows = tuple(PushedFile(file.path, file.size, file.sha256, file.sha256 in missing) for file in files)
    uri = target.uri(target.manifest_key(name))
    sent = sum(file.size for file in missing.values())
    return PushResult(name, uri, rows, sent, round(time.monotonic() - began, 3), dry_run)


@contextlib.contextmanager
def _reading(found: Sequence[tuple[Path, str]]) -> Iterator[list[Future[LocalFile]]]:
    """Read and hash the files in threads while the block runs."""
    pool = ThreadPoolExecutor(READERS)
    try:
        yield [pool.submit(LocalFile.read, path, name) for path, name in found]
    finally:
        pool.shutdown(cancel_futures=True)


def _read(future: Future[LocalFile], stop: StopFlag, task: str) -> LocalFile:
    while True:
        raise_if_stopped(stop, task)
        try:
            return future.result(timeout=POLL_SECONDS)
        except TimeoutError:
            continue


def _default_name(sources: Sequence[Path]) -> str:
    if len(sources) != 1:
        raise InputError("several files need a name", "name the model with --name")
    path = sources[0].resolve()
    return path.name if path.is_dir() else path.stem


def _require_same_model(target: Target, stored: Manifest, ours: Manifest) -> None:
    weights = ours.weights()
    other = [path for path, sha256 in stored.weights().items() if weights.get(path) != sha256]
    if other:
        raise InputError(
            f"{target.uri(target.manifest_key(ours.name))}: a model of this name with other checkpoints is stored "
            f"({', '.join(other[:3])})",
            "push under another --name, or replace it with --overwrite",
        )


def _missing(client: S3Client, target: Target, files: Sequence[LocalFile]) -> dict[str, LocalFile]:
    """The files whose content is not stored yet, by SHA-256."""
    contents = {file.sha256: file for file in files}
    with remote_errors(target), ThreadPoolExecutor(LOOK_UPS) as pool:
        there = pool.map(lambda file: _is_stored(client, target, file), contents.values())
        return {sha256: file for (sha256, file), found in zip(contents.items(), there, strict=True) if not found}


def _is_stored(client: S3Client, target: Target, file: LocalFile) -> bool:
    try:
        answer = client.head_object(Bucket=target.bucket, Key=target.object_key(file.sha256))
    except ClientError as error:
        if code_of(error) in _ABSENT_OR_HIDDEN:
            return False
        raise
    return answer["ContentLength"] == file.size and answer["Metadata"].get("sha256") == file.sha256


def _send(client: S3Client, target: Target, files: Sequence[LocalFile], task: str, emit: Emit, stop: StopFlag) -> None:
    total = sum(file.size for file in files)
    with remote_errors(target), transfers(client, task, total, emit, stop) as running:
        for file in files:
            running.upload(target, file.source, file.size, file.sha256)
    for file in files:
        try:
            file.require_unchanged()
        except InputError:
            # What arrived is not what its key says.
            with contextlib.suppress(ClientError, BotoCoreError):
                client.delete_object(Bucket=target.bucket, Key=target.object_key(file.sha256))
            raise


def _abort_dangling(client: S3Client, target: Target) -> None:
    """End uploads of pushes that were killed long ago; their parts cost money and cannot be read."""
    limit = datetime.now(UTC) - DANGLING_AFTER
    try:
        pages = client.get_paginator("list_multipart_uploads").paginate(
            Bucket=target.bucket, Prefix=target.key(OBJECTS) + "/"
        )
        for upload in (upload for page in pages for upload in page.get("Uploads", ())):
            if upload["Initiated"] < limit:
                client.abort_multipart_upload(Bucket=target.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                logger.info("ended a dangling upload of %s", upload["Key"])
    except (ClientError, BotoCoreError) as error:
        logger.debug("dangling uploads cannot be looked for: %s", error)
