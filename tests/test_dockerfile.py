"""The Dockerfile, as far as it can be checked without Docker."""

import re
import shlex
import tomllib
from pathlib import Path

from typer.main import get_command

from docclf_cli.app import app

ROOT = Path(__file__).parent.parent
LINES = [
    line
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]


def _argument(instruction: str) -> str:
    (line,) = [line for line in LINES if line.startswith(f"{instruction} ")]
    return line.partition(" ")[2]


def test_it_starts_the_server_with_options_that_exist() -> None:
    entry = re.findall(r'"([^"]*)"', _argument("ENTRYPOINT")) + re.findall(r'"([^"]*)"', _argument("CMD"))[-3:]
    assert entry[:2] == ["docclf", "serve"]
    command = get_command(app).commands[entry[1]]  # type: ignore[attr-defined]
    known = {name for param in command.params for name in param.opts}
    assert {word for word in entry if word.startswith("--")} <= known


def test_it_installs_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (run,) = [line for line in LINES if ".whl" in line and line.startswith("RUN")]
    extras = re.search(r"\[([\w,-]+)\]", run)
    assert extras
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    python = re.search(r"python:(\d+\.\d+)", _argument("FROM"))
    assert python
    assert f">={python[1]}" == project["requires-python"]


def test_it_does_not_run_as_root() -> None:
    user = _argument("USER")
    assert user not in ("root", "0")
    assert any(line.startswith("RUN useradd") and user in shlex.split(line) for line in LINES)
    assert LINES.index(f"USER {user}") < min(
        number for number, line in enumerate(LINES) if line.startswith("ENTRYPOINT")
    )
