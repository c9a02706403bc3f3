"""The script for paperless-ngx in docs/watch.md, against a stand-in for its server."""

import email
import email.policy
import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "watch.md"


class Paperless(http.server.BaseHTTPRequestHandler):
    """Document types, and documents that were posted."""

    types: dict[str, int]
    posted: list[dict[str, Any]]

    def do_GET(self) -> None:
        name = self.path.partition("name__iexact=")[2]
        self._answer({"results": [{"id": self.types[name]}] if name in self.types else []})

    def do_POST(self) -> None:
        assert self.headers["Authorization"] == "Token secret"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/document_types/":
            self._answer({"id": self.types.setdefault(json.loads(body)["name"], len(self.types) + 7)})
            return
        assert self.path == "/api/documents/post_document/"
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        fields = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
        self.posted.append(
            {str(name): part.get_payload(decode=True) for name, part in fields.items()}
            | {"filename": fields["document"].get_filename()}
        )
        self._answer("a-task-id")

    def _answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def paperless() -> Iterator[tuple[str, type[Paperless]]]:
    handler = type("Own", (Paperless,), {"types": {"letter": 3}, "posted": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", handler
    server.shutdown()
    server.server_close()


def test_documents_are_posted_with_their_type(paperless: tuple[str, type[Paperless]], tmp_path: Path) -> None:
    url, server = paperless
    (script,) = re.findall(r"```py\n(# paperless\.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "paperless.py").write_text(script, encoding="utf-8")
    (tmp_path / "받은 편지.pdf").write_bytes(b"%PDF-1.7 a page")
    for decision, needs_review in (("letter", False), ("invoice", False), ("review", True)):
        told = {
            "id": "0123abcd",
            "destination": str(tmp_path / "받은 편지.pdf"),
            "document": {"decision": decision, "needs_review": needs_review},
        }
        subprocess.run(
            [sys.executable, tmp_path / "paperless.py"], input=json.dumps(told).encode(), check=True, timeout=60,
            env={"PAPERLESS_URL": url, "PAPERLESS_TOKEN": "secret", "PATH": ""},
        )  # fmt: skip
    assert [int(one["document_type"]) for one in server.posted] == [3, 8]
    assert server.types == {"letter": 3, "invoice": 8}
    for one in server.posted:
        assert (one["title"].decode(), one["document"]) == ("받은 편지", b"%PDF-1.7 a page")
        assert one["filename"] == "0123abcd.pdf"
