"""`docclf watch`."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.markup import escape

from docclf_cli.commands import _options as option
from docclf_cli.commands._checkpoint import checkpoint_or_newest
from docclf_cli.commands._load import settings_of_use
from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.errors import RemoteError
from docclf_cli.results.watching import WatchResult
from docclf_cli.text import plural

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf watch inbox/ --out sorted/ --checkpoint runs/mine --min-confidence 0.9\n\n"
    "docclf watch inbox/ --out sorted/ --move --once --json\n\n"
    "docclf watch inbox/ --out sorted/ --exec 'python notify.py'\n\n"
    "docclf watch inbox/ --out sorted/ --split-packets"
)


def run(
    inbox: Annotated[Path, typer.Argument(metavar="IN", help="Folder in which files arrive.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--out", "--output", "-o", metavar="DIR", rich_help_panel=option.OUTPUT, show_default=False,
            help="Parent of the class folders, of _review, _unknown and _unreadable; the journal lies there, too.",
        ),
    ],
    checkpoint: option.CheckpointPath = None,
    move: Annotated[
        bool, option.declare("--move", help="Remove a file from IN once its copy is complete.", panel=option.OUTPUT)
    ] = False,
    once: Annotated[
        bool, option.declare("--once", help="Sort what is there, and end; for cron.", panel=option.OUTPUT)
    ] = False,
    every: Annotated[float, option.declare("--every", help="Seconds between looks at IN.", min=0.05)] = 2.0,
    settle: Annotated[
        float, option.declare("--settle", help="Seconds that a file must not have changed before it is read.", min=0.0)
    ] = 2.0,
    split_packets: Annotated[
        bool,
        option.declare(
            "--split-packets",
            help="Split PDF and TIFF files of several documents where all cuts are sure; the others go to _review uncut.",
        ),
    ] = False,
    command: Annotated[
        str | None,
        option.declare(
            "--exec",
            help="Run this command for each sorted file, at least once; it gets JSON with a stable id on its stdin.",
            panel=option.OUTPUT,
        ),
    ] = None,
    command_seconds: Annotated[
        float, option.declare("--exec-timeout", help="Longest seconds of that command.", panel=option.OUTPUT, min=0.1)
    ] = 60.0,
    target_precision: option.TargetPrecision = None,
    min_confidence: option.MinConfidence = None,
    max_lost: option.MaxLost = 0.05,
    expect_unknown: option.ExpectUnknown = None,
    costs: option.CostTable = None,
    cut_precision: option.CutPrecision = 0.95,
    packet_text: option.PacketText = "auto",
    tta: option.Views = False,
    backend: option.Backend = "torch",
    device: option.Device = None,
    precision: option.Precision = None,
    sets: option.Sets = None,
    lang: option.Language = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:  # fmt: skip
    """Sort files into class folders as they arrive in a folder, each exactly once."""
    from typing import cast

    from docclf_cli.data.text.page_text import TextMode
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.serve.decoding import DecodeLimits, DecodePool
    from docclf_cli.tasks.serve.served_model import ModelSource
    from docclf_cli.tasks.split_packets.options import CutOptions
    from docclf_cli.tasks.watch.packets import require_splitting
    from docclf_cli.tasks.watch.watch import Watcher, WatchOptions

    runtime, reading = settings_of_use(sets, device, precision)
    options = WatchOptions(
        inbox=inbox,
        output=output,
        move=move,
        once=once,
        every=every,
        settle=settle,
        command=tuple(shlex.split(command or "")),
        command_seconds=command_seconds,
        allow_symlinks=reading.get("allow_symlinks", False),
    )
    options.check()
    path = checkpoint_or_newest(checkpoint, None, quiet)
    cuts = None
    if split_packets:
        cuts = CutOptions(cut_precision, cast(TextMode, packet_text))
        cuts.check("--cut-precision", "--packet-text")
        require_splitting(path, backend)
    source = ModelSource(
        "model", path, runtime, tta, backend, min_confidence, target_precision, max_lost, expect_unknown, costs, cuts
    )
    source.check()
    limits = DecodeLimits(pages=10_000, seconds=600, pixels=reading.get("max_pixels", DecodeLimits.pixels))
    pool = DecodePool(1, limits)
    try:
        with StopFlag(saves=True).installed() as stop:
            result = Watcher(options, source.load(), pool, stop).run()
    finally:
        pool.close()
    report.show(result, as_json=as_json)
    if result.untold:
        count = plural(result.untold, "document", "documents")
        raise RemoteError(f"--exec failed for {count}", "they are sorted; the same command tells of them again")


@report.render.register
def tables(result: WatchResult) -> Iterator[RenderableType]:
    """What became of the files."""
    table = report.plain_table(
        escape(said("{count} files sorted into {folder}", count=result.handled, folder=result.output))
    )
    if result.packets:
        split = said("{packets} (into {parts})", packets=result.packets, parts=result.parts)
        table.add_row(said("split into documents"), split)
    for name, count in sorted(result.classes.items()):
        table.add_row(escape(name), str(count))
    table.add_row(said("to review"), str(result.needs_review))
    if result.unknown:
        table.add_row(said("unknown"), str(result.unknown))
    table.add_row(said("unreadable"), str(result.unreadable))
    if result.duplicates:
        table.add_row(said("sorted before (the same content)"), str(result.duplicates))
    yield table
