"""The summary of `docclf review`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.results.review import ReviewResult


@report.render.register
def tables(result: ReviewResult) -> Iterator[RenderableType]:
    """Counts, files, and what to do next."""
    table = report.plain_table("Review")
    table.add_row("source", escape(str(result.source)))
    table.add_row("labelled" if result.classes else "decided", f"{result.labelled} of {result.items}")
    if result.unknown:
        table.add_row("unknown", str(result.unknown))
    table.add_row("left", f"{result.left}{f', {result.skipped} of them skipped' if result.skipped else ''}")
    if result.suggested:
        table.add_row("suggestion was right", f"{result.confirmed} of {result.suggested}")
    yield table
    yield report.files_table(result.files)
    if result.next_commands:
        yield Text("Next", style="italic")
        yield from (Text(f"  {command}", no_wrap=True, overflow="ignore") for command in result.next_commands)
