"""How long work is shown where there is no terminal."""

import logging
from collections.abc import Iterator

import pytest

from docclf_cli.commands import _progress
from docclf_cli.engine.events import Progress


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every event is told."""
    monkeypatch.setattr(_progress, "PLAIN_INTERVAL", 0.0)
    monkeypatch.setattr(logging.getLogger("docclf"), "propagate", True)
    with caplog.at_level(logging.INFO, "docclf"):
        yield caplog


def _play(monkeypatch: pytest.MonkeyPatch, events: list[tuple[float, int]], total: int = 1000) -> None:
    lines = None
    for second, done in events:
        monkeypatch.setattr(_progress.time, "monotonic", lambda second=second: float(second))
        lines = lines or _progress._Lines()
        lines(Progress("predicting", done, total))


def test_plain_lines_tell_the_time_left(monkeypatch: pytest.MonkeyPatch, told: pytest.LogCaptureFixture) -> None:
    _play(monkeypatch, [(0, 10), (10, 20), (980, 990)])
    assert [record.message for record in told.records] == [
        "predicting: 10 of 1000 pages",
        "predicting: 20 of 1000 pages, 16 min left",
        "predicting: 990 of 1000 pages, 10 s left",
    ]


def test_work_that_begins_anew_is_timed_anew(monkeypatch: pytest.MonkeyPatch, told: pytest.LogCaptureFixture) -> None:
    """Each epoch has its validation."""
    _play(monkeypatch, [(0, 32), (10, 96), (500, 32), (510, 64)], total=98)
    assert [record.message for record in told.records][2:] == [
        "predicting: 32 of 98 pages",
        "predicting: 64 of 98 pages, 11 s left",
    ]
