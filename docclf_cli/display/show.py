"""Results on stdout: Rich tables, or with `--json` one JSON document and nothing else."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from docclf_cli import text
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable, interval, number, short
from docclf_cli.results.as_json import jsonable
from docclf_cli.results.metrics import ClassRow, Scores, SideScores
from docclf_cli.streams import is_utf8
from docclf_cli.text import Message

if TYPE_CHECKING:
    from docclf_cli.profile.load import LoadedProfile

# Modules of this package that register what people see of a result.
TABLES = (
    "adapt",
    "audit",
    "class_report",
    "distill",
    "drift",
    "ensemble",
    "evaluate",
    "packets",
    "predict",
    "review",
    "runs",
    "train",
    "training_plan",
    "tune",
    "weights",
)

WEAK = "!"  # before the name of a weak class, for those who see no colour
WEAK_F1 = 0.5


def show(result: Any, *, as_json: bool) -> None:
    """Print a result: the only function that writes results to stdout."""
    if as_json:
        _print_json(jsonable(result))
    else:
        print_tables(result, Console(highlight=False))


def print_tables(result: Any, console: Console) -> None:
    """Print what people see of a result; lines that are to be copied, such as commands, are never cut."""
    for name in TABLES:
        importlib.import_module(f"docclf_cli.display.{name}")
    before: RenderableType | None = None
    for part in render(result):
        if before is not None and _is_apart(before, part):
            console.print()
        console.print(Group(part), crop=False)  # as a part of something, a line keeps its own rule for wrapping
        before = part


def _is_apart(before: RenderableType, part: RenderableType) -> bool:
    """Whether an empty line separates two parts: sentences stay together, and a table without a title with its sentence."""
    untitled = isinstance(part, Labels) and not part.heading
    return not (isinstance(before, str | Text) and (isinstance(part, str | Text) or untitled))


def _print_json(content: Any) -> None:
    # Where the stream does not take all characters, JSON's own escapes stand for them.
    print(json.dumps(content, ensure_ascii=not is_utf8(sys.stdout), indent=2))


@singledispatch
def render(result: Any) -> Iterator[RenderableType]:
    """The tables and lines that show a result, from top to bottom."""
    raise TypeError(f"no table for {type(result).__name__}")


def split_name(split: str) -> str:
    """What people call the pages of a split."""
    return said(text.split_name(split))


def class_table(rows: Iterable[ClassRow], title: str, *, precision: bool = False) -> RenderableType:
    """The class-wise table of the seed, with intervals; weak classes are marked and coloured.

    Args:
        rows: One a class.
        title: Above the table.
        precision: Also show the precision.
    """
    rows = tuple(rows)
    heads = (said("accuracy"), *([said("precision")] if precision else []), said("F1"), said("loss"), said("samples"))
    table = NameTable(f"{title[:1].upper()}{title[1:]}", said("class"), *heads)
    weak = _weak(rows)
    for row in rows:
        shares = (row.accuracy, row.precision, row.f1) if precision else (row.accuracy, row.f1)
        name, style = (
            (f"{WEAK} {row.name}", "yellow") if row.name in weak else (f"{'  ' if weak else ''}{row.name}", "")
        )
        table.add_row(name, *map(interval, shares), number(row.loss), str(row.support), style=style)
    if not weak:
        return table
    legend = said("! weak: F1 below {f1}, or surely below the mean of the classes", f1=short(WEAK_F1))
    return Group(table, Text(legend, style="dim"))


def _weak(rows: Iterable[ClassRow]) -> set[str]:
    """Classes whose F1 is low, or whose whole interval is below the mean."""
    known = [row for row in rows if row.support and not math.isnan(row.f1.value)]
    mean = sum(row.f1.value for row in known) / max(1, len(known))
    return {row.name for row in known if row.f1.value < WEAK_F1 or row.f1.high < mean}


def scores_table(scores: Scores, title: str, unit: str = "pages") -> NameTable:
    """Metrics of pages (or other units) with their 95 % intervals."""
    from docclf_cli.metrics.metrics import label_of  # takes scipy to import

    table = NameTable(title, said("metric"), said("value"), said("95 % interval"))
    for name, estimate in scores.metrics.items():
        bounds = f"{number(estimate.low)} … {number(estimate.high)}"
        table.add_row(said(label_of(name)), number(estimate.value), bounds)
    if scores.unreadable:
        table.add_row(
            said("unreadable documents, left out") if unit == "documents" else said("unreadable pages, left out"),
            str(scores.unreadable),
            "",
        )
    return table


def notes(scores: Scores, caveats: Iterable[str]) -> Iterator[RenderableType]:
    """What a reader must know to judge the metrics, and why a value lies at the edge of its interval."""
    yield from (Text(said(caveat), style="dim") for caveat in caveats)
    if at_edge := edge_note(scores):
        yield Text(said(at_edge), style="dim")


def edge_note(scores: Scores) -> Message | None:
    """One sentence about metrics that lie at the edge of their interval; None where none does."""
    from docclf_cli.metrics.metrics import is_at_edge, label_of  # takes scipy to import

    names = [label_of(name) for name, estimate in scores.metrics.items() if is_at_edge(name, estimate)]
    if not names:
        return None
    return Message.of(
        "{metrics}: the value lies at the edge of its interval, because on more pages, classes that have no hit (or no "
        "error) so far would get some.",
        metrics=Message.joined(names, ", "),
    )


def sides_table(sides: Sequence[SideScores]) -> RenderableType:
    """Image, text and both side by side, by page and by document."""
    table = NameTable(
        said("Image and text"), said("side"), said("pages"), said("accuracy"), said("macro-F1"), said("documents"),
        said("accuracy"), said("macro-F1"),
    )  # fmt: skip
    for side in sides:
        table.add_row(
            said(side.side), str(side.pages), interval(side.accuracy), interval(side.f1_macro),
            str(side.documents), interval(side.document_accuracy), interval(side.document_f1_macro),
        )  # fmt: skip
    return table


def files_table(files: Iterable[Path]) -> RenderableType:
    """Paths, whole on every width of terminal so that they can be copied."""
    table = plain_table(said("Files"))
    for path in files:
        table.add_row("", escape(str(path)))
    return table


def show_profile(loaded: LoadedProfile, *, as_json: bool) -> None:
    """Print every value of a resolved profile with where it came from."""
    values = dict(_leaves(loaded.profile.model_dump(mode="json")))
    if as_json:
        rows = {key: {"value": value, "source": str(_source(loaded, key))} for key, value in values.items()}
        _print_json(rows)
        return
    table = Table(title="Resolved profile", title_justify="left")
    for head in ("key", "value", "source"):
        table.add_column(head, overflow="fold")
    for key, value in values.items():
        table.add_row(key, escape(json.dumps(value, ensure_ascii=False)), escape(str(_source(loaded, key))))
    Console(highlight=False).print(table)


def _source(loaded: LoadedProfile, key: str) -> Any:
    while key not in loaded.sources and "." in key:
        key = key.rpartition(".")[0]
    return loaded.sources.get(key, "default")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else name)
    else:
        yield key, value


class Labels(Table):
    """Labels and values without lines, below a heading that may be wider than they are."""

    def __init__(self, heading: str) -> None:
        super().__init__(box=None, show_header=False, pad_edge=False)
        self.heading = heading

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.heading:
            yield Text.from_markup(self.heading, style="italic")
        yield from super().__rich_console__(console, options)


def plain_table(title: str) -> Labels:
    """Labels and values without lines.

    Args:
        title: Above them, as markup; may be empty.
    """
    table = Labels(title)
    table.add_column(style="dim", overflow="fold")
    table.add_column(overflow="fold")
    return table
