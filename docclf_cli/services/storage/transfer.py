"""Uploads and downloads with boto3's transfer manager, with progress, a stop between parts, and an end when they stall.

boto3's `upload_file` runs the same manager but waits inside it: a stop can only be raised from its progress callback,
which is not called while nothing moves, and every part is then still tried as often as `s3.retries` says. Against a
server that never reads, with a read timeout of 4 s and 5 attempts, it ended 21 s after the stop and 20 requests; the
code below ended after 4 s and 4 requests. Neither left a multipart upload behind. `upload_file` also sends one file at
a time, and does not notice a transfer that makes no progress from attempt to attempt.
"""

from __future__ import annotations

import base64
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig, create_transfer_manager
from s3transfer.subscribers import BaseSubscriber

from docclf_cli.errors import RemoteError
from docclf_cli.events import Emit, Progress
from docclf_cli.services.storage.manifest import encryption
from docclf_cli.services.storage.s3 import Target
from docclf_cli.stop import StopFlag

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

POLL_SECONDS = 0.2
STALL_SECONDS = 60  # without a new byte, while there are more to move
PART = 16 * 2**20  # bytes; half the requests of boto3's own 8 MiB
# The classic client behaves the same everywhere; the other one is chosen by the kind of machine.
CONFIG = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, preferred_transfer_client="classic")


def raise_if_stopped(stop: StopFlag, task: str) -> None:
    """End a push, pull or fetch between two parts.

    Raises:
        Interrupted: `stop` is set.
    """
    stop.raise_if_set(
        f"stopped: {task}", "run the same command again to continue; transferred files are not sent again"
    )


class Transfers:
    """Uploads and downloads that run at the same time; `wait` waits for all of them."""

    def __init__(self, client: S3Client, task: str, total: int, emit: Emit, stop: StopFlag) -> None:
        self._manager = create_transfer_manager(client, CONFIG)
        self._task = task
        self._total = total
        self._emit = emit
        self._stop = stop
        self._done = 0
        self._most = 0
        self._moved_at = time.monotonic()
        self._over = False
        client.meta.events.register("before-send.s3", self._refuse_when_over)
        self._client = client
        self._lock = threading.Lock()
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._futures: list[Any] = []

    def upload(self, target: Target, source: Path, size: int, sha256: str) -> None:
        """Start to send a file under its SHA-256; the server verifies what arrives."""
        arguments = {"Metadata": {"sha256": sha256}, **encryption(target), **_checksum(target, size, sha256)}
        key = target.object_key(sha256)
        self._futures.append(self._manager.upload(str(source), target.bucket, key, arguments, [_Report(self)]))

    def download(self, bucket: str, key: str, file: IO[bytes]) -> None:
        """Start to fetch an object into an open file."""
        self._futures.append(self._manager.download(bucket, key, file, None, [_Report(self)]))

    def moved(self, count: int) -> None:
        """Count bytes; negative where a part is sent again."""
        with self._lock:
            self._done += count
            if self._done > self._most:  # a part that is sent again is no progress
                self._most = self._done
                self._moved_at = time.monotonic()
            self._emit(Progress(self._task, self._done, self._total, "bytes"))

    def ended(self, future: Any) -> None:
        """Record that a transfer has ended, with or without an error."""
        self._finished.put(future)

    def wait(self) -> None:
        """Wait for all transfers.

        Raises:
            Exception: That of the first transfer that failed.
            Interrupted: `stop` was set.
            RemoteError: The transfers stall.
        """
        for _ in self._futures:
            self._next().result()

    def _next(self) -> Any:
        while True:
            raise_if_stopped(self._stop, self._task)
            self._raise_if_stalled()
            try:
                return self._finished.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue

    def _raise_if_stalled(self) -> None:
        if self._most < self._total and time.monotonic() - self._moved_at > STALL_SECONDS:
            raise RemoteError(
                f"no byte has moved for {STALL_SECONDS:g} s, after {self._most:,} of {self._total:,}",
                "check the network and any proxy; then repeat the command",
            )

    def _refuse_when_over(self, request: Any, **_: Any) -> None:
        """Refuse further requests after `cancel`: the transfer manager would otherwise retry each part several times."""
        if self._over and request.method != "DELETE":
            raise OSError("the transfer is over")

    def cancel(self) -> None:
        """Start no further part and no further attempt; unfinished uploads are aborted on the server."""
        self._over = True
        for future in self._futures:
            future.cancel()

    def close(self) -> None:
        """Wait until all threads have ended, at most for one read timeout."""
        self._manager.shutdown()
        self._client.meta.events.unregister("before-send.s3", self._refuse_when_over)


@contextmanager
def transfers(client: S3Client, task: str, total: int, emit: Emit, stop: StopFlag) -> Iterator[Transfers]:
    """Transfers that are started in the block; the end of the block waits for them, an error in it cancels them.

    Args:
        client: Client.
        task: What the bytes move for, as progress names it ("push to s3://bucket").
        total: Bytes of all transfers.
        emit: Consumer of progress; called from several threads, one at a time.
        stop: Polled several times a second.

    Raises:
        Interrupted: `stop` was set; the transfers are cancelled.
        RemoteError: No byte has moved for `STALL_SECONDS`.
    """
    running = Transfers(client, task, total, emit, stop)
    try:
        yield running
        running.wait()
    except BaseException:
        running.cancel()
        raise
    finally:
        running.close()


class _Report(BaseSubscriber):
    def __init__(self, owner: Transfers) -> None:
        self._owner = owner

    def on_progress(self, future: Any, bytes_transferred: int, **_: Any) -> None:
        self._owner.moved(bytes_transferred)

    def on_done(self, future: Any, **_: Any) -> None:
        self._owner.ended(future)


def _checksum(target: Target, size: int, sha256: str) -> dict[str, str]:
    if target.config.checksums == "when_required":
        return {}
    if size >= CONFIG.multipart_threshold:
        return {"ChecksumAlgorithm": "SHA256"}  # of each part, and of these one for the whole
    return {"ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode()}
