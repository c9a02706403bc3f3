"""A fit that keeps its time: epochs are added or left out as a clock tells, and a resumed fit repeats what was decided."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_files import contents, differing
from tiny import draw_pages, no_plots, stop_when, tiny_profile

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.training.pace import MOST_EPOCHS, Allowance, Pace
from docclf_cli.errors import CheckpointError
from docclf_cli.events import Event, StepDone
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile
from docclf_cli.tasks import train as train_module
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]
STEPS = 4  # of an epoch


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def paced(tmp_path: Path, seconds: float, epochs: int = 10, step: int = 0) -> tuple[Pace, Clock]:
    clock = Clock()
    return Pace(Allowance(seconds, tmp_path / "pace.csv", 50, clock), epochs, STEPS, step, pass_cost=0.01), clock


def play(pace: Pace, clock: Clock, seconds: list[float]) -> list[int]:
    """The epochs decided after each of some epochs that take so many seconds."""
    done = []
    for number, one in enumerate(seconds, 1):
        clock.now += one
        pace.epoch_done(number)
        done.append(pace.epochs)
    return done


def test_a_machine_as_fast_as_planned_changes_nothing(tmp_path: Path) -> None:
    pace, clock = paced(tmp_path, seconds=105.5)
    assert play(pace, clock, [10.0] * 9) == [10] * 9
    assert [pace.position(step) for step in range(0, 40, 7)] == list(range(0, 40, 7))


def test_a_slower_machine_leaves_epochs_out_and_the_schedule_still_ends(tmp_path: Path) -> None:
    pace, clock = paced(tmp_path, seconds=114)
    assert play(pace, clock, [10.0, 10.0, 20.0, 20.0, 20.0, 20.0]) == [10, 10, 8, 6, 6, 6]
    assert pace.position(6 * STEPS) == pytest.approx(10 * STEPS)
    places = [pace.position(step) for step in range(6 * STEPS + 1)]
    assert places == sorted(places)


def test_a_faster_machine_gets_more_epochs_early_and_none_late(tmp_path: Path) -> None:
    pace, clock = paced(tmp_path, seconds=105.5)
    assert play(pace, clock, [5.0]) == [20]
    assert pace.position(20 * STEPS) == pytest.approx(10 * STEPS)
    late, clock = paced(tmp_path / "late", seconds=105.5)
    assert play(late, clock, [10.0] * 8 + [0.1])[-1] == 10


def test_a_faster_machine_gets_no_more_epochs_than_a_plan(tmp_path: Path) -> None:
    pace, clock = paced(tmp_path, seconds=10_000, epochs=90)
    assert play(pace, clock, [1.0]) == [MOST_EPOCHS]


def test_a_fit_that_is_out_of_time_ends_with_its_epoch(tmp_path: Path) -> None:
    pace, clock = paced(tmp_path, seconds=50)
    assert play(pace, clock, [60.0]) == [1]


def test_a_linear_probe_tells_nothing_about_the_epochs_after_it(tmp_path: Path) -> None:
    clock = Clock()
    pace = Pace(Allowance(100.5, tmp_path / "pace.csv", clock=clock), 10, STEPS, probes=1)
    assert play(pace, clock, [10.0, 10.0, 10.0]) == [10, 10, 10]
    again = Pace(Allowance(100.5, tmp_path / "again.csv", clock=clock), 10, STEPS, probes=1)
    assert play(again, clock, [30.0, 10.0]) == [10, 8]


def test_a_resumed_fit_repeats_what_is_on_record_and_then_decides_again(tmp_path: Path) -> None:
    pace, clock = paced(tmp_path, seconds=106)
    assert play(pace, clock, [10.0, 20.0, 20.0]) == [10, 6, 5]
    again, clock = paced(tmp_path, seconds=106, step=STEPS)
    assert again.epochs == 10
    clock.now += 1000  # reading the pages again
    again.epoch_done(2)
    again.epoch_done(3)
    assert (again.epochs, again.decisions) == (5, pace.decisions)
    assert [again.position(step) for step in range(21)] == [pace.position(step) for step in range(21)]
    clock.now += 20
    again.epoch_done(4)
    assert again.epochs == 5
    assert again.decisions[-1].seconds == pytest.approx(70)


def test_a_lost_record_is_not_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"pace\.csv: missing or damaged"):
        paced(tmp_path, seconds=100, step=STEPS)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 10)


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], Callable[[Event], None]]:
    """Train by a clock on which each epoch takes so many seconds."""

    def start(seconds: list[float]) -> Callable[[Event], None]:
        clock, left = Clock(), list(seconds)
        made: Any = lambda _, record, __: Allowance(99.5, record, clock=clock)  # noqa: E731
        monkeypatch.setattr(train_module, "Allowance", made)

        def tick(event: Event) -> None:
            if isinstance(event, StepDone) and event.step % STEPS == 0:
                clock.now += left.pop(0)

        return tick

    return start


def profile_of(pages: Path, output: Path, name: str) -> Profile:
    planned = {"train__minutes": 2, "train__plan": "ten epochs", "train__epochs": 10, "scheduler": "warmup_cosine"}
    return tiny_profile(pages, output, name=name, **planned)


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("at", [5, 9, 14])
def test_a_run_that_was_stopped_ends_with_the_same_weights(
    pages: Path, tmp_path: Path, clocked: Callable[[list[float]], Callable[[Event], None]], at: int
) -> None:
    slow = [10.0, 10.0, 40.0, *[15.0] * 8]
    whole = train(profile_of(pages, tmp_path, "whole"), emit=clocked(slow))
    assert whole.epochs == 4
    tick = clocked(slow)
    moments: list[int] = []

    def watch(event: Event) -> bool:
        tick(event)
        if isinstance(event, StepDone):
            moments.append(event.step)
        return moments[-1:] == [at] and isinstance(event, StepDone)

    folder = stop_when(profile_of(pages, tmp_path, "cut"), watch)
    rest = slow[at // STEPS :]
    done = train(load_profile(str(folder / "profile.yaml")).profile, resume=folder, emit=clocked(rest))
    assert done.epochs == whole.epochs
    assert differing(contents(folder), contents(whole.run)) == []
    rates = [row["lr"] for row in Checkpoint.load(folder / "last.ckpt").training["state"]["history"]]
    assert rates[-1] < 0.1 * max(rates)  # the schedule was compressed, not cut


@pytest.mark.usefixtures("no_plots")
def test_a_refit_has_the_schedule_that_the_run_came_to(
    pages: Path, tmp_path: Path, clocked: Callable[[list[float]], Callable[[Event], None]]
) -> None:
    slow = clocked([10.0, 10.0, 40.0, *[15.0] * 20])
    wanted = {"train": profile_of(pages, tmp_path, "paced").train.model_copy(update={"refit": True})}
    paced_run = train(profile_of(pages, tmp_path, "paced").model_copy(update=wanted), emit=slow)
    assert paced_run.epochs == 4
    plain = train(
        tiny_profile(pages, tmp_path, name="plain", scheduler="warmup_cosine", train__epochs=4, train__refit=True)
    )

    def rates(run: Path) -> list[float]:
        position = Checkpoint.load(run / "refit" / "last.ckpt").training
        return [row["lr"] for row in position["state"]["history"]]

    both = list(zip(rates(paced_run.run), rates(plain.run), strict=False))
    assert both
    assert all(one == pytest.approx(other) for one, other in both)
    assert len(rates(paced_run.run)) == paced_run.best_epoch
    assert (paced_run.run / "refit.ckpt").is_file()
