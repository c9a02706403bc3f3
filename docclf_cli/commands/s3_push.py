"""`docclf s3-push`."""

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
from docclf_cli.results.storage import PushResult
from docclf_cli.text import format_bytes

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf s3-push runs/convnext-01 --dry-run\n\n"
    "docclf s3-push runs/convnext-01 --bucket my-models --prefix documents\n\n"
    "docclf s3-push a.ckpt b.ckpt --name pair"
)


def run(
    sources: Annotated[list[Path], typer.Argument(metavar="RUN|FILE...", help="One run folder, or files.")],
    name: Annotated[str | None, option.name("Name of the stored model \\[default: that of the folder].")] = None,
    bucket: option.Bucket = None,
    prefix: option.Prefix = None,
    with_last: Annotated[
        bool, option.declare("--with-last", help="Also push last.ckpt, to resume training elsewhere.")
    ] = False,
    dry_run: Annotated[
        bool, option.declare("--dry-run", help="Show what would be sent, without sending anything.")
    ] = False,
    overwrite: Annotated[
        bool, option.overwrite("Replace a stored model of this name that has other checkpoints.")
    ] = False,
    profile: option.ProfileName = "config",
    sets: option.Sets = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Push a run folder or files to S3. Only missing files are sent, and the server verifies them."""
    loaded = load_checked(profile, {"s3.bucket": bucket, "s3.prefix": prefix}, sets)
    from docclf_cli.services.storage.push import push
    from docclf_cli.services.storage.s3 import resolve_target
    from docclf_cli.stop import StopFlag

    target = resolve_target(loaded.profile.s3)
    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = push(
            sources, target, name=name, with_last=with_last, overwrite=overwrite, dry_run=dry_run, emit=emit, stop=stop
        )
    report.show(result, as_json=as_json)


@report.render.register
def table(result: PushResult) -> Iterator[RenderableType]:
    """The files and their state."""
    files = Table(title=f"{escape(result.name)}: {len(result.files)} files", title_justify="left")
    files.add_column("file", overflow="fold")
    for head in ("size", "SHA-256", "state"):
        files.add_column(head, justify="right" if head == "size" else "left", no_wrap=True)
    missing = "missing" if result.dry_run else "sent"
    for file in result.files:
        state = missing if file.sent else "stored already"
        files.add_row(escape(file.path), format_bytes(file.size), file.sha256[:12], state)
    yield files
    if result.dry_run:
        yield f"Dry run: {format_bytes(result.bytes_sent)} would be sent, then {escape(result.manifest)}."
    else:
        yield f"{format_bytes(result.bytes_sent)} sent in {result.seconds:.1f} s. Stored: {escape(result.manifest)}"
        yield f"Restore it: docclf s3-pull {escape(result.name)} DIR"
