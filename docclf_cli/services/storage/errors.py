"""Translate errors of stores and of boto3 into messages with a hint."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from typing import NamedTuple

from boto3.exceptions import Boto3Error
from botocore import exceptions as aws
from botocore.exceptions import ClientError
from s3transfer import exceptions as transfer

from docclf_cli.errors import RemoteError


class _Advice(NamedTuple):
    what: str
    hint: str


_KEYS = (
    "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE); `docclf env-check --online` asks the bucket"
)
_WRONG_KEY = _Advice("the store does not know these keys", _KEYS)
_EXPIRED = _Advice("the credentials have expired", "renew them: AWS_SESSION_TOKEN, or `aws sso login`")
_DENIED = _Advice(
    "no permission",
    "ask for s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket and s3:AbortMultipartUpload on this bucket",
)
_NO_BUCKET = _Advice("there is no such bucket", "check S3_BUCKET_NAME (or s3.bucket); docclf never makes buckets")
_REGION = _Advice("the bucket is in another region", "set AWS_DEFAULT_REGION to the bucket's region")
_CLOCK = _Advice("this machine's clock is wrong", "set it (AWS allows 15 minutes): timedatectl set-ntp true")
_DAMAGED = _Advice("bytes were damaged on the way, and the store refused them", "repeat the command")
_BUSY = _Advice("the store is busy or failing", "repeat the command in a while; what has arrived is not sent again")
_UNSUPPORTED = _Advice("the store does not know this request", "try --set s3.checksums=when_required")
_UNREACHABLE = _Advice("the store cannot be reached", "check the network, AWS_ENDPOINT_URL and any proxy; then repeat")
_SILENT = _Advice(
    "the store has stopped answering",
    "check the network and any proxy; then repeat the command",
)
_TLS = _Advice(
    "the store's TLS certificate is not trusted",
    "where the store has its own authority, set AWS_CA_BUNDLE to its certificates; certificates are always checked",
)
_NO_CREDENTIALS = _Advice(
    "no credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in .env, or AWS_PROFILE; see env_example.txt"
)
_PROFILE = _Advice("the AWS profile cannot be used", "check AWS_PROFILE and ~/.aws, or renew it: `aws sso login`")

BY_CODE = {
    "InvalidAccessKeyId": _WRONG_KEY,
    "SignatureDoesNotMatch": _WRONG_KEY,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "403": _DENIED,
    "NoSuchBucket": _NO_BUCKET,
    "404": _NO_BUCKET,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "301": _REGION,
    "RequestTimeTooSkewed": _CLOCK,
    "BadDigest": _DAMAGED,
    "InvalidDigest": _DAMAGED,
    "XAmzContentSHA256Mismatch": _DAMAGED,
    "SlowDown": _BUSY,
    "InternalError": _BUSY,
    "ServiceUnavailable": _BUSY,
    "500": _BUSY,
    "503": _BUSY,
    "NotImplemented": _UNSUPPORTED,
}
BY_TYPE: tuple[tuple[type[Exception], _Advice], ...] = (
    (aws.NoCredentialsError, _NO_CREDENTIALS),
    (aws.PartialCredentialsError, _NO_CREDENTIALS),
    (aws.ProfileNotFound, _PROFILE),
    (aws.CredentialRetrievalError, _PROFILE),
    (aws.TokenRetrievalError, _PROFILE),
    (aws.SSOError, _PROFILE),
    (aws.SSLError, _TLS),
    (ssl.SSLError, _TLS),
    (aws.ReadTimeoutError, _SILENT),
    (TimeoutError, _SILENT),
    (aws.ConnectionError, _UNREACHABLE),
    (aws.HTTPClientError, _UNREACHABLE),
    (aws.IncompleteReadError, _UNREACHABLE),
    (aws.ResponseStreamingError, _UNREACHABLE),
    (aws.FlexibleChecksumError, _DAMAGED),
    (transfer.S3ValidationError, _DAMAGED),
    (ConnectionError, _UNREACHABLE),
)
# All that boto3, its transfer manager and the sockets below them raise; errors of the disk are none of these.
_RAISED = (
    ClientError, aws.BotoCoreError, Boto3Error, transfer.RetriesExceededError, transfer.S3DownloadFailedError,
    transfer.S3UploadFailedError, transfer.S3ValidationError, ConnectionError, TimeoutError, ssl.SSLError,
)  # fmt: skip


@contextlib.contextmanager
def remote_errors(where: object) -> Iterator[None]:
    """Translate errors of boto3 inside the block into a `RemoteError` about `where`.

    Raises:
        RemoteError: The store refuses or cannot be reached.
    """
    try:
        yield
    except _RAISED as error:
        raise _explained(where, error) from error


def code_of(error: ClientError) -> str:
    """The store's error code, or the HTTP status where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _explained(where: object, error: BaseException) -> RemoteError:
    if isinstance(error, transfer.RetriesExceededError) and error.last_exception is not None:
        error = error.last_exception
    text = " ".join(str(error).split())
    if isinstance(error, ClientError):
        advice = BY_CODE.get(code_of(error))
    else:
        advice = next((advice for kind, advice in BY_TYPE if isinstance(error, kind)), None)
    if advice is None:
        return RemoteError(f"{where}: {text}", "`docclf env-check --online` asks the bucket")
    return RemoteError(f"{where}: {advice.what} ({text})", advice.hint)
