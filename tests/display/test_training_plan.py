"""The expected minutes of a run are corrected by what is measured."""

import logging
from pathlib import Path

import pytest

from docclf_cli.display.training_plan import PlanDisplay, minutes
from docclf_cli.events import EpochDone, Event, FitStarted, StepDone
from docclf_cli.results.training import TrainingPlan

PLAN = TrainingPlan(
    Path("runs/a"), "laptop", "no GPU", "m", "", "pages", 100, 80, 20, "20% held out", 3, 224, 10, 1, "cpu", 5.0
)  # fmt: skip


class Clock:
    """Stands still until it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "docclf")
    return caplog


def test_steps_and_then_the_first_epoch_correct_the_guess(
    said: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, seen = Clock(), list[Event]()
    display = PlanDisplay(seen.append, quiet=False, clock=clock)
    display.announce(PLAN)
    assert "about 5 minutes (a guess)" in capsys.readouterr().err
    events: list[Event] = [FitStarted("m", Path("runs/a"), 0, 100)]
    events += [StepDone(1, step, 1.0, 0.1, 8) for step in range(1, 11)]
    for event in events:
        clock.now += 12.0
        display(event)
    # 100 steps of 12 s, and a sixth for the held-out pages
    assert [record.message for record in said.records] == [
        "expected to take 23 minutes in all, measured on the first steps"
    ]
    clock.now = 12.0 + 360.0
    display(EpochDone(1, {}, True, {}))
    assert said.records[-1].message == "expected to take 60 minutes in all, measured on the first epoch"
    clock.now = 9000.0
    display(EpochDone(2, {}, True, {}))
    assert len(said.records) == 2
    assert len(seen) == 13


def test_a_guess_that_was_right_is_not_said_again(said: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    display = PlanDisplay(lambda event: None, quiet=True, clock=clock)
    display.announce(PLAN)
    display(FitStarted("m", Path("runs/a"), 0, 100))
    clock.now = 31.0
    display(EpochDone(1, {}, True, {}))
    assert said.records == []


def test_minutes_are_words() -> None:
    assert [minutes(value) for value in (0.2, 1.0, 8.4, 140.0)] == [
        "less than a minute", "1 minute", "8 minutes", "2 h 20 min",
    ]  # fmt: skip
