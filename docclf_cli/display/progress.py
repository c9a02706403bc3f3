"""How long work is shown: bars on a terminal, plain lines elsewhere, nothing with `--quiet`. All on stderr."""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from docclf_cli.display.console import stderr
from docclf_cli.text import format_bytes

if TYPE_CHECKING:
    from rich.progress import TaskID

    from docclf_cli.events import Emit, EpochDone, Event, Progress, StepDone

PLAIN_INTERVAL = 15.0  # seconds between two plain lines of one piece of work


@contextlib.contextmanager
def progress_display(quiet: bool) -> Iterator["Emit"]:
    """A consumer of events that shows them while the block runs."""
    if quiet:
        from docclf_cli.events import silent

        yield silent
    elif stderr.is_terminal:
        with _Bars() as bars:
            yield bars
    else:
        yield _Lines()


SHOWN = {"train_loss": "loss", "val_loss": "val loss", "f1_macro": "F1"}  # of the figures of an epoch


def _epoch_line(event: "EpochDone") -> str:
    """The main figures of an epoch, those that were measured: a refit has no pages to validate on."""
    figures = event.figures
    shown = [f"{label} {figures[name]:.4f}" for name, label in SHOWN.items() if name in figures]
    if "f1_macro_degraded" in figures:
        gap = figures["f1_macro"] - figures["f1_macro_degraded"]
        shown.append(f"degraded F1 {figures['f1_macro_degraded']:.4f} (gap {gap:+.4f})")
    shown.append(f"{event.timings['images_per_second']:.0f} img/s")
    best = event.is_best and "val_loss" in figures
    return f"epoch {event.epoch}: {', '.join(shown)}{'  ← best so far' if best else ''}"


def _amount(done: int, total: int, unit: str) -> str:
    return f"{format_bytes(done)} of {format_bytes(total)}" if unit == "bytes" else f"{done} of {total} pages"


class _Lines:
    """Plain lines, not too many of them."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._logger = logging.getLogger("docclf")
        self._task, self._since, self._before, self._done = "", 0.0, 0, 0

    def __call__(self, event: "Event") -> None:
        from docclf_cli.events import EpochDone, FitStarted, Progress, StepDone

        if isinstance(event, Progress):
            self._follow(event)
        if isinstance(event, FitStarted):
            self._logger.info("training %s: %d steps, files in %s", event.label, event.total_steps, event.folder)
        elif isinstance(event, EpochDone):
            self._say(_epoch_line(event))
        elif time.monotonic() - self._last < PLAIN_INTERVAL:
            return
        elif isinstance(event, Progress):
            self._say(f"{event.task}: {_amount(event.done, event.total, event.unit)}{self._left(event)}")
        elif isinstance(event, StepDone):
            self._say(f"epoch {event.epoch}, step {event.step}: loss {event.loss:.4f}, lr {event.lr:.2e}")

    def _follow(self, event: "Progress") -> None:
        """Notice when a piece of work begins, perhaps not for the first time."""
        if event.task != self._task or event.done < self._done:
            self._task, self._since, self._before = event.task, time.monotonic(), event.done
        self._done = event.done

    def _left(self, event: "Progress") -> str:
        seconds, done = time.monotonic() - self._since, event.done - self._before
        if not done or not seconds:
            return ""
        left = (event.total - event.done) * seconds / done
        return f", {left / 60:.0f} min left" if left >= 90 else f", {left:.0f} s left"

    def _say(self, line: str) -> None:
        self._last = time.monotonic()
        self._logger.info("%s", line)


class _Bars:
    """Rich bars: one for the training, one for the piece of work at hand."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
        from rich.text import Text

        class AmountColumn(ProgressColumn):
            def render(self, task: Task) -> Text:
                done, total = int(task.completed), int(task.total or 0)
                if task.fields["unit"] == "bytes":
                    return Text(f"{_amount(done, total, 'bytes')}, {format_bytes(task.speed or 0)}/s")
                return Text(f"{done}/{total}")

        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), AmountColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"), console=stderr, transient=True,
        )  # fmt: skip
        self._fit: TaskID | None = None
        self._work: TaskID | None = None
        self._work_name = ""
        self._rate: list[tuple[float, int]] = []

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, event: "Event") -> None:
        from docclf_cli.events import EpochDone, FitDone, FitStarted, Progress, StepDone

        if isinstance(event, FitStarted):
            self._fit = self._progress.add_task(
                event.label, total=event.total_steps, completed=event.step, unit="steps", note=""
            )
        elif isinstance(event, StepDone) and self._fit is not None:
            self._progress.update(self._fit, completed=event.step, note=self._note(event))
        elif isinstance(event, EpochDone):
            self._progress.console.print(_epoch_line(event))
        elif isinstance(event, Progress):
            self._show_work(event)
        elif isinstance(event, FitDone) and self._fit is not None:
            self._progress.remove_task(self._fit)
            self._fit = None

    def _note(self, event: "StepDone") -> str:
        self._rate = [*self._rate[-20:], (time.monotonic(), event.pages)]
        seconds = self._rate[-1][0] - self._rate[0][0]
        speed = sum(pages for _, pages in self._rate[1:]) / seconds if seconds > 0 else 0.0
        return f"epoch {event.epoch}  loss {event.loss:.4f}  {speed:.0f} img/s"

    def _show_work(self, event: "Progress") -> None:
        if self._work is None or self._work_name != event.task:
            if self._work is not None:
                self._progress.remove_task(self._work)
            self._work = self._progress.add_task(event.task, total=event.total, unit=event.unit, note="")
            self._work_name = event.task
        self._progress.update(self._work, completed=event.done, total=event.total)
        if event.done >= event.total:
            self._progress.remove_task(self._work)
            self._work = None
