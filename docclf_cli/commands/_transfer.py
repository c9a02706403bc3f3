"""What a person sees of bytes that move, and how they are stopped."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from docclf_cli.display.console import stderr
from docclf_cli.errors import Interrupted

if TYPE_CHECKING:
    from docclf_cli.services.storage.transfer import OnProgress, Watch


@contextlib.contextmanager
def watching(task: str, quiet: bool) -> Iterator["Watch"]:
    """A bar with the rate on terminals, and a stop between two parts on Ctrl-C or SIGTERM (the second ends at once).

    Raises:
        Interrupted: A signal came, even if too late to stop anything.
    """
    from docclf_cli.services.storage.transfer import Watch, silent

    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for either in (signal.SIGINT, signal.SIGTERM):
            signal.signal(either, signal.SIG_DFL)

    def raise_if_stopped() -> None:
        if received:
            hint = "run the same command again to continue; transferred files are not sent again"
            raise Interrupted(f"stopped: {task}", hint, signal_number=received[0])

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _bar(task) if stderr.is_terminal and not quiet else contextlib.nullcontext(silent) as progress:
            yield Watch(progress, raise_if_stopped)
        if received:
            raise Interrupted(f"stopped: {task}; all work was already done", signal_number=received[0])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _bar(task: str) -> Iterator["OnProgress"]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=stderr, transient=True) as bars:
        bar = bars.add_task(task, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def size(count: int) -> str:
    """Bytes in decimal units, as S3 bills them."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
