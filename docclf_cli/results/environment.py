"""What `env-check` returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckRow:
    """One line of `env-check`.

    Attributes:
        name: What was looked at.
        status: `ok`, `warning`, `failure` or `skipped`.
        detail: What was found; never the value of a variable.
        fix: What to do, where there is something to do.
    """

    name: str
    status: str
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class EnvReport:
    """What `env-check` found.

    Attributes:
        status: The worst of the rows: `ok`, `warning` or `failure`.
        rows: One for each check; those that need `--full` or `--online` are there only with it.
        docclf: Version of docclf.
        seconds: Wall time.
    """

    status: str
    rows: tuple[CheckRow, ...]
    docclf: str
    seconds: float
