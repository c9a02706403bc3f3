"""`docclf cache show` and `docclf cache clear`."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import RenderableType

from docclf_cli.commands import _options as option
from docclf_cli.commands._arguments import Command, Group
from docclf_cli.display import show as report
from docclf_cli.display.tables import NameTable
from docclf_cli.results.caches import CacheCleared, CacheRow, CacheUsage
from docclf_cli.text import format_bytes

EXAMPLES = (
    "[bold]Examples[/]\n\ndocclf cache show\n\ndocclf cache clear\n\ndocclf cache clear pages samples --json\n\n"
    "[bold]More[/]: docs/scripts.md"
)
HELP = "Show or clear the caches on this machine."

app = typer.Typer(cls=Group, help=HELP, no_args_is_help=True, rich_markup_mode="rich")
Pages = Annotated[
    str,
    option.declare("--pages-folder", help="Folder of the page cache, if the profile sets data.cache."),
]
What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="WHAT...", help="pages, numerics, features, samples, s3 \\[default: pages, numerics, features]."
    ),
]


@app.command("show", cls=Command, epilog=EXAMPLES)
def show(
    pages_folder: Pages = "auto",
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Show the caches with their folders and sizes."""
    from docclf_cli.engine.runtime.caches import cache_usage

    report.show(cache_usage(pages_folder), as_json=as_json)


@app.command("clear", cls=Command, epilog=EXAMPLES)
def clear(
    what: What = None,
    pages_folder: Pages = "auto",
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Clear caches; they are filled again when needed."""
    from docclf_cli.engine.runtime.caches import clear_caches

    report.show(clear_caches(what or (), pages_folder), as_json=as_json)


@report.render.register
def usage_table(result: CacheUsage) -> Iterator[RenderableType]:
    """One row per cache."""
    yield _table(result.rows, f"Caches on this machine: {format_bytes(result.bytes)}")


@report.render.register
def cleared_table(result: CacheCleared) -> Iterator[RenderableType]:
    """The size of what was deleted."""
    yield _table(result.rows, f"Deleted: {format_bytes(result.bytes)}")


def _table(rows: tuple[CacheRow, ...], title: str) -> NameTable:
    table = NameTable(title, "cache", "files", "size")
    for row in rows:
        table.add_row(row.name, str(row.files), format_bytes(row.bytes), below=f"{row.description}: {row.folder}")
    return table
