"""The flag that ends long work after Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from types import FrameType

from docclf_cli.errors import Interrupted

logger = logging.getLogger("docclf")


class StopFlag:
    """Set by the first Ctrl-C or SIGTERM, which is answered at once; loops poll it between steps.

    The second signal ends the process at once.

    Args:
        saves: Whether the work that stops keeps what it has done.
    """

    def __init__(self, *, saves: bool = False) -> None:
        self.signal_number: int | None = None
        self._answer = f"stopping after this step{' and saving' if saves else ''}; again to leave now"

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal_number is not None

    @contextlib.contextmanager
    def installed(self) -> Iterator[StopFlag]:
        """Handle the two signals inside the block.

        Raises:
            Interrupted: A signal came after the last poll; the exit code must say so, or a script would go on.
        """
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
            self.raise_if_set("stopped; all work was done and all files are written")
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            os._exit(128 + number)
        self.signal_number = number
        with contextlib.suppress(RuntimeError):  # the signal came while a message was being written
            logger.info("%s", self._answer)

    def raise_if_set(self, message: str, hint: str = "") -> None:
        """End the loop by an exception.

        Raises:
            Interrupted: The flag is set.
        """
        if self.signal_number is not None:
            raise Interrupted(message, hint, signal_number=self.signal_number)

    def check_while_waiting(self) -> None:
        """As `raise_if_set`, for a loop that waits for pages of a loader process, which may never come.

        Raises:
            Interrupted: The flag is set.
        """
        self.raise_if_set("stopped while it waited for pages", "start the command again")


NEVER = StopFlag()  # default of a parameter `stop`: is never set
