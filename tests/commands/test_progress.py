"""How long work is shown, on a terminal and elsewhere, whatever the work is."""

import io
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_process import Outcome
from member_runs import make_folds, make_run
from rich.console import Console
from tiny import draw_pages, no_plots, tiny_profile

from docclf_cli.commands._tracking import tracked
from docclf_cli.display import progress
from docclf_cli.errors import Interrupted
from docclf_cli.events import Event, FitDone, FitStarted, Progress, StepDone
from docclf_cli.profile.schema import Profile
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every event is told."""
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    monkeypatch.setattr(logging.getLogger("docclf"), "propagate", True)
    with caplog.at_level(logging.INFO, "docclf"):
        yield caplog


def _play(monkeypatch: pytest.MonkeyPatch, events: list[tuple[float, int]], total: int = 1000) -> None:
    lines = None
    for second, done in events:
        monkeypatch.setattr(progress.time, "monotonic", lambda second=second: float(second))
        lines = lines or progress._Lines()
        lines(Progress("predicting", done, total))


def test_plain_lines_tell_the_time_left(monkeypatch: pytest.MonkeyPatch, told: pytest.LogCaptureFixture) -> None:
    _play(monkeypatch, [(0, 10), (10, 20), (980, 990)])
    assert [record.message for record in told.records] == [
        "predicting: 10 of 1000 pages",
        "predicting: 20 of 1000 pages, 16 min left",
        "predicting: 990 of 1000 pages, 10 s left",
    ]


def test_bytes_are_shown_in_their_units(told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = Progress("push to s3://bucket", 1_500_000, 2_000_000_000, "bytes")
    progress._Lines()(moved)
    assert told.records[-1].message == "push to s3://bucket: 1.5 MB of 2.0 GB"
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, _environ={"TERM": "xterm"})
    monkeypatch.setattr(progress, "stderr", screen)
    with progress._Bars() as bars:
        for event in (moved, Progress("reading pages", 3, 7)):
            bars(event)
            bars._progress.refresh()
    shown = screen.file.getvalue()
    assert "1.5 MB of 2.0 GB, 0 B/s" in shown
    assert "3/7" in shown


def test_work_that_begins_anew_is_timed_anew(monkeypatch: pytest.MonkeyPatch, told: pytest.LogCaptureFixture) -> None:
    """Each epoch has its validation."""
    _play(monkeypatch, [(0, 32), (10, 96), (500, 32), (510, 64)], total=98)
    assert [record.message for record in told.records][2:] == [
        "predicting: 32 of 98 pages",
        "predicting: 64 of 98 pages, 11 s left",
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("small") / "data", 6)


class Shown:
    """A training run as both displays and the tracking of the command follow it, every event told."""

    def __init__(self, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told, self.terminal, self.events = told, io.StringIO(), list[Event]()
        monkeypatch.setattr(progress, "stderr", Console(file=self.terminal, force_terminal=True, width=120))

    def train(self, profile: Profile, resume: Path | None = None, stop: StopFlag | None = None) -> None:
        lines = progress._Lines()
        with progress.progress_display(quiet=False) as bars, tracked(profile, bars) as emit:
            assert isinstance(bars, progress._Bars)

            def show(event: Event) -> None:
                self.events.append(event)
                lines(event)
                emit(event)
                if stop is not None and isinstance(event, StepDone) and event.step == 2:
                    stop.signal_number = 15

            train(profile, resume=resume, emit=show, stop=stop or StopFlag())
            assert bars._fit is None

    @property
    def epochs(self) -> list[str]:
        """The rows of epochs, which are the same on a terminal and elsewhere, and as wide as their heading."""
        row = re.compile(r" {,4}\d+  .*\S")
        told = [record.getMessage() for record in self.told.records]
        lines = [line for line in told if row.fullmatch(line)]
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.terminal.getvalue()).replace("\r", "\n").splitlines()
        assert [line for one in plain if row.fullmatch(line := one.rstrip())] == lines
        assert progress.EPOCH_HEAD in told
        assert progress.EPOCH_HEAD in [line.rstrip() for line in plain]
        assert {len(line.removesuffix("  ← best so far")) for line in lines} == {len(progress.EPOCH_HEAD)}
        return lines


@pytest.fixture
def shown(told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(told, monkeypatch)


RESTARTS = {"scheduler": "cosine_warm_restart", "scheduler.params.T_0": 1}
SETTINGS: list[dict[str, object]] = [
    {"train.refit": True},
    {"train.refit": True, "data.degraded_validation": True, "train.monitor": "blend"},
    {"train.folds": 2},
    {"train.folds": 3, "train.fold": 1},
    {"train.snapshots.keep": "cycle", **RESTARTS},
    {"train.snapshots.keep": "best", "train.snapshots.k": 1},
    {"train.max_steps": 3},
    {"train.patience": 1, "train.monitor": "accuracy"},
    {"scheduler": "plateau", "scheduler.params.patience": 0},
    {"train.freeze_epochs": 1, "train.nan_tolerance": 2},
    {"train.accumulate": 2, "augmentation.mixup": 0.2},
    {"train.batch_size": 500},
    {"data.cache": "auto"},
    {"runtime.workers": 1},
]


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("options", SETTINGS, ids=[" ".join(f"{k}={v}" for k, v in one.items()) for one in SETTINGS])
def test_every_kind_of_training_is_shown(
    shown: Shown, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    usual = {"name": "a", "train.epochs": 2, "data.degraded_validation": False, "train.snapshots.keep": "none"}
    shown.train(tiny_profile(small, tmp_path / "runs", **{**usual, **options}))
    started = [event.label for event in shown.events if isinstance(event, FitStarted)]
    assert len([event for event in shown.events if isinstance(event, FitDone)]) == len(started)
    validated = [line for line in shown.epochs if "–" not in line.split()[2:4]]
    if options.get("train.refit"):
        assert started[1] == "refit on all pages"
        (tmp_path / "runs" / "a" / "refit.ckpt").stat()
        refitted = shown.epochs[len(validated) :]
        assert refitted
        assert not [line for line in refitted if "best" in line or line.split()[2] != "–"]
    else:
        assert validated == shown.epochs


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("refit", [False, True])
def test_a_run_that_goes_on_is_shown(shown: Shown, small: Path, tmp_path: Path, refit: bool) -> None:
    profile = tiny_profile(small, tmp_path / "runs", name="a", train__epochs=1, train__refit=refit)
    with pytest.raises(Interrupted):
        shown.train(profile, stop=StopFlag())
    shown.train(profile, resume=tmp_path / "runs" / "a")
    assert len(shown.epochs) == 1 + refit


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory, pages: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "a", pages, 3, val_fraction=0.8)
    make_run(folder / "b", pages, 4, val_fraction=0.8)
    make_folds(folder / "folds", pages, 2, 5)
    return folder


@pytest.mark.parametrize(
    "args",
    [
        "evaluate --checkpoint folds",
        "predict {pages}/test --checkpoint a --output p",
        "tta --checkpoint a",
        "ensemble --members a --members b --output e",
        "audit --data {pages} --name look --output o",
    ],
)
def test_other_work_is_shown_on_a_terminal(
    docclf: Callable[..., Outcome], members: Path, pages: Path, args: str
) -> None:
    outcome = docclf(*args.format(pages=pages).split(), cwd=members, env={"FORCE_COLOR": "1", "TERM": "xterm"})
    assert outcome.code == 0, outcome.stderr
    assert "\x1b[?25l" in outcome.stderr
    assert outcome.stdout
