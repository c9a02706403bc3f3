"""The summary of `docclf review`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.results.review import ReviewResult


@report.render.register
def tables(result: ReviewResult) -> Iterator[RenderableType]:
    """Counts, files, and what to do next."""
    table = report.plain_table(said("Review"))
    table.add_row(said("source"), escape(str(result.source)))
    done = said("cuts decided") if result.of_cuts else said("labelled")
    table.add_row(done, said("{count} of {total}", count=result.labelled, total=result.items))
    if result.unknown:
        table.add_row(said("unknown"), str(result.unknown))
    skipped = said(", {count} of them skipped", count=result.skipped) if result.skipped else ""
    table.add_row(said("left"), f"{result.left}{skipped}")
    if result.suggested:
        right = said("{count} of {total}", count=result.confirmed, total=result.suggested)
        table.add_row(said("suggestion was right"), right)
    yield table
    yield report.files_table(result.files)
    if result.next_commands:
        yield Text(said("Next"), style="italic")
        yield from (Text(f"  {command}", no_wrap=True, overflow="ignore") for command in result.next_commands)
