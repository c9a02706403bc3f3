"""`docclf s3-pull`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from docclf_cli.commands import _options as option
from docclf_cli.commands._load import load_checked
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.results.storage import PullResult
from docclf_cli.text import format_bytes

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf s3-pull convnext-01 runs/convnext-01\n\n"
    "docclf predict --checkpoint s3://my-models/docclf/convnext-01   # needs no pull"
)


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a stored model.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to restore it into.")],
    bucket: option.Bucket = None,
    prefix: option.Prefix = None,
    overwrite: Annotated[bool, option.overwrite("Replace files that differ.")] = False,
    profile: option.ProfileName = "config",
    sets: option.Sets = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Restore a stored model from S3, and verify every file by its SHA-256."""
    loaded = load_checked(profile, {"s3.bucket": bucket, "s3.prefix": prefix}, sets)
    from docclf_cli.services.storage.pull import pull
    from docclf_cli.services.storage.s3 import resolve_target
    from docclf_cli.stop import StopFlag

    target = resolve_target(loaded.profile.s3)
    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = pull(name, folder, target, overwrite=overwrite, emit=emit, stop=stop)
    report.show(result, as_json=as_json)


@report.render.register
def table(result: PullResult) -> Iterator[RenderableType]:
    """The files, all of them verified."""
    files = Table(title=f"{escape(result.name)}: {len(result.files)} files, verified", title_justify="left")
    files.add_column("file", overflow="fold")
    for head in ("size", "SHA-256", "state"):
        files.add_column(head, justify="right" if head == "size" else "left", no_wrap=True)
    for file in result.files:
        state = "fetched" if file.fetched else "there already"
        files.add_row(escape(str(file.path)), format_bytes(file.size), file.sha256[:12], state)
    yield files
    yield f"{format_bytes(result.bytes_fetched)} fetched in {result.seconds:.1f} s into {escape(str(result.folder))}"
