"""A store that accepts connections and then says nothing more is given up in a bounded time, and named."""

import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.exceptions import ReadTimeoutError
from s3transfer.exceptions import RetriesExceededError

from docclf_cli.errors import Interrupted, RemoteError
from docclf_cli.models import hub
from docclf_cli.profile.schema import S3Config
from docclf_cli.services.storage import s3
from docclf_cli.services.storage import transfer as s3_transfer
from docclf_cli.services.storage.cache import fetch_checkpoint
from docclf_cli.services.storage.errors import remote_errors
from docclf_cli.services.storage.push import push
from docclf_cli.services.storage.s3 import Target
from docclf_cli.stop import StopFlag

SIZE = 50_000_000
GONE = threading.Event()


class _Stalls(BaseHTTPRequestHandler):
    """Knows how large everything is, and sends the first thousand bytes of it."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._head(200, SIZE)

    def do_GET(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]
        self._head(200, SIZE)
        self.wfile.write(bytes(1000))
        self.wfile.flush()
        GONE.wait(60)
        self.close_connection = True

    def do_PUT(self) -> None:
        GONE.wait(60)  # does not even read
        self.close_connection = True

    do_POST = do_PUT  # noqa: N815

    def _head(self, status: int, size: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.send_header("ETag", '"0"')
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    asked = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that have left are what this is about."""


@pytest.fixture
def stalling(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    GONE.clear()
    server = _Server(("127.0.0.1", 0), _Stalls)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"),
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3, "READ_SECONDS", 1)
    monkeypatch.setattr(s3, "CONNECT_SECONDS", 1)
    yield server
    GONE.set()
    server.shutdown()
    server.server_close()


def test_a_download_that_stalls_is_given_up(
    stalling: _Server, monkeypatch: pytest.MonkeyPatch, cache_home: Path
) -> None:
    monkeypatch.setattr(s3_transfer, "STALL_SECONDS", 1.5)
    with pytest.raises(RemoteError, match=r"no byte has moved for 1.5 s, after [\d,]+ of 50,000,000") as raised:
        fetch_checkpoint("s3://bucket/some/best.ckpt")
    assert raised.value.exit_code == 5
    assert "repeat" in raised.value.hint
    asked = stalling.asked
    time.sleep(0.5)
    assert stalling.asked == asked  # nothing is tried again once it is given up
    assert not list(cache_home.rglob("*tmp*best*"))


def test_a_download_that_stalls_again_and_again_is_named_when_attempts_are_used_up(stalling: _Server) -> None:
    with pytest.raises(RemoteError, match=r"has stopped answering.*Read timeout") as raised:
        fetch_checkpoint("s3://bucket/some/best.ckpt", S3Config(retries=1))
    assert raised.value.exit_code == 5


def test_a_stop_while_nothing_moves_does_not_wait_for_more_attempts(stalling: _Server) -> None:
    class StopWhenAsked(StopFlag):
        def raise_if_set(self, message: str, hint: str = "") -> None:
            self.signal_number = signal.SIGINT if stalling.asked else None
            super().raise_if_set(message, hint)

    with pytest.raises(Interrupted):
        fetch_checkpoint("s3://bucket/some/best.ckpt", stop=StopWhenAsked())
    asked = stalling.asked
    time.sleep(0.5)
    assert stalling.asked == asked


def test_an_upload_that_stalls_is_given_up(stalling: _Server, run: Path) -> None:
    target = Target("bucket", "docclf", S3Config(retries=1))
    with pytest.raises(RemoteError) as raised:
        push([run], target)
    assert raised.value.exit_code == 5
    assert raised.value.hint


@pytest.mark.parametrize(
    "error",
    [
        RetriesExceededError(ReadTimeoutError(endpoint_url="http://x")), RetriesExceededError(TimeoutError("timed out")),
        RetriesExceededError(ConnectionResetError("reset")), ConnectionResetError("reset"), TimeoutError("timed out"),
    ],
)  # fmt: skip
def test_what_sockets_and_the_transfer_manager_raise_is_the_stores(error: Exception) -> None:
    with (
        pytest.raises(RemoteError, match=r"has stopped answering|cannot be reached") as raised,
        remote_errors("s3://b/k"),
    ):
        raise error
    assert raised.value.hint


def test_an_error_of_the_disk_is_not_the_stores() -> None:
    with pytest.raises(OSError, match="No space"), remote_errors("s3://b/k"):
        raise OSError(28, "No space left on device")


def test_weights_that_stop_coming_are_given_up(
    stalling: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(hub, "require_answer", lambda name, url: None)  # tests forbid the hub's client to ask
    monkeypatch.setattr(hub.torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(RemoteError, match="nothing more has come for 1 s") as raised:
        hub._from_url("resnet18", f"http://127.0.0.1:{stalling.server_port}/w.pth")
    assert raised.value.exit_code == 5
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # no part of a file is taken for it
