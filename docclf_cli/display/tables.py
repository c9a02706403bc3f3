"""Tables of named rows that fit the terminal, and the numbers in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.text import Text

from docclf_cli.results.metrics import Difference, Estimate

GAP = "  "
GAPS = (GAP, " ")
LEAST_NAME = 8  # cells of the column of names


@dataclass(frozen=True)
class _Row:
    name: str
    cells: tuple[str, ...]
    style: str
    below: str
    section: bool


class NameTable:
    """A table whose first column holds names, which are never cut or broken to make room for numbers.

    A name that is too long for its column gets a line of its own, with the numbers on the next line.

    Args:
        title: Above the table.
        name: Heading of the names.
        *heads: Headings of the other columns; those that end in `<` are aligned to the left.
    """

    def __init__(self, title: str, name: str, *heads: str) -> None:
        self.title = title
        self.name = name
        self.heads = tuple(head.removesuffix("<") for head in heads)
        self.left = tuple(head.endswith("<") for head in heads)
        self.rows: list[_Row] = []
        self._section = False

    def add_row(self, name: str, *cells: str, style: str = "", below: str = "") -> None:
        """Add a row of plain text; `below` goes to a line of its own, indented."""
        self.rows.append(_Row(name, cells, style, below, self._section))
        self._section = False

    def add_section(self) -> None:
        """Separate the rows that follow by a line."""
        self._section = bool(self.rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        width = options.max_width
        columns = zip(self.heads, *(row.cells for row in self.rows), strict=True)
        widths = [max(map(cell_len, column)) for column in columns]
        lengths = [cell_len(row.name) for row in self.rows]
        # Columns stand closer where that makes room for a name.
        rooms = [max(LEAST_NAME, width - sum(widths) - len(gap) * len(widths)) for gap in GAPS]
        most = max((length for length in lengths if length <= rooms[-1]), default=0)
        gap, room = next((gap, room) for gap, room in zip(GAPS, rooms, strict=True) if most <= room)
        names = max([cell_len(self.name), LEAST_NAME, *(length for length in lengths if length <= room)])
        rule = Text("─" * min(width, names + sum(widths) + len(gap) * len(widths)), style="dim")
        yield Text(self.title, style="italic")
        yield self._line(self.name, self.heads, names, widths, gap, "bold")
        yield rule
        for row in self.rows:
            if row.section:
                yield rule
            name = row.name
            if cell_len(name) > names:
                yield Text(name, style=row.style)
                name = ""
            yield self._line(name, row.cells, names, widths, gap, row.style)
            if row.below:
                lines = Text(row.below, style="dim", overflow="fold").wrap(console, width - len(GAP))
                yield from (Text(GAP, style="dim").append_text(line) for line in lines)

    def _line(self, name: str, cells: Sequence[str], names: int, widths: Sequence[int], gap: str, style: str) -> Text:
        parts = [_padded(name, names, left=True)]
        parts += [_padded(cell, width, left=left) for cell, width, left in zip(cells, widths, self.left, strict=True)]
        return Text(gap.join(parts).rstrip(), style=style, overflow="fold")


def _padded(text: str, width: int, *, left: bool) -> str:
    """A text filled up to a width in terminal cells, of which a Hangul syllable takes two."""
    fill = " " * (width - cell_len(text))
    return text + fill if left else fill + text


def number(value: float) -> str:
    """Four digits, or a dash where there is no value."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def short(value: float, digits: int = 2) -> str:
    """A share without the zero before its point: `.95`, `1.00`."""
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def interval(estimate: Estimate, digits: int = 2) -> str:
    """A value and its bounds: `.70 .40–.89`."""
    if math.isnan(estimate.value):
        return "–"
    return f"{short(estimate.value, digits)} {short(estimate.low, digits)}–{short(estimate.high, digits)}"


def difference(estimate: Estimate | Difference) -> str:
    """A difference and its bounds: `+.05 -.01…+.11`."""
    value, low, high = (_signed(one) for one in (estimate.value, estimate.low, estimate.high))
    return f"{value} {low}…{high}"


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'}{short(abs(value))}"
