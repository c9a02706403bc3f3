"""The script of docs/scripts.md runs from its first line to its last, against the sample documents and a real S3 server."""

import contextlib
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import s3_server
from cli_process import CliProcess
from s3_server import BUCKET

from docclf_cli.data.samples.samples import render_samples

ROOT = Path(__file__).parent.parent
TINY = "--profile quickstart --epochs 1 --image-size 48 --batch-size 8 --no-pretrained"
STAND_IN = """#!{python} -IS
import json, os, socket, sys
with socket.create_connection({address}) as relay:
    relay.sendall((json.dumps([sys.argv[1:], os.getcwd()]) + "\\n").encode())
    code, out, err = json.load(relay.makefile())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


def scripts(page: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    return [block for block in blocks if block.startswith("#!")]


class Relay(socketserver.StreamRequestHandler):
    """Runs one `docclf` for the stand-in on the script's PATH, forked from the warmed parent like in other tests."""

    def handle(self) -> None:
        server: Any = self.server
        args, cwd = json.loads(self.rfile.readline())
        outcome = CliProcess(tuple(args), Path(cwd), server.env).wait()
        self.wfile.write(json.dumps([outcome.code, outcome.stdout, outcome.stderr]).encode())


@contextlib.contextmanager
def docclf_on_path(folder: Path, env: Mapping[str, str]) -> Iterator[str]:
    """A PATH on which `docclf` is the one under test, in an environment with `env`."""
    with socketserver.TCPServer(("127.0.0.1", 0), Relay) as server:
        program = folder / "bin" / "docclf"
        program.parent.mkdir()
        program.write_text(STAND_IN.format(python=sys.executable, address=server.server_address))
        program.chmod(0o755)
        server.env = env  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        server.shutdown()


@pytest.mark.timeout(600)
def test_the_script_runs_from_check_to_push(tmp_path: Path, cache_home: Path) -> None:
    (script,) = scripts("docs/scripts.md")
    (tmp_path / "sort.sh").write_text(script)
    pages = render_samples(tmp_path / "pages", pages_per_class=6, test_pages_per_class=2)
    given = {"DATA": str(pages), "MODELS": "test_resnet test_convnext", "SETTINGS": TINY}
    with s3_server.running(tmp_path / "s3") as server:
        env = {**server.environment(), "XDG_CACHE_HOME": str(cache_home), "COLUMNS": "120"}
        with docclf_on_path(tmp_path, env) as path:
            done = subprocess.run(
                ["bash", "sort.sh"],
                cwd=tmp_path,
                env={**os.environ, **given, "PATH": path},
                capture_output=True,
                text=True,
            )
        assert done.returncode == 0, done.stderr
        stored = server.client().list_objects_v2(Bucket=BUCKET, Prefix="docclf/", Delimiter="/")
    assert {"docclf/test_resnet/", "docclf/test_convnext/"} <= {found["Prefix"] for found in stored["CommonPrefixes"]}
    for name in ("environment.txt", "together.json", "runs/together", "runs/test_convnext/val.json"):
        assert (tmp_path / name).exists(), name
    assert list((tmp_path / "runs" / "test_resnet").rglob("*.html"))


def test_it_stops_where_something_fails(tmp_path: Path) -> None:
    (script,) = scripts("docs/scripts.md")
    (tmp_path / "runs" / "one").mkdir(parents=True)
    program = tmp_path / "docclf"
    program.write_text('#!/bin/sh\necho "$1"\n[ "$1" != evaluate ] || exit 4\n')
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "MODELS": "one two"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (4, ["train"])


def test_the_korean_page_shows_the_same_script() -> None:
    assert scripts("docs/scripts.md") == scripts("docs/ko/operation.md")
