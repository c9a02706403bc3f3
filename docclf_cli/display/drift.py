"""Tables of `docclf drift`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape

from docclf_cli.display import show as report
from docclf_cli.display.tables import NameTable, interval, number, short
from docclf_cli.results.drift import DriftResult
from docclf_cli.results.metrics import Estimate


@report.render.register
def tables(result: DriftResult) -> Iterator[RenderableType]:
    """The periods, the tests, the mix of classes, and the files."""
    periods = NameTable("Predictions, the newest last", "", "pages", "needs review", "unknown", "confident")
    for row in result.periods:
        shares = (_share(row.needs_review), _share(row.unknown), interval(row.confident))
        periods.add_row(row.name, f"{row.pages:,}", *shares)
    yield periods
    tests = NameTable(
        f"Has the newest changed? False-alarm rate of all tests together: {result.alpha:g}", "against", "compared<", "p", "adjusted", "<"
    )  # fmt: skip
    for test in result.tests:
        cells = (test.subject, number(test.p_value), number(test.adjusted), "changed" if test.changed else "")
        tests.add_row(test.against, *cells, style="yellow" if test.changed else "")
    yield tests
    classes = NameTable("Mix of classes", "class", "held-out", "predicted", "estimated")
    for one in result.classes:
        classes.add_row(one.name, short(one.held_out), short(one.predicted), _share(one.estimated))
    classes.add_section()
    classes.add_row("accuracy under this mix", "", "", interval(result.accuracy))
    yield classes
    yield from (f"[dim]{escape(note)}[/]" for note in result.notes)
    yield report.files_table(result.files)


def _share(estimate: Estimate | None) -> str:
    return "–" if estimate is None else interval(estimate)
