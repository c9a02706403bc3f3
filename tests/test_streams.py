"""Nothing that is printed, nor where it goes, changes what a command does and how it ends."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from docclf_cli import streams

DOCCLF = f"{sys.executable} -m docclf_cli"
STRANGE = "영수증 – …→ \udcbf\U0001f600"


def shell(line: str, folder: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    root = str(Path(streams.__file__).parents[1])
    own = {**os.environ, "XDG_CACHE_HOME": str(folder), "PYTHONPATH": root, **(env or {})}
    return subprocess.run(["bash", "-c", line], cwd=folder, env=own, capture_output=True, timeout=120)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("{} cache show | true; exit ${{PIPESTATUS[0]}}", 0, b""),
        ("{} --help | true; exit ${{PIPESTATUS[0]}}", 0, b""),
        ("{} cache clear nothing 2>&1 | true; exit ${{PIPESTATUS[0]}}", 2, b""),
        ("{} cache show >&-", 0, b""),
        ("{} cache show <&-", 0, b""),
        ("{} cache clear nothing 2>&-", 2, b""),
        ("{} cache clear nothing 2>/dev/full", 2, b""),
        ("{} cache show >/dev/full", 6, b"error: standard output: No space left on device"),
        ("{} cache show --json >/dev/full", 6, b"error: standard output: No space left on device"),
        ("WORLD_SIZE= RANK= {} cache show", 0, b""),
        ("WORLD_SIZE=x {} cache show", 2, b"error: WORLD_SIZE='x' is not a number"),
        ("echo 'WANDB_API_KEY: x' >.env; {} cache show", 2, b".env:1: not a line"),
        ("echo 'WANDB_API_KEY: x' >.env; {} cache show --help", 0, b""),
    ],
)
def test_how_a_command_ends(line: str, code: int, said: bytes, tmp_path: Path) -> None:
    done = shell(line.format(DOCCLF), tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "euc-kr", "latin-1"])
def test_every_text_can_be_printed_and_json_can_be_read_back(encoding: str, tmp_path: Path) -> None:
    code = (
        "import sys, json; from docclf_cli.streams import prepare_streams; from docclf_cli.display import show as report\n"
        f"prepare_streams(); text = {STRANGE!r}\n"
        "print(text, file=sys.stderr); report._print_json(text)"
    )
    (tmp_path / "print.py").write_text(code, encoding="utf-8", errors="backslashreplace")
    done = shell(f"{sys.executable} print.py", tmp_path, {"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode(encoding)) == STRANGE
    if encoding == "euc-kr":
        assert done.stderr.decode(encoding) == "영수증 - …→ \\udcbf\\U0001f600\n"


def test_a_stream_that_is_no_file_is_left_alone() -> None:
    text = io.StringIO()
    assert streams._safe(text) is text
