"""The checks of `env-check`: they run concurrently, each with a time limit; one that crashes becomes a row."""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from docclf_cli.errors import DocclfError, InputError
from docclf_cli.profile.schema import Profile
from docclf_cli.registry import Entry, Registry
from docclf_cli.results.environment import CheckRow, EnvReport
from docclf_cli.services import env
from docclf_cli.version import __version__

STATUSES = ("skipped", "ok", "warning", "failure")  # from good to bad


@dataclass(frozen=True)
class Situation:
    """What is checked.

    Attributes:
        profile: The profile; None where it has faults.
        profile_text: Where it comes from, or its faults.
        folder: Working folder.
        full: Build the configured model as well.
        online: Also contact the W&B server and the S3 bucket.
    """

    profile: Profile | None
    profile_text: str
    folder: Path
    full: bool = False
    online: bool = False


Check = Callable[[Situation], Iterable[CheckRow]]
# Facts of an entry: `seconds` it may take; `only` ("full" or "online") where it is asked for by an option.
CHECKS: Registry[Check] = Registry("check")


def ok(name: str, detail: str) -> CheckRow:
    """All is well."""
    return CheckRow(name, "ok", detail)


def warning(name: str, detail: str, fix: str) -> CheckRow:
    """Works, but not as well as it could; `--strict` makes it a failure."""
    return CheckRow(name, "warning", detail, fix)


def failure(name: str, detail: str, fix: str) -> CheckRow:
    """Does not work."""
    return CheckRow(name, "failure", detail, fix)


def skipped(name: str, why: str) -> CheckRow:
    """Does not apply here."""
    return CheckRow(name, "skipped", why)


def run_checks(situation: Situation, checks: Iterable[Entry[Check]] = CHECKS) -> EnvReport:
    """Run all checks that apply, side by side; the rows come in the order of registration."""
    began = time.monotonic()
    running = [
        _Running(entry, situation)
        for entry in checks
        if (only := entry.facts.get("only")) is None or getattr(situation, only)
    ]
    rows = tuple(row for each in running for row in each.rows())
    return EnvReport(worst(rows), rows, __version__, round(time.monotonic() - began, 2))


def worst(rows: Sequence[CheckRow]) -> str:
    """The worst status; a table in which nothing applied is ok."""
    return STATUSES[max((STATUSES.index(row.status) for row in rows), default=1) or 1]


class _Running:
    """A check in a thread of its own, which is left behind when its time is up."""

    def __init__(self, entry: Entry[Check], situation: Situation) -> None:
        self._entry, self._situation = entry, situation
        self._rows: list[CheckRow] | None = None
        self._end = time.monotonic() + entry.facts["seconds"]
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def rows(self) -> list[CheckRow]:
        """Wait for the rows, or say why there are none."""
        self._thread.join(max(0.0, self._end - time.monotonic()))
        if self._rows is None:
            late = f"no answer within {self._entry.facts['seconds']:g} s"
            return [failure(self._entry.name, late, "check whether a disk, a network folder or a server hangs")]
        return self._rows

    def _work(self) -> None:
        try:
            self._rows = list(self._entry.build(self._situation))
        except DocclfError as error:
            self._rows = [failure(self._entry.name, error.message, error.hint)]
        except BaseException as error:  # a broken library may even call sys.exit when it is imported
            text = f"the check itself failed: {type(error).__name__}: {error}"
            self._rows = [failure(self._entry.name, text, "reinstall what it names (pip install --force-reinstall)")]


# Importing them registers their checks, in this order.
GROUPS = ("machine", "project", "remote")


def report_environment(situation: Situation) -> EnvReport:
    """Read `.env` as any command does, and run all checks."""
    with contextlib.suppress(InputError):  # has a row of its own
        env.load_env(situation.folder)
    for group in GROUPS:
        importlib.import_module(f"docclf_cli.services.env_check.{group}")
    return run_checks(situation)
