"""Tables of `docclf predict`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from docclf_cli.display import show as report
from docclf_cli.results.prediction import PredictResult


@report.render.register
def tables(result: PredictResult) -> Iterator[RenderableType]:
    """Pages by class, a summary and the files."""
    yield _by_class(result)
    yield _summary(result)
    yield report.files_table(result.files)


def _by_class(result: PredictResult) -> Table:
    table = Table(title=f"{result.pages:,} pages by class", title_justify="left")
    table.add_column("class", overflow="fold")
    table.add_column("pages", justify="right", no_wrap=True)
    asked = result.threshold is not None
    if asked:
        table.add_column("needs review", justify="right", no_wrap=True)
    for row in sorted(result.classes, key=lambda row: -row.pages):
        table.add_row(escape(row.name), f"{row.pages:,}", *([f"{row.needs_review:,}"] if asked else []))
    if result.unreadable:
        table.add_row("[red]unreadable[/]", f"{result.unreadable:,}", *([f"{result.unreadable:,}"] if asked else []))
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
    if result.resumed_pages:
        table.add_row("resumed", f"{result.resumed_pages:,} pages were predicted before the interruption")
    table.add_row("speed", f"{result.pages_per_second:.1f} pages/s")
    return table
