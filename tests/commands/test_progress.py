"""How long work is shown where there is no terminal."""

import logging

import pytest

from docclf_cli.commands import _progress
from docclf_cli.engine.events import Progress


def test_plain_lines_tell_the_time_left(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(_progress.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(_progress, "PLAIN_INTERVAL", 0.0)
    monkeypatch.setattr(logging.getLogger("docclf"), "propagate", True)
    lines = _progress._Lines()
    with caplog.at_level(logging.INFO, "docclf"):
        for done in (10, 20, 990):
            lines(Progress("predicting", done, 1000))
    first, second, third = (record.message for record in caplog.records)
    assert first == "predicting: 10 of 1000 pages"
    assert second.startswith("predicting: 20 of 1000 pages, ") and second.endswith(" min left")
    assert third.endswith(" s left")
