"""The place in S3 where models are stored, the rules for names (checked before anything is sent), and the client."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docclf_cli.errors import InputError
from docclf_cli.profile.schema import S3Config
from docclf_cli.services import env
from docclf_cli.services.web.hosts import is_loopback

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OBJECTS = "objects"  # below the prefix: content by its SHA-256
CONNECT_SECONDS = 10
READ_SECONDS = 20  # without a byte of the answer, per attempt (`s3.retries`)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LONGEST_KEY = 1024  # bytes of UTF-8
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Target:
    """A place in a bucket with the settings of its store; its names are valid.

    Attributes:
        bucket: Bucket.
        prefix: Key prefix of everything that docclf stores; no slash at either end, may be empty.
        config: Endpoint, encryption, checksums, retries.
    """

    bucket: str
    prefix: str
    config: S3Config

    def key(self, *parts: str) -> str:
        """A key below the prefix."""
        return "/".join(part for part in (self.prefix, *parts) if part)

    def object_key(self, sha256: str) -> str:
        """The key of content with this hexadecimal SHA-256."""
        return self.key(OBJECTS, f"sha256-{sha256}")

    def manifest_key(self, name: str) -> str:
        """The key of a model's manifest."""
        return self.key(name, "manifest.json")

    def uri(self, key: str) -> str:
        """The `s3://` address of a key."""
        return f"s3://{self.bucket}/{key}"

    def __str__(self) -> str:
        return self.uri(self.prefix).rstrip("/")


def configured_bucket(config: S3Config) -> str | None:
    """The bucket of the profile, else of S3_BUCKET_NAME."""
    return config.bucket or env.get("S3_BUCKET_NAME")


def resolve_target(config: S3Config) -> Target:
    """The place that the profile and the environment name.

    Raises:
        InputError: There is no bucket, or a name that S3 does not allow.
    """
    bucket = configured_bucket(config)
    if bucket is None:
        raise InputError(
            "no bucket is configured", "set S3_BUCKET_NAME (in .env), --bucket or s3.bucket; see env_example.txt"
        )
    prefix = config.prefix.strip("/")
    if prefix:
        require_key(prefix, "s3.prefix")
    return Target(require_bucket(bucket), prefix, config)


def parse_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`.

    Raises:
        InputError: It is not of this form.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not key.strip("/"):
        raise InputError(f"'{uri}' is not of the form s3://bucket/key")
    return require_bucket(bucket), require_key(key.rstrip("/"), uri)


def require_bucket(name: str) -> str:
    """The name, if it follows the naming rules of S3 general purpose buckets.

    Raises:
        InputError: It breaks one.
    """
    if not _BUCKET.fullmatch(name) or ".." in name or _is_address(name):
        raise InputError(
            f"'{name}' is not a bucket name", "3 to 63 lower-case letters, digits, '-' and '.'; no s3://, no path"
        )
    return name


def require_key(key: str, what: str) -> str:
    """The key, if tools and file systems agree on it.

    Raises:
        InputError: It is too long, has empty, `.` or `..` parts, or control characters.
    """
    bad_part = any(part in ("", ".", "..") for part in key.split("/"))
    if bad_part or not key.isprintable() or "\\" in key or len(key.encode()) > _LONGEST_KEY:
        raise InputError(
            f"{what}: '{key}' is not a usable S3 key",
            f"at most {_LONGEST_KEY} bytes, parts between single slashes, no '.' or '..', nothing unprintable",
        )
    return key


def require_name(name: str) -> str:
    """The name, if it can be that of a stored model: one plain part of a key.

    Raises:
        InputError: It is not one.
    """
    if not re.fullmatch(r"\w[\w.-]*", name) or len(name.encode()) > _LONGEST_NAME or name == OBJECTS:
        raise InputError(
            f"'{name}' cannot be the name of a model",
            f"letters, digits, '.', '-' and '_', at most {_LONGEST_NAME} bytes, not '{OBJECTS}'; name it with --name",
        )
    return name


def connect(target: Target) -> S3Client:
    """A client for the target; credentials come from boto3's own chain. Nothing is sent yet.

    Raises:
        InputError: The endpoint is not an address, or is `http://` elsewhere than on this machine.
        RemoteError: The AWS profile cannot be used.
    """
    import boto3
    from botocore.config import Config

    from docclf_cli.services.storage.errors import remote_errors

    endpoint = target.config.endpoint_url or env.get("AWS_ENDPOINT_URL")
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": target.config.retries},
        request_checksum_calculation=target.config.checksums,
        response_checksum_validation=target.config.checksums,
        # Stores other than AWS seldom have a name in the DNS for every bucket.
        s3={"addressing_style": "path"} if endpoint else None,
    )
    with remote_errors(target):
        session = boto3.Session()
        try:
            client = session.client(
                "s3", region_name=session.region_name or "us-east-1", endpoint_url=endpoint, config=config
            )
        except ValueError as error:
            raise InputError(f"the S3 endpoint is not an address: {error}", "such as https://s3.example.com") from error
    if not (target.config.allow_http or is_private(client.meta.endpoint_url)):
        raise InputError(
            f"{client.meta.endpoint_url} would send models unencrypted",
            "use https://, or allow it: --set s3.allow_http=true",
        )
    client.meta.events.register("before-sign.s3", _hash_once)
    return client


def _hash_once(request: Any, **_: Any) -> None:
    """Sign a request by the SHA-256 checksum in its headers instead of hashing the body a second time."""
    from botocore.config import Config

    if "x-amz-checksum-sha256" in request.headers:
        config = request.context["client_config"]
        once = Config(s3={**(config.s3 or {}), "payload_signing_enabled": False})
        request.context["client_config"] = config.merge(once)


def is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent to an address: it is `https://`, or this machine."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
