"""Tables of `docclf class-report`."""

import math
from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.results.class_report import ClassReport, OneClass
from docclf_cli.results.metrics import ClassGap, ClassRow, ConfusedPair

MOST_GAPS = 10
# "(0.93–0.97)" stays in one piece; on a narrow terminal it goes below the value.
_INTERVAL = 11


@report.render.register
def tables(result: ClassReport) -> Iterator[RenderableType]:
    """Classes, confused pairs, over-fitting, metrics and files."""
    yield _class_table(result.scores.classes, f"{result.split} pages by class (accuracy is recall)")
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
    table.add_row("accuracy (recall)", report.interval(row.accuracy))
    table.add_row("precision", report.interval(row.precision))
    table.add_row("F1", report.interval(row.f1))
    table.add_row("mean loss", report.number(row.loss))
    table.add_row("samples", str(row.support))
    if result.gap is not None and not math.isnan(result.gap.gap.value):
        table.add_row(
            "training − validation accuracy", f"{_gap(result.gap)}{'  over-fits' if result.gap.overfits else ''}"
        )
    yield table
    if result.false_negatives:
        yield _pairs_table(result.false_negatives, "Its pages that were predicted as another class")
    if result.false_positives:
        yield _pairs_table(result.false_positives, "Pages of other classes that were predicted as it")


def _class_table(rows: Iterable[ClassRow], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("class", overflow="fold", min_width=8)
    for head in ("accuracy", "precision", "F1"):
        table.add_column(head, justify="right", min_width=_INTERVAL)
    table.add_column("loss", justify="right", no_wrap=True)
    table.add_column("samples", justify="right", no_wrap=True)
    for row in rows:
        metrics = (report.interval(one) for one in (row.accuracy, row.precision, row.f1))
        table.add_row(escape(row.name), *metrics, report.number(row.loss), str(row.support))
    return table


def _pairs_table(pairs: Iterable[ConfusedPair], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("true class", overflow="fold")
    table.add_column("predicted class", overflow="fold")
    table.add_column("pages", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("examples", overflow="fold")
    for pair in pairs:
        names = escape(pair.target), escape(pair.predicted)
        table.add_row(*names, str(pair.pages), f"{pair.share:.1%}", escape("\n".join(pair.examples)))
    return table


def _gaps_table(gaps: Iterable[ClassGap]) -> RenderableType:
    """The largest gaps; gaps that are statistically significant come first."""
    known = [gap for gap in gaps if not math.isnan(gap.gap.value)]
    ranked = sorted(known, key=lambda gap: (not gap.overfits, -gap.gap.value))
    overfitted = sum(gap.overfits for gap in known)
    if not overfitted:
        return Text("Over-fitting: no class has a significantly higher accuracy on training pages\n")
    table = Table(title=f"Over-fitting: {overfitted} of {len(known)} classes", title_justify="left")
    table.add_column("class", overflow="fold")
    table.add_column("training − validation accuracy", justify="right", no_wrap=True)
    for gap in ranked[:MOST_GAPS]:
        table.add_row(escape(gap.name), _gap(gap), style="" if gap.overfits else "dim")
    return table


def _gap(gap: ClassGap) -> str:
    return f"{gap.gap.value:+.3f} ({gap.gap.low:+.2f} … {gap.gap.high:+.2f})"
