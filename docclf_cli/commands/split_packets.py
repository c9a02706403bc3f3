"""`docclf split-packets`."""

from pathlib import Path
from typing import Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._checkpoint import checkpoint_or_newest, model_first
from docclf_cli.commands._completion import words
from docclf_cli.commands._load import settings_of_use
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf train my/documents --packets\n\n"
    "docclf split-packets runs/mine packet.pdf\n\n"
    "docclf split-packets runs/mine inbox/ --write documents/ --output documents.csv\n\n"
    "docclf review documents.csv   # decide about the uncertain cuts\n\n"
    "docclf split-packets runs/mine inbox/ --cuts documents-review/review_cuts.csv --write documents/"
)
TEXTS = ("off", "layer", "ocr", "auto")

Packets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN] PACKET...",
        help="A run folder or checkpoint may come first. PDF and TIFF files that hold several documents, folders, globs in "
        "quotes, CSV files with a column of paths, or '-' for a list on stdin.",
        show_default=False,
    ),
]
TargetPrecision = Annotated[
    float,
    option.declare(
        "--target-precision",
        help="Share of cuts, and of joins, made without review that is to be right; the others are marked for review.",
        panel=option.REVIEW,
    ),
]
Text = Annotated[
    str,
    option.declare(
        "--text",
        help="Text to go by: off; layer (of PDFs); ocr (also OCR of pages without one); auto (OCR where an engine is installed).",
        complete=words(*TEXTS),
    ),
]
Output = Annotated[Path | None, option.output("Also write the documents to this table (.csv, .jsonl).", metavar="FILE")]
Write = Annotated[
    Path | None,
    option.declare(
        "--write",
        metavar="DIR",
        panel=option.OUTPUT,
        help="Write each document into the folder of its class here, and what needs review uncut into _review; nothing is "
        "overwritten.",
    ),
]
Cuts = Annotated[
    list[Path] | None,
    option.declare(
        "--cuts",
        metavar="CSV",
        panel=option.REVIEW,
        help="Take the cuts and joins of this table as given, which `docclf review` wrote (review_cuts.csv; repeatable).",
    ),
]
Overwrite = Annotated[bool, option.overwrite("Replace an existing table.")]


def run(
    packets: Packets = None,
    checkpoint: option.CheckpointPath = None,
    target_precision: TargetPrecision = 0.95,
    text: Text = "auto",
    cuts: Cuts = None,
    max_unreadable: option.MaxUnreadable = None,
    device: option.Device = None,
    precision: option.Precision = None,
    sets: option.Sets = None,
    output: Output = None,
    write: Write = None,
    overwrite: Overwrite = False,
    as_json: option.Json = False,
    lang: option.Language = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Find the documents in packets: where each begins and ends, and its class."""
    import sys
    from typing import cast

    from docclf_cli.data.text.page_text import TextMode
    from docclf_cli.engine.inference.trained_model import TrainedModel
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.split_packets.split_packets import SplitOptions, split_packets
    from docclf_cli.tasks.unreadable import require_readable

    inputs, checkpoint = model_first(packets or [], checkpoint, "docclf split-packets")
    options = SplitOptions(
        tuple(inputs),
        target_precision,
        cast(TextMode, text),
        output,
        write,
        tuple(cuts or ()),
        max_unreadable,
        overwrite,
    )
    options.check()
    runtime_config, reading = settings_of_use(sets, device, precision)
    member = TrainedModel.load(checkpoint_or_newest(checkpoint, None, quiet))
    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = split_packets(
            member, options, stdin=sys.stdin.buffer, runtime_config=runtime_config, reading=reading, emit=emit, stop=stop,
        )  # fmt: skip
    report.show(result, as_json=as_json)
    hint = "the status gives the reason; --max-unreadable 1 accepts any number"
    require_readable(result.unreadable, result.pages, result.max_unreadable, hint)
