"""What a person sees of `docclf adapt`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable, difference, number, short
from docclf_cli.results.export import AdaptResult


@report.render.register
def tables(result: AdaptResult) -> Iterator[RenderableType]:
    """Both checkpoints beside one another, what the new one is made of, and the file."""
    table = NameTable(said("Statistics of arriving pages"), "", said("run"), said("adapted"))
    table.add_row(said("macro-F1 on held-out pages"), number(result.held_out_before), number(result.held_out_after))
    table.add_row(
        said("mean confidence on arriving pages"), short(result.confidence_before), short(result.confidence_after)
    )
    yield table
    facts = report.plain_table("")
    facts.add_row(
        said("difference on {count} held-out pages", count=result.difference.pages), difference(result.difference)
    )
    facts.add_row(said("allowed loss"), f"{result.tolerance:.3g}")
    facts.add_row(said("arriving pages"), f"{result.pages:,}")
    if result.unreadable:
        facts.add_row(said("unreadable pages, left out"), f"{result.unreadable:,}")
    facts.add_row(said("the run counts as pages"), "∞" if result.prior is None else f"{result.prior:g}")
    facts.add_row(said("changed batch norms"), str(result.layers))
    yield facts
    yield from (Text(said(sentence)) for sentence in result.sentences)
    yield report.files_table([result.file])
