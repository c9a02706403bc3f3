"""What stands for W&B in tests: servers that answer in all the wrong ways, and a reader of its offline files."""

import contextlib
import http.server
import json
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as records

BLOCK = 32768
FAULTS = ("refused", "401", "500", "garbage", "html", "silent", "slow")


def _good_answer(server: Any, path: str, asked: bytes) -> dict[str, Any]:
    """As little of W&B's server as a run needs that logs numbers."""
    if path.endswith("/file_stream"):
        server.streamed.append(json.loads(asked))
        return {}
    if path != "/graphql":
        return {}
    question = json.loads(asked)
    if "createRunFiles" in question["query"]:
        return {"data": {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": []}}}
    if "upsertBucket" not in question["query"]:
        return {"data": {"model": None, "project": None}}
    project = {"id": "p", "name": question["variables"]["project"], "entity": {"id": "e", "name": "somebody"}}
    run = {"id": "r", "name": question["variables"]["name"], "displayName": "a run", "config": "{}", "project": project}
    return {"data": {"upsertBucket": {"bucket": {**run, "historyLineCount": 0}, "inserted": True}}}


class _Handler(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        server: Any = self.server
        server.hits += 1
        asked = self.rfile.read(int(self.headers.get("content-length", 0)))
        fault = server.fault
        if fault == "garbage":
            self.wfile.write(b"\x00\xff" * 50)
            return
        if fault == "silent" or (fault == "slow" and self.command == "POST"):
            server.released.wait(120)
            return
        status, body = {
            "401": (401, b'{"errors": [{"message": "user is not logged in"}]}'),
            "500": (500, b"oops"),
            "html": (200, b"<html>please log in</html>"),
        }.get(fault) or (200, json.dumps(_good_answer(server, self.path, asked)).encode())
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def bad_server(fault: str) -> Iterator[Any]:
    """A server on loopback with one of `FAULTS` (or `none`); it has `.url`, counts `.hits` and keeps what is `.streamed`."""
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.fault, server.hits, server.streamed, server.released = fault, 0, [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    if fault == "refused":
        server.server_close()
        yield server
        return
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


def read_records(path: Path) -> list[Any]:
    """The records of a `.wandb` file: a 7-byte header, then LevelDB's log format with checksums."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    place, data, found = 7, b"", []
    while place < len(content):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        part = content[place + 7 : place + 7 + length]
        assert zlib.crc32(bytes([kind]) + part) == int.from_bytes(content[place : place + 4], "little")
        data = part if kind in (1, 2) else data + part
        if kind in (1, 4):
            found.append(records.Record.FromString(data))
        place += 7 + length
    return found


def history(found: list[Any]) -> list[dict[str, Any]]:
    """What was logged, one mapping a step, without wandb's own entries."""
    rows = [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]
    return [{key: value for key, value in row.items() if key not in ("_runtime", "_timestamp")} for row in rows]


def only(found: list[Any], kind: str) -> Any:
    """The last record of a kind."""
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind][-1]


def wait_for(condition: Any, seconds: float = 15) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)
