"""What a person sees of `docclf predict`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from docclf_cli.display import show as report
from docclf_cli.results.prediction import PredictResult


@report.render.register
def tables(result: PredictResult) -> Iterator[RenderableType]:
    """Pages by class, the sums, and the files."""
    yield _by_class(result)
    yield _sums(result)
    yield report.files_table(result.files)


def _by_class(result: PredictResult) -> Table:
    table = Table(title=f"{result.pages:,} pages by class", title_justify="left")
    table.add_column("class", overflow="fold")
    table.add_column("pages", justify="right", no_wrap=True)
    asked = result.threshold is not None
    if asked:
        table.add_column("to review", justify="right", no_wrap=True)
    for row in sorted(result.classes, key=lambda row: -row.pages):
        table.add_row(escape(row.name), f"{row.pages:,}", *([f"{row.review:,}"] if asked else []))
    if result.unreadable:
        table.add_row("[red]unreadable[/]", f"{result.unreadable:,}", *([f"{result.unreadable:,}"] if asked else []))
    return table


def _sums(result: PredictResult) -> Table:
    table = report.plain_table("")
    table.add_row("model", escape(result.model))
    table.add_row("files, pages", f"{result.inputs:,}, {result.pages:,}")
    if result.threshold is not None:
        share = result.review / max(1, result.pages)
        table.add_row("to review", f"{result.review:,} of {result.pages:,} pages ({share:.1%})")
        table.add_row("trusted from", f"{result.threshold:.4f} ({result.threshold_from})")
    temperature = "each member's own" if result.temperature is None else f"{result.temperature:.3f}"
    table.add_row("temperature", temperature)
    table.add_row("computed in", result.precision)
    if result.copied:
        table.add_row("copied", f"{result.copied:,} files")
    if result.kept:
        table.add_row("kept", f"{result.kept:,} pages of the start before")
    table.add_row("speed", f"{result.pages_per_second:.1f} pages/s")
    return table
