"""A cache of checkpoints from S3 (`--checkpoint s3://bucket/key`) whose content is verified on every use."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from docclf_cli.errors import CheckpointError
from docclf_cli.events import Emit, silent
from docclf_cli.files import fingerprint_of, sha256_of, write_text
from docclf_cli.profile.schema import S3Config
from docclf_cli.services.storage.errors import code_of, remote_errors
from docclf_cli.services.storage.manifest import ABSENT, StoredFile, read_manifest
from docclf_cli.services.storage.pull import download
from docclf_cli.services.storage.s3 import Target, connect, parse_uri
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.user_folders import cache_home

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger("docclf")
FILE, SPLIT = "checkpoint.ckpt", "split.csv"
_CONTENT_KEY = re.compile(r"(?:.*/)?sha256-([0-9a-f]{64})")


def fetch_checkpoint(uri: str, config: S3Config | None = None, *, emit: Emit = silent, stop: StopFlag = NEVER) -> Path:
    """Fetch a checkpoint from S3 into the cache, if it is not there, and verify its SHA-256.

    Args:
        uri: `s3://bucket/key` of a checkpoint, or of a pushed model (`s3://bucket/docclf/NAME`, which means its
            `best.ckpt`, or `s3://bucket/docclf/NAME/PATH`).
        config: Endpoint and settings.
        emit: Consumer of progress.
        stop: Polled several times a second.

    Returns:
        The local file in the cache (`docclf/s3` below `XDG_CACHE_HOME` or `~/.cache`), which may be deleted any time.
        Each checkpoint has a folder of its own there, for what is derived from it. The `split.csv` of a pushed model is
        fetched beside it, so that its held-out pages are known.

    Raises:
        InputError: The address is malformed.
        CheckpointError: There is nothing at it.
        RemoteError: The store refuses or cannot be reached, or its content is damaged.
        Interrupted: `stop` was set.
    """
    bucket, key = parse_uri(uri)
    if (match := _CONTENT_KEY.fullmatch(key)) and (cached := _cached(_by_content(match.group(1)), match.group(1))):
        return cached
    target = Target(bucket, "", config or S3Config())
    client = connect(target)
    found = _locate(client, target, key)
    if found.split is not None:
        model, split = found.split
        path = found.local.parent / SPLIT
        if _cached(path, split.sha256) is None:
            key = model.object_key(split.sha256)
            download(client, model, key, path, f"fetch {SPLIT}", size=split.size, sha256=split.sha256, stop=stop)
    # An object of another tool may have no SHA-256; the one it was fetched with is stored beside it.
    note = found.local.with_suffix(".sha256")
    noted = note.read_text(encoding="utf-8").strip() if note.is_file() else None
    if cached := _cached(found.local, found.sha256 or noted):
        return cached
    logger.info("fetching %s (%.1f MB)", target.uri(found.key), found.size / 1e6)
    sha256 = download(
        client,
        target,
        found.key,
        found.local,
        f"fetch {uri}",
        size=found.size,
        sha256=found.sha256,
        emit=emit,
        stop=stop,
    )
    if found.sha256 is None:
        write_text(note, sha256)
    return found.local


@dataclass(frozen=True)
class _Found:
    """An object, the SHA-256 it should have where that is known, and the `split.csv` of the model it belongs to."""

    bucket: str
    key: str
    size: int
    etag: str
    sha256: str | None
    split: tuple[Target, StoredFile] | None = None

    @property
    def local(self) -> Path:
        """Its file in the cache: by content, or by version where another tool stored it."""
        if self.sha256 is not None:
            return _by_content(self.sha256)
        return _cache() / fingerprint_of(self.bucket, self.key, self.etag, self.size) / FILE


def _locate(client: S3Client, target: Target, key: str) -> _Found:
    if (found := _head(client, target, key)) is not None:
        return found
    parts = key.split("/")
    for count in range(len(parts), 0, -1):
        prefix, name = "/".join(parts[: count - 1]), parts[count - 1]
        model = Target(target.bucket, prefix, target.config)
        if (manifest := read_manifest(client, model, name)) is None:
            continue
        path = "/".join(parts[count:]) or "best.ckpt"
        files = {file.path: file for file in manifest.files}
        file, split = files.get(path), files.get(str(PurePosixPath(path).with_name(SPLIT)))
        if file is None:
            known = ", ".join(manifest.weights()) or "no checkpoint"
            raise CheckpointError(f"{target.uri(key)}: the model {name} has no {path}", f"it has: {known}")
        beside = (model, split) if split else None
        return _Found(target.bucket, model.object_key(file.sha256), file.size, "", file.sha256, beside)
    raise CheckpointError(
        f"{target.uri(key)}: there is no such object, and no model of this name",
        "s3://BUCKET/PREFIX/NAME is the model that `docclf s3-push RUN --name NAME` stored",
    )


def _head(client: S3Client, target: Target, key: str) -> _Found | None:
    with remote_errors(target.uri(key)):
        try:
            answer = client.head_object(Bucket=target.bucket, Key=key)
        except ClientError as error:
            if code_of(error) in (*ABSENT, "403"):
                return None  # reading the manifest gets the reason
            raise
    match = _CONTENT_KEY.fullmatch(key)
    sha256 = match.group(1) if match else answer["Metadata"].get("sha256")
    return _Found(target.bucket, key, answer["ContentLength"], answer["ETag"], sha256)


def _cached(path: Path, sha256: str | None) -> Path | None:
    if sha256 is None or not path.is_file():
        return None
    if sha256_of(path) == sha256:
        return path
    logger.warning("%s is damaged and is fetched again", path)
    return None


def _by_content(sha256: str) -> Path:
    return _cache() / sha256[:16] / FILE


def _cache() -> Path:
    return cache_home() / "s3"
