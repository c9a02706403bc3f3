"""What happens when the server, the client or the certificate fails in the middle."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3_server
from s3_server import BUCKET, S3Server

from docclf_cli.errors import RemoteError
from docclf_cli.files import sha256_of
from docclf_cli.profile.schema import S3Config
from docclf_cli.services.storage import push as s3_push
from docclf_cli.services.storage.pull import pull
from docclf_cli.services.storage.push import push
from docclf_cli.services.storage.s3 import Target, connect, resolve_target

PUSHER = """
import sys, pathlib
from docclf_cli.profile.schema import S3Config
from docclf_cli.services.storage.s3 import resolve_target
from docclf_cli.services.storage.push import push
def progress(event):
    print(event.done, flush=True)
push([pathlib.Path(sys.argv[1])], resolve_target(S3Config(prefix=sys.argv[2])), emit=progress)
"""


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.ckpt"
    path.write_bytes(os.urandom(60_000_000))
    return path


@pytest.fixture
def own_server(tmp_path: Path, clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3_server.running(tmp_path / "s3") as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.slow
def test_a_client_killed_in_the_middle_leaves_nothing_to_see_and_can_be_repeated(
    server: S3Server, target: Target, big: Path, tmp_path: Path
) -> None:
    for kill_after in (1, 30_000_000, 59_000_000):
        pusher = subprocess.Popen(
            [sys.executable, "-c", PUSHER, str(big), target.prefix], stdout=subprocess.PIPE, text=True
        )
        assert pusher.stdout is not None
        for line in pusher.stdout:
            if int(line) >= kill_after:
                pusher.send_signal(signal.SIGKILL)
                break
        assert pusher.wait() == -signal.SIGKILL
        listed = server.client().list_objects_v2(Bucket=BUCKET, Prefix=target.prefix + "/").get("Contents", [])
        assert not [item for item in listed if item["Key"].endswith("manifest.json")]
        assert all(item["Size"] == 60_000_000 for item in listed)
    assert push([big], target).files[0].size == 60_000_000
    assert sha256_of(pull("big", tmp_path / "back", target).files[0].path) == sha256_of(big)


@pytest.mark.slow
def test_a_server_killed_in_the_middle_and_started_again(own_server: S3Server, big: Path, tmp_path: Path) -> None:
    target = resolve_target(S3Config(prefix="kill", retries=5))
    restart: list[threading.Timer] = []

    def kill(event: Any) -> None:
        if event.done > 20_000_000 and not restart:
            own_server.kill()
            restart.append(threading.Timer(1.0, own_server.start))
            restart[0].start()

    try:
        push([big], target, emit=kill)
    except RemoteError as error:
        assert error.hint  # gave up before the server was back; repeating is enough
        restart[0].join()
        push([big], target)
    assert restart
    assert sha256_of(pull("big", tmp_path / "back", target).files[0].path) == sha256_of(big)


@pytest.mark.slow
def test_a_server_that_stays_away_is_given_up(own_server: S3Server, big: Path, tmp_path: Path) -> None:
    target = resolve_target(S3Config(prefix="away", retries=2))
    with pytest.raises(RemoteError, match="cannot be reached") as raised:
        push([big], target, emit=lambda event: own_server.kill() if event.done > 20_000_000 else None)
    assert raised.value.exit_code == 5
    own_server.start()
    push([big], target)
    assert sha256_of(pull("big", tmp_path / "back", target).files[0].path) == sha256_of(big)


def test_a_certificate_nobody_vouches_for_is_refused_unless_named(
    tmp_path: Path, clean_environment: None, monkeypatch: pytest.MonkeyPatch, run: Path
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    with s3_server.running(tmp_path / "s3", (certificate, key)) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.tls_endpoint)
        target = resolve_target(S3Config(retries=1))
        with pytest.raises(RemoteError, match="certificate is not trusted") as raised:
            push([run], target)
        assert "AWS_CA_BUNDLE" in raised.value.hint
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        push([run], target)
        assert pull("invoice-01", tmp_path / "back", target).bytes_fetched > 0


@pytest.mark.parametrize("part", [1000, 20_000_000], ids=["whole", "parts"])
def test_bytes_that_change_on_the_way_are_refused(
    server: S3Server, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(os.urandom(part))
    signed: list[str] = []

    def corruption(request: Any, **_: Any) -> None:
        if b"x-amz-checksum-sha256" in [name.lower().encode() for name in request.headers]:
            signed.append(request.headers["X-Amz-Content-SHA256"].decode())
            request.body = b"x" * len(request.body.read())

    def connected(target: Target) -> Any:
        client = connect(target)
        client.meta.events.register("before-send.s3", corruption)
        return client

    monkeypatch.setattr(s3_push, "connect", connected)
    with pytest.raises(RemoteError):
        push([path], target)
    # The signed checksum alone tells: the body is not hashed a second time for the signature.
    assert set(signed) == {"UNSIGNED-PAYLOAD"}
    stored = server.client().list_objects_v2(Bucket=BUCKET, Prefix=target.prefix)
    assert stored["KeyCount"] == 0
