"""Checks of the services: W&B and S3. Without `--online` nothing is sent anywhere."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from docclf_cli.results.environment import CheckRow
from docclf_cli.services import env
from docclf_cli.services.env_check.checks import CHECKS, Situation, failure, ok, skipped, warning
from docclf_cli.services.env_check.project import NO_PROFILE
from docclf_cli.services.storage.s3 import Target, configured_bucket, connect, is_private, resolve_target
from docclf_cli.services.tracking.wandb_mode import DEFAULT_HOST, has_key, resolve_mode

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

WANDB_SECONDS = 5
LARGEST_SKEW = 300  # seconds; AWS refuses 900
_MODES = ("online", "offline", "disabled", "run", "dryrun")


@CHECKS.register("wandb", seconds=3)
def wandb(situation: Situation) -> Iterator[CheckRow]:
    """What W&B would do, and why."""
    if situation.profile is not None and situation.profile.tracking.backend != "wandb":
        yield skipped("wandb", f"tracking.backend is {situation.profile.tracking.backend}")
        return
    mode = (env.get("WANDB_MODE") or "").lower()
    if mode and mode not in _MODES:
        yield failure("wandb", "WANDB_MODE has an unknown value", "online, offline or disabled")
    elif mode:
        yield ok("wandb", f"{mode}: set by WANDB_MODE")
    elif has_key(os.environ, _wandb_server()):
        yield ok("wandb", "online: there is an API key")
    else:
        yield ok("wandb", "offline: there is no API key, runs are kept for `wandb sync`")


@CHECKS.register("wandb server", seconds=2 * WANDB_SECONDS + 2, only="online")
def wandb_server(situation: Situation) -> Iterator[CheckRow]:
    """Whether it answers, and knows the key."""
    server, key = _wandb_server(), env.get("WANDB_API_KEY")
    mode = resolve_mode(os.environ, server)
    host = urllib.parse.urlsplit(server).hostname
    if mode.unwanted:
        fix = "check the network, proxies and WANDB_BASE_URL; WANDB_MODE=offline keeps runs for `wandb sync`"
        yield warning("wandb server", mode.why, fix)
    elif mode.name != "online" or key is None:
        yield skipped("wandb server", f"not contacted: {mode.why if mode.name != 'online' else 'the key is in netrc'}")
    elif not is_private(server):
        yield warning("wandb server", f"{host} is not contacted: the key would be sent unencrypted", "use https://")
    elif user := _wandb_user(server, key):
        yield ok("wandb server", f"{host} knows the key of {user}")
    else:
        fix = "renew WANDB_API_KEY (https://wandb.ai/authorize), or set WANDB_MODE=offline"
        yield failure("wandb server", f"{host} does not accept the key", fix)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key goes to the server that was named, and to no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _wandb_user(server: str, key: str) -> str | None:
    basic = base64.b64encode(f"api:{key}".encode()).decode()
    request = urllib.request.Request(
        f"{server.rstrip('/')}/graphql",
        json.dumps({"query": "{ viewer { username } }"}).encode(),
        {"Authorization": f"Basic {basic}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=WANDB_SECONDS) as answer:
            viewer = json.load(answer)["data"]["viewer"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(viewer["username"]) if viewer else None


def _wandb_server() -> str:
    return env.get("WANDB_BASE_URL") or f"https://{DEFAULT_HOST}"


@CHECKS.register("s3", seconds=10)
def s3(situation: Situation) -> Iterator[CheckRow]:
    """The bucket's name, and where credentials come from."""
    target = _target(situation)
    if isinstance(target, CheckRow):
        yield target
        return
    connect(target)  # finds a wrong endpoint; nothing is sent
    source = _credentials_source()
    text = f"finished runs are pushed to {target}" if target.config.auto_push else f"{target}, for pushes on request"
    if source is None:
        fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; a machine's role shows with --online"
        yield warning("s3", f"{text}; no credentials found here", fix)
    else:
        yield ok("s3", f"{text}; credentials from {source}")


@CHECKS.register("s3 bucket", seconds=30, only="online")
def s3_bucket(situation: Situation) -> Iterator[CheckRow]:
    """HeadBucket, a conditional write and its refusal, a delete, and the clocks."""
    target = _target(situation)
    if isinstance(target, CheckRow):
        yield skipped("s3 bucket", target.detail)
        return
    from docclf_cli.services.storage.errors import remote_errors

    once = Target(target.bucket, target.prefix, target.config.model_copy(update={"retries": 1}))
    with remote_errors(once):
        client = connect(once)
        date = _head_bucket(client, once)
        conditional = _probe_write(client, once)
    yield _skew(date)
    if conditional:
        yield ok("s3 bucket", f"{target} can be read, written to and deleted from; conditional writes work")
    else:
        fix = "let only one process push a model at a time"
        yield warning("s3 bucket", f"{target} can be written to, but ignores the conditions of conditional writes", fix)


def _target(situation: Situation) -> Target | CheckRow:
    if situation.profile is None:
        return skipped("s3", NO_PROFILE)
    if configured_bucket(situation.profile.s3) is None:
        return skipped("s3", "no bucket is configured")
    return resolve_target(situation.profile.s3)


def _credentials_source() -> str | None:
    """The provider of boto3's chain that has some, without asking the network."""
    import botocore.session

    session = botocore.session.get_session()
    chain = session.get_component("credential_provider")
    for provider in ("iam-role", "container-role"):
        with contextlib.suppress(ValueError):
            chain.remove(provider)
    credentials = chain.load_credentials()
    return None if credentials is None else str(credentials.method)


def _head_bucket(client: S3Client, target: Target) -> str:
    from botocore.exceptions import ClientError

    try:
        answer = client.head_bucket(Bucket=target.bucket)
    except ClientError:
        client.list_objects_v2(Bucket=target.bucket, MaxKeys=1)  # its answer has a body that says why
        raise
    return answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")


def _probe_write(client: S3Client, target: Target) -> bool:
    """Write, try to write again where nothing may be, delete; whether the second was refused."""
    from botocore.exceptions import ClientError

    from docclf_cli.services.storage.manifest import encryption

    key = target.key(f"probe-{secrets.token_hex(8)}")
    client.put_object(Bucket=target.bucket, Key=key, Body=b"docclf", IfNoneMatch="*", **encryption(target))
    try:
        client.put_object(Bucket=target.bucket, Key=key, Body=b"twice", IfNoneMatch="*", **encryption(target))
    except ClientError as error:
        refused = error.response["ResponseMetadata"]["HTTPStatusCode"] == 412
        if not refused:
            raise
        return True
    else:
        return False
    finally:
        client.delete_object(Bucket=target.bucket, Key=key)


def _skew(date: str) -> CheckRow:
    try:
        seconds = (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):
        return skipped("clock", "the store does not report its time")
    text = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the store"
    if abs(seconds) > LARGEST_SKEW:
        return warning("clock", text, "set this machine's clock: timedatectl set-ntp true")
    return ok("clock", text)
