"""What a person sees of `docclf runs`."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePath

from rich.console import RenderableType

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable, short
from docclf_cli.results.training import RunList, RunRow

STYLES = {"failed": "red", "killed": "red", "running": "cyan", "stopped": "yellow"}


@report.render.register
def table(result: RunList) -> Iterator[RenderableType]:
    """One row a run, and its data and model below."""
    if not result.runs:
        yield said("no runs below {folder}: `docclf train` makes one", folder=result.folder)
        return
    heads = (said("macro-F1"), said("degraded"), said("min"), said("date"), said("state<"))
    found = NameTable(said("Runs below {folder}", folder=result.folder), said("run"), *heads)
    for row in result.runs:
        below = ", ".join(part for part in (row.model, PurePath(row.data).name) if part)
        cells = (_f1(row), _share(row.degraded), _minutes(row.minutes), _date(row.time), _state(row))
        found.add_row(row.name, *cells, style=STYLES.get(row.state, ""), below=below)
    yield found


def _f1(row: RunRow) -> str:
    if row.f1_macro is None or row.f1_macro_low is None or row.f1_macro_high is None:
        return _share(row.f1_macro)
    return f"{short(row.f1_macro)} {short(row.f1_macro_low)}–{short(row.f1_macro_high)}"


def _share(value: float | None) -> str:
    return "–" if value is None else short(value)


def _minutes(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _date(time: str) -> str:
    try:
        return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return "–"


def _state(row: RunRow) -> str:
    return said("chance") if row.no_better_than_chance and row.state == "finished" else said(row.state)
