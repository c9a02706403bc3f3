"""Messages, errors and tracebacks on stderr hold no secret."""

import io
import logging
from collections.abc import Iterator

import pytest
from rich.console import Console

from docclf_cli.display import console
from docclf_cli.errors import RemoteError

SECRET = "s3canary/[x]+xxxx"
LEAK = f"key {SECRET} of https://me:{SECRET}@host/path"
CLEAN = "key [AWS_SECRET_ACCESS_KEY] of https://[user]@host/path"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What goes to stderr, while a secret is in the environment."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    text, logger = io.StringIO(), logging.getLogger("docclf")
    before = logger.handlers[:], logger.propagate, logger.level
    monkeypatch.setattr(console, "stderr", Console(file=text, soft_wrap=True, highlight=False))
    console.start_logging()
    yield text
    logger.handlers[:], logger.propagate, logger.level = before
    console.set_debug(False)


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.ERROR])
def test_messages(printed: io.StringIO, level: int) -> None:
    logging.getLogger("docclf").log(level, "the %s", LEAK)
    assert printed.getvalue().endswith(f"the {CLEAN}\n")


@pytest.mark.parametrize("debug", [False, True])
def test_errors_hints_and_tracebacks(printed: io.StringIO, debug: bool) -> None:
    console.set_debug(debug)
    try:
        raise RemoteError(f"refused: {LEAK}", f"look at {LEAK}") from ValueError(LEAK)
    except RemoteError as error:
        console.error(error.message, error.hint, error)
    assert SECRET not in printed.getvalue()
    assert printed.getvalue().count(CLEAN) == (4 if debug else 2)
    assert ("Traceback" in printed.getvalue()) == debug
