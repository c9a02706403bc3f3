"""Tables of `docclf class-report`."""

import math
from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.display.tables import NameTable, difference, interval, number
from docclf_cli.results.class_report import ClassReport, OneClass
from docclf_cli.results.metrics import ClassGap, ConfusedPair

MOST_GAPS = 10


@report.render.register
def tables(result: ClassReport) -> Iterator[RenderableType]:
    """Classes, confused pairs, over-fitting, metrics and files."""
    title = f"{result.split} pages by class (accuracy is recall)"
    yield report.class_table(result.scores.classes, title, precision=True)
    if result.confused:
        yield _pairs_table(result.confused, "Most confused classes")
    if result.gaps:
        yield _gaps_table(result.gaps)
    yield report.scores_table(result.scores, f"{result.source}, {result.split}, computed in {result.precision}")
    yield from (f"[dim]{escape(note)}[/]" for note in result.notes)
    yield report.files_table(result.files)


@report.render.register
def one_class(result: OneClass) -> Iterator[RenderableType]:
    """The metrics of one class, and the classes it is confused with."""
    row = result.row
    table = report.plain_table(f"{row.name} (class {result.index}), {result.split} pages of {result.source}")
    table.add_row("accuracy (recall)", interval(row.accuracy))
    table.add_row("precision", interval(row.precision))
    table.add_row("F1", interval(row.f1))
    table.add_row("mean loss", number(row.loss))
    table.add_row("samples", str(row.support))
    if result.gap is not None and not math.isnan(result.gap.gap.value):
        table.add_row(
            "training − validation", f"{difference(result.gap.gap)}{'  over-fits' if result.gap.overfits else ''}"
        )
    yield table
    if result.false_negatives:
        yield _pairs_table(result.false_negatives, "Its pages that were predicted as another class")
    if result.false_positives:
        yield _pairs_table(result.false_positives, "Pages of other classes that were predicted as it")


def _pairs_table(pairs: Iterable[ConfusedPair], title: str) -> NameTable:
    table = NameTable(title, "true class → taken for", "pages", "share")
    for pair in pairs:
        such_as = f"such as {pair.examples[0]}" if pair.examples else ""
        table.add_row(f"{pair.target} → {pair.predicted}", str(pair.pages), f"{pair.share:.1%}", below=such_as)
    return table


def _gaps_table(gaps: Iterable[ClassGap]) -> RenderableType:
    """The largest gaps; gaps that are statistically significant come first."""
    known = [gap for gap in gaps if not math.isnan(gap.gap.value)]
    ranked = sorted(known, key=lambda gap: (not gap.overfits, -gap.gap.value))
    overfitted = sum(gap.overfits for gap in known)
    if not overfitted:
        return Text("Over-fitting: no class has a significantly higher accuracy on training pages\n")
    title = f"Over-fitting: {overfitted} of {len(known)} classes (accuracy on training − validation pages)"
    table = NameTable(title, "class", "difference")
    for gap in ranked[:MOST_GAPS]:
        table.add_row(gap.name, difference(gap.gap), style="" if gap.overfits else "dim")
    return table
