"""The manifest of a stored model: the list of its files. It is written last, and only over the version that was read."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from docclf_cli.errors import RemoteError
from docclf_cli.services.storage.errors import code_of, remote_errors
from docclf_cli.services.storage.s3 import Target, require_key
from docclf_cli.version import __version__

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FORMAT = 1
LARGEST = 4_000_000  # bytes; thousands of files
_SHA256 = re.compile(r"[0-9a-f]{64}")
ABSENT = ("NoSuchKey", "404")


@dataclass(frozen=True)
class StoredFile:
    """A file of a model: its path below the run folder, size in bytes and hexadecimal SHA-256."""

    path: str
    size: int
    sha256: str

    @property
    def is_weights(self) -> bool:
        """Whether the file is a checkpoint."""
        return self.path.endswith(".ckpt")


@dataclass(frozen=True)
class Manifest:
    """The files of a model under a name; `etag` is that of the object it was read from."""

    name: str
    files: tuple[StoredFile, ...]
    etag: str | None = None

    def weights(self) -> dict[str, str]:
        """SHA-256 of each checkpoint by path."""
        return {file.path: file.sha256 for file in self.files if file.is_weights}

    def to_json(self) -> str:
        """The content of `manifest.json`."""
        content = {
            "format": FORMAT,
            "name": self.name,
            "pushed": datetime.now(UTC).isoformat(timespec="seconds"),
            "docclf": __version__,
            "files": [asdict(file) for file in self.files],
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read_manifest(client: S3Client, target: Target, name: str, *, absent: tuple[str, ...] = ABSENT) -> Manifest | None:
    """The manifest of a name; None where the store answers with one of the codes `absent`.

    Raises:
        RemoteError: The store refuses or cannot be reached, or it is not a manifest.
    """
    key = target.manifest_key(name)
    with remote_errors(target.uri(key)):
        try:
            answer = client.get_object(Bucket=target.bucket, Key=key)
        except ClientError as error:
            if code_of(error) in absent:
                return None
            raise
        text = answer["Body"].read(LARGEST)
    return _parsed(target.uri(key), text, name, answer["ETag"])


def write_manifest(client: S3Client, target: Target, manifest: Manifest, *, replaces: Manifest | None) -> None:
    """Store a manifest in the place of the one that was read before, or of none.

    Raises:
        RemoteError: Someone else wrote it since, or the store refuses or cannot be reached.
    """
    key = target.manifest_key(manifest.name)
    condition: dict[str, Any] = (
        {"IfMatch": replaces.etag} if replaces is not None and replaces.etag else {"IfNoneMatch": "*"}
    )
    with remote_errors(target.uri(key)):
        try:
            client.put_object(
                Bucket=target.bucket,
                Key=key,
                Body=manifest.to_json().encode(),
                ContentType="application/json",
                **encryption(target),
                **condition,
            )
        except ClientError as error:
            if code_of(error) not in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise
            # A retried request of ours may have been the first to arrive.
            now = read_manifest(client, target, manifest.name)
            if now is None or now.files != manifest.files:
                raise RemoteError(
                    f"{target.uri(key)}: another model was pushed under this name in the meantime; it is untouched",
                    "push under another --name, or push again with --overwrite",
                ) from error


def encryption(target: Target) -> dict[str, Any]:
    """Arguments of boto3 that request encryption at rest."""
    config = target.config
    settings = {"ServerSideEncryption": config.server_side_encryption, "SSEKMSKeyId": config.kms_key_id}
    return {name: value for name, value in settings.items() if value}


def _parsed(uri: str, text: bytes, name: str, etag: str) -> Manifest:
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise RemoteError(
                f"{uri}: a manifest of format {content['format']}; this docclf reads format {FORMAT}", "update docclf"
            )
        files = tuple(_checked(StoredFile(**entry)) for entry in content["files"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RemoteError(f"{uri}: not a manifest of docclf ({type(error).__name__})") from error
    for path, count in Counter(file.path for file in files).items():
        if count > 1:
            raise RemoteError(f"{uri}: names {path} twice")
    return Manifest(name, files, etag)


def _checked(file: StoredFile) -> StoredFile:
    # A manifest may come from anyone who can write to the bucket, and its paths become files here.
    require_key(file.path, "manifest")
    if not (_SHA256.fullmatch(file.sha256) and isinstance(file.size, int) and file.size >= 0):
        raise ValueError(file.path)
    return file
