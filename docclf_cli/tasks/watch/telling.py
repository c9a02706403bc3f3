"""Tells another program of each sorted file and each part of a packet, at least once."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from docclf_cli.journal import Journal
from docclf_cli.stop import StopFlag

TELL_AGAIN = 60.0  # seconds until a command that failed is run again
TOLD = "told"
logger = logging.getLogger("docclf")


def copies_of(event: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What is written for a file of which the journal says what was planned: its one copy, or the parts of a packet."""
    if "parts" not in event:
        return [{**event, "sha256": event["id"]}]
    return [{**part, "source": event["source"], "packet": event["id"]} for part in event["parts"]]


class Teller:
    """Runs a command for each copy until it succeeds, and notes that in the journal.

    Args:
        command: Gets the JSON of a copy on its stdin; empty for none.
        seconds: Longest time that it may take.
        inbox: The folder that is watched.
        output: Parent of the class folders.
    """

    def __init__(self, command: Sequence[str], seconds: float, inbox: Path, output: Path) -> None:
        self._command, self._seconds, self._inbox, self._output = command, seconds, inbox, output
        self._untold: dict[str, tuple[Mapping[str, Any], float]] = {}  # with the time of the next attempt

    @property
    def untold(self) -> int:
        """Copies that the command failed for, or was not run for yet."""
        return len(self._untold)

    def add(self, copies: Iterable[Mapping[str, Any]]) -> None:
        """Tell of these as well."""
        if self._command:
            self._untold |= {copy["id"]: (copy, 0.0) for copy in copies}

    def tell(self, journal: Journal, stop: StopFlag) -> None:
        """Run the command for all of which it was not told yet.

        Raises:
            Interrupted: `stop` was set.
        """
        for key, (copy, due) in list(self._untold.items()):
            stop.raise_if_set("stopped watching", "start the command again to continue")
            if time.monotonic() < due:
                continue
            if self._run(copy):
                journal.append({"event": TOLD, "id": key})
                del self._untold[key]
            else:
                self._untold[key] = copy, time.monotonic() + TELL_AGAIN

    def _run(self, copy: Mapping[str, Any]) -> bool:
        told = {
            "id": copy["id"],
            "source": str(self._inbox / copy["source"]),
            "destination": str(self._output / copy["destination"]),
            **{key: copy[key] for key in ("packet", "pages", "uncertain") if key in copy},
            **copy["answer"],
        }
        name = shutil.which(self._command[0]) or self._command[0]
        try:
            subprocess.run(
                [name, *self._command[1:]],
                input=json.dumps(told).encode(),
                timeout=self._seconds,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("--exec failed for %s, and is run again in a minute: %s", told["destination"], error)
            return False
        return True
