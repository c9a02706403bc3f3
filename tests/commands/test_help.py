"""The help of every command: an example, a page of docs/, and what options take in plain words."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.main import get_command
from typer.testing import CliRunner

from docclf_cli.app import app

ROOT = Path(__file__).parents[2]


def commands() -> Iterator[str]:
    """Every command; of groups, their subcommands."""
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        yield from (f"{name} {one}" for one in getattr(command, "commands", ()))
        if not getattr(command, "commands", ()):
            yield name


@pytest.mark.parametrize("command", commands())
def test_help(command: str) -> None:
    text = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "80", "TERM": "dumb"}).stdout
    assert f" docclf {command}" in text.partition("Examples")[2]
    page = re.search(r"More: (docs/\S+)", text)
    assert page
    assert (ROOT / page[1]).is_file()
    assert re.findall(r"<\w+>|list\[|\{\w+\}|\]\.\.\.", text) == []
    assert max(map(cell_len, text.splitlines())) <= 80
