"""`docclf adapt`."""

from pathlib import Path
from typing import Annotated

from docclf_cli.commands import _options as option
from docclf_cli.commands._checkpoint import checkpoint_or_newest
from docclf_cli.commands._load import settings_of_use
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf adapt runs/mine --to scans/\n\n"
    "docclf adapt runs/mine --to scans/ --prior 256 --output adapted.ckpt\n\n"
    "docclf predict runs/mine/adapted.ckpt scans/"
)

Source = Annotated[
    str,
    option.declare(
        "--to",
        metavar="FOLDER",
        help="Pages as they arrive, without labels: a folder, or what else `predict` takes. At least 32.",
    ),
]
Prior = Annotated[
    float,
    option.declare("--prior", min=0.0, help="As how many pages the statistics of the run count; inf keeps them."),
]
MaxLoss = Annotated[
    float | None,
    option.declare(
        "--max-loss",
        min=0.0,
        show_default=False,
        help="By how much held-out macro-F1 may fall \\[default: 0.01, or two pages' worth of few].",
    ),
]


def run(
    source: Source,
    trained: option.Run = None,
    prior: Prior = 1024.0,
    max_loss: MaxLoss = None,
    device: option.Device = None,
    output: Annotated[
        Path | None, option.output("The new checkpoint \\[default: adapted.ckpt beside the checkpoint].", "FILE")
    ] = None,
    overwrite: Annotated[bool, option.overwrite("Replace a file that is there.")] = False,
    sets: option.Sets = None,
    as_json: option.Json = False,
    lang: option.Language = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Give a model the batch-norm statistics of arriving pages, if held-out pages do not lose by it."""
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.adapt import adapt

    runtime, reading = settings_of_use(sets, device, None)
    path = checkpoint_or_newest(trained, None, quiet)
    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = adapt(
            path, source, prior=prior, max_loss=max_loss, output=output, overwrite=overwrite, reading=reading,
            runtime_config=runtime, emit=emit, stop=stop,
        )  # fmt: skip
    report.show(result, as_json=as_json)
