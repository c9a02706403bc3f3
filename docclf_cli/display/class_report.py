"""Tables of `docclf class-report`."""

import math
from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable, difference, interval, number
from docclf_cli.results.class_report import ClassReport, OneClass
from docclf_cli.results.metrics import ClassGap, ConfusedPair

MOST_GAPS = 10


@report.render.register
def tables(result: ClassReport) -> Iterator[RenderableType]:
    """Classes, confused pairs, over-fitting, metrics and files."""
    title = said("{split} pages by class (accuracy is recall)", split=report.split_name(result.split))
    yield report.class_table(result.scores.classes, title, precision=True)
    if result.confused:
        yield _pairs_table(result.confused, said("Most confused classes"))
    if result.gaps:
        yield _gaps_table(result.gaps)
    title = said(
        "{source}: {count} {split} pages, computed in {precision}",
        source=result.source,
        split=report.split_name(result.split),
        precision=result.precision,
        count=result.scores.support,
    )
    yield report.scores_table(result.scores, title)
    if result.sides:
        yield report.sides_table(result.sides)
    yield from report.notes(result.scores, result.notes)
    yield report.files_table(result.files)


@report.render.register
def one_class(result: OneClass) -> Iterator[RenderableType]:
    """The metrics of one class, and the classes it is confused with."""
    row = result.row
    title = said(
        "{name} (class {index}), {split} pages of {source}",
        name=row.name,
        index=result.index,
        split=report.split_name(result.split),
        source=result.source,
    )
    yield Text(title, style="italic")  # a title of the table would be as narrow as the table
    table = report.plain_table("")
    table.add_row(said("accuracy (recall)"), interval(row.accuracy))
    table.add_row(said("precision"), interval(row.precision))
    table.add_row(said("F1"), interval(row.f1))
    table.add_row(said("mean loss"), number(row.loss))
    table.add_row(said("samples"), str(row.support))
    if result.gap is not None and not math.isnan(result.gap.gap.value):
        overfits = f"  {said('over-fits')}" if result.gap.overfits else ""
        table.add_row(said("training − validation"), f"{difference(result.gap.gap)}{overfits}")
    yield table
    if result.false_negatives:
        yield _pairs_table(result.false_negatives, said("Its pages that were predicted as another class"))
    if result.false_positives:
        yield _pairs_table(result.false_positives, said("Pages of other classes that were predicted as it"))


def _pairs_table(pairs: Iterable[ConfusedPair], title: str) -> NameTable:
    table = NameTable(title, said("true class → predicted class"), said("pages"), said("share"))
    for pair in pairs:
        such_as = said("such as {page}", page=pair.examples[0]) if pair.examples else ""
        table.add_row(f"{pair.target} → {pair.predicted}", str(pair.pages), f"{pair.share:.1%}", below=such_as)
    return table


def _gaps_table(gaps: Iterable[ClassGap]) -> RenderableType:
    """The largest gaps; gaps that are statistically significant come first."""
    known = [gap for gap in gaps if not math.isnan(gap.gap.value)]
    ranked = sorted(known, key=lambda gap: (not gap.overfits, -gap.gap.value))
    overfitted = sum(gap.overfits for gap in known)
    if not overfitted:
        none = said("Over-fitting: no class has a significantly higher accuracy on training pages")
        return Text(none)
    title = said(
        "Over-fitting: {count} of {total} classes (accuracy on training − validation pages)",
        count=overfitted,
        total=len(known),
    )
    table = NameTable(title, said("class"), said("difference"))
    for gap in ranked[:MOST_GAPS]:
        table.add_row(gap.name, difference(gap.gap), style="" if gap.overfits else "dim")
    return table
