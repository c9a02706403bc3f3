"""Pages in S3: listed by prefix, and fetched one by one by whoever reads them, so that no disk has to hold them all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.remote import SCHEME, RemoteFile
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import S3Config
from docclf_cli.services.storage.s3 import Target, connect, parse_uri, require_bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_BYTES = 10**9  # of one object
IN_MEMORY = 64 * 2**20  # bytes; larger ones go to a temporary file
_BLOCK = 2**20
_ABSENT = ("404", "NoSuchKey")


class S3Files:
    """Objects of S3 stores.

    Args:
        config: Endpoint and settings.
        most_bytes: Larger objects are unreadable.
    """

    def __init__(self, config: S3Config | None = None, most_bytes: int = MOST_BYTES) -> None:
        self._config, self._most_bytes = config or S3Config(), most_bytes
        self._client: S3Client | None = None
        self._process = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the client: a copy in another process makes its own."""
        return S3Files, (self._config, self._most_bytes)

    def list(self, prefix: str) -> Iterator[RemoteFile]:
        """All objects below `s3://bucket/prefix/` in the order of their keys; folders of consoles are none.

        Raises:
            InputError: The address is malformed, or a key cannot be a path.
            RemoteError: The store refuses or cannot be reached.
        """
        from docclf_cli.services.storage.errors import remote_errors

        bucket, _, below = prefix.removeprefix(SCHEME).partition("/")
        below = f"{below.rstrip('/')}/" if below.strip("/") else ""
        pages = self._connected(require_bucket(bucket)).get_paginator("list_objects_v2")
        with remote_errors(prefix):
            for page in pages.paginate(Bucket=bucket, Prefix=below):
                for item in page.get("Contents", ()):
                    key = item["Key"]
                    if key.endswith("/"):
                        continue
                    if str(PurePosixPath(key)) != key or ".." in key.split("/"):
                        raise InputError(
                            f"{SCHEME}{bucket}/{key}: this key cannot be a path", "copy the object to a plain key"
                        )
                    yield RemoteFile(f"{SCHEME}{bucket}/{key}", f"{item['Size']} {item['ETag']}")

    def open(self, uri: str) -> IO[bytes]:
        """The content of an object: in memory, or in a temporary file where it is large.

        Raises:
            InputError: The address is malformed.
            UnreadablePage: There is no such object, or it is too large.
            RemoteError: The store refuses or cannot be reached.
        """
        from botocore.exceptions import ClientError

        from docclf_cli.services.storage.errors import code_of, remote_errors

        bucket, key = parse_uri(uri)
        client = self._connected(bucket)
        file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        try:
            with remote_errors(uri):
                try:
                    answer = client.get_object(Bucket=bucket, Key=key)
                except ClientError as error:
                    if code_of(error) in _ABSENT:
                        raise UnreadablePage("there is no such object") from error
                    raise
                if answer["ContentLength"] > self._most_bytes:
                    raise UnreadablePage(f"is larger than {self._most_bytes / 1e6:,.0f} MB")
                for block in answer["Body"].iter_chunks(_BLOCK):
                    file.write(block)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def _connected(self, bucket: str) -> S3Client:
        if self._client is None or self._process != os.getpid():
            self._client, self._process = connect(Target(bucket, "", self._config)), os.getpid()
        return self._client
