"""Fixtures for all rooms."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from cli_process import CliProcess, Outcome

from docclf_cli.hardware import limit_thread_spinning

# No test may reach a hub, a tracker or a bucket of the person who runs it.
for _name in (
    "WANDB_API_KEY",
    "S3_BUCKET_NAME",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL",
):
    os.environ.pop(_name, None)
os.environ["WANDB_MODE"] = "disabled"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["LC_ALL"] = "C.UTF-8"  # tables are English
limit_thread_spinning()
hypothesis.settings.register_profile("suite", deadline=None)  # no test depends on how fast the machine is
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of the session's own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))


@pytest.fixture
def start(tmp_path: Path, cache_home: Path) -> Callable[..., CliProcess]:
    """Start `docclf ARGS` in the test's folder; it runs on while the test goes on."""

    def start_(*args: object, cwd: Path = tmp_path, env: dict[str, str | None] | None = None) -> CliProcess:
        return CliProcess(
            tuple(map(str, args)), cwd, {"XDG_CACHE_HOME": str(cache_home), "COLUMNS": "120", **(env or {})}
        )

    return start_


@pytest.fixture
def docclf(start: Callable[..., CliProcess]) -> Callable[..., Outcome]:
    """Run `docclf ARGS` in the test's folder to its end."""

    def run(*args: object, **options: object) -> Outcome:
        return start(*args, **options).wait()

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's browser, headless."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on this machine")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()
