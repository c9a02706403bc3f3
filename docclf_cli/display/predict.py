"""Tables of `docclf predict`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from docclf_cli.display import show as report
from docclf_cli.display.tables import NameTable, short
from docclf_cli.results.prediction import PageRow, PredictResult

MOST_PAGES = 20  # of more, only the counts are shown


@report.render.register
def tables(result: PredictResult) -> Iterator[RenderableType]:
    """Each page where there are few; pages by class, a summary and the files."""
    if 0 < len(result.predictions) <= MOST_PAGES:
        yield _page_table(result)
    yield _by_class(result)
    yield _summary(result)
    yield report.files_table(result.files)


def _page_table(result: PredictResult) -> NameTable:
    asked = result.threshold is not None
    table = NameTable("Pages", "page", "class<", "confidence", *(["<"] if asked else []))
    several = {row.path for row in result.predictions if row.page is not None and row.page > 1}
    for row in result.predictions:
        name = f"{row.path} p. {row.page}" if row.path in several and row.page else row.path
        confidence = "–" if row.confidence is None else short(row.confidence)
        cells = (row.predicted or "unreadable", confidence, *(["review" if row.needs_review else ""] if asked else []))
        table.add_row(name, *cells, style=_style(row), below=row.status)
    return table


def _style(row: PageRow) -> str:
    if row.predicted is None:
        return "red"
    return "yellow" if row.needs_review else ""


def _by_class(result: PredictResult) -> NameTable:
    asked = result.threshold is not None
    title = f"{result.pages:,} pages by class"
    table = NameTable(title, "class", "pages", *(["needs review"] if asked else []))
    for row in sorted(result.classes, key=lambda row: -row.pages):
        if row.pages:
            table.add_row(row.name, f"{row.pages:,}", *([f"{row.needs_review:,}"] if asked else []))
    if result.unreadable:
        cells = (f"{result.unreadable:,}", *([f"{result.unreadable:,}"] if asked else []))
        table.add_row("unreadable", *cells, style="red")
    return table


def _summary(result: PredictResult) -> Table:
    table = report.plain_table("")
    table.add_row("model", escape(result.model))
    table.add_row("files, pages", f"{result.inputs:,}, {result.pages:,}")
    if result.threshold is not None:
        share = result.needs_review / max(1, result.pages)
        table.add_row("needs review", f"{result.needs_review:,} of {result.pages:,} pages ({share:.1%})")
        table.add_row("confidence threshold", f"{result.threshold:.4f} ({result.threshold_from})")
    temperature = "one for each member" if result.temperature is None else f"{result.temperature:.3f}"
    table.add_row("temperature", temperature)
    table.add_row("number format", result.precision)
    if result.copied:
        table.add_row("copied files", f"{result.copied:,}")
    if result.explained:
        table.add_row("heat maps", f"{result.explained:,}")
    if result.resumed_pages:
        table.add_row("resumed", f"{result.resumed_pages:,} pages were predicted before the interruption")
    table.add_row("speed", f"{result.pages_per_second:.1f} pages/s")
    return table
