"""Things that happen to a `docclf` process at a chosen moment; arranged inside the process itself."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any


def arrange_fault(description: str) -> None:
    """`signal NUMBER at MOMENT`, or `twice NUMBER in N FILE`: see the two functions below."""
    kind, number, _, place = description.split(maxsplit=3)
    {"signal": _signal_at, "twice": _twice_in}[kind](int(number), place)


def _signal_at(number: int, moment: str) -> None:
    """Get a signal when an event comes: the name of a piece of work, or `step N`, `epoch N`, `fitted`.

    As from a terminal, the loader processes get it as well.
    """
    from docclf_cli.display.progress import _Lines
    from docclf_cli.events import EpochDone, FitDone, Progress, StepDone

    def name_of(event: Any) -> str:
        names: dict[type, Callable[[], str]] = {
            Progress: lambda: event.task,
            StepDone: lambda: f"step {event.step}",
            EpochDone: lambda: f"epoch {event.epoch}",
            FitDone: lambda: "fitted",
        }
        return names.get(type(event), lambda: "")()

    original = _Lines.__call__

    def call(self: _Lines, event: Any) -> None:
        original(self, event)
        if name_of(event) == moment:
            os.killpg(0, number)

    _Lines.__call__ = call  # type: ignore[method-assign]


def _twice_in(number: int, place: str) -> None:
    """Get a signal twice while a checkpoint is half written; `2 last.ckpt` is the second writing of that file.

    It is written in a thread of its own, and the main one takes the signals: the first must have been taken before the
    second comes, and the write must not be over before the second is taken.
    """
    from docclf_cli.engine.checkpoints import checkpoint

    nth, name = place.split()
    original, count = checkpoint.save_with, [0]

    def half(file: Any) -> None:
        file.write(b"half of it")
        file.flush()
        os.killpg(0, number)
        flag: Any = signal.getsignal(number)
        while not flag.__self__():
            time.sleep(0.01)
        os.killpg(0, number)
        time.sleep(60)

    def save_with(path: Any, save: Callable[[Any], object]) -> None:
        count[0] += path.name == name
        original(path, half if path.name == name and count[0] == int(nth) else save)

    checkpoint.save_with = save_with
