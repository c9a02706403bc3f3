"""Tables of `docclf drift`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable, interval, number, short
from docclf_cli.results.drift import DriftResult
from docclf_cli.results.metrics import Estimate


@report.render.register
def tables(result: DriftResult) -> Iterator[RenderableType]:
    """The periods, the tests, the mix of classes, and the files."""
    heads = (said("pages"), said("needs review"), said("unknown"), said("confident"))
    periods = NameTable(said("Predictions, the newest last"), "", *heads)
    for row in result.periods:
        shares = (_share(row.needs_review), _share(row.unknown), interval(row.confident))
        periods.add_row(row.name, f"{row.pages:,}", *shares)
    yield periods
    title = said("Has the newest changed? False-alarm rate of all tests together: {alpha:g}", alpha=result.alpha)
    tests = NameTable(title, said("against"), said("compared<"), "p", said("adjusted"), "<")
    for test in result.tests:
        changed = said("changed") if test.changed else ""
        cells = (said(test.subject), number(test.p_value), number(test.adjusted), changed)
        tests.add_row(said(test.against), *cells, style="yellow" if test.changed else "")
    yield tests
    classes = NameTable(said("Mix of classes"), said("class"), said("held-out"), said("predicted"), said("estimated"))
    for one in result.classes:
        classes.add_row(one.name, short(one.held_out), short(one.predicted), _share(one.estimated))
    classes.add_section()
    classes.add_row(said("accuracy under this mix"), "", "", interval(result.accuracy))
    yield classes
    yield from (f"[dim]{escape(said(note))}[/]" for note in result.notes)
    yield report.files_table(result.files)


def _share(estimate: Estimate | None) -> str:
    return "–" if estimate is None else interval(estimate)
