"""`docclf review`."""

from pathlib import Path
from typing import Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._load import settings_of_use
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf review scans/ --class invoice --class letter   # the first labels of a folder\n\n"
    "docclf review scans/ --run runs/mine   # a run suggests, the most uncertain pages come first\n\n"
    "docclf review scans/ --learn   # suggestions from the first ten labels on, better ones after every 20 more\n\n"
    "docclf review predictions/   # the pages that `docclf predict` marked for review\n\n"
    "docclf review runs/check   # label issues and near duplicates of `docclf audit`\n\n"
    "docclf review documents.csv   # uncertain cuts of `docclf split-packets`"
)
PAGE = "The page"

Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="SOURCE",
        help="A folder of pages, a folder or table that `docclf predict` wrote, a run with a review queue, an audit, or a table "
        "of `docclf split-packets` "
        "\\[default: predictions].",
        show_default=False,
    ),
]
Run = Annotated[
    Path | None, option.declare("--run", help="Run that suggests a class for each page, and draws heat maps.")
]
Classes = Annotated[
    list[str] | None, option.declare("--class", metavar="NAME", help="One more class to choose from (repeatable).")
]
EveryPage = Annotated[
    bool, option.declare("--all", help="Of a table of predictions: offer all pages, not only those that need review.")
]
Learn = Annotated[
    bool,
    option.declare(
        "--learn", help="Learn while you label: suggestions and order follow the labels. Needs no run; with one it starts from it."
    ),
]  # fmt: skip
Every = Annotated[
    int, option.declare("--every", metavar="N", min=1, help="With --learn: how many new labels update the suggestions.")
]
Export = Annotated[
    bool,
    option.declare("--export", help="Only write the tables of what is decided; open no page.", panel=option.OUTPUT),
]
Format = Annotated[
    str,
    option.declare(
        "--format", metavar="csv|label-studio", panel=option.OUTPUT,
        help="With --export: label-studio also writes predictions and labels as JSON for Label Studio.",
    ),
]  # fmt: skip
Output = Annotated[
    Path | None,
    option.declare(
        "--output", "-o", metavar="DIR", panel=option.OUTPUT,
        help="Folder of the decisions \\[default: SOURCE-review beside the source].",
    ),
]  # fmt: skip
Host = Annotated[
    str, option.declare("--host", help="Address to listen on; 0.0.0.0 lets others on the network in.", panel=PAGE)
]
Port = Annotated[int, option.declare("--port", help="Port to listen on; 0 takes a free one.", panel=PAGE)]
Open = Annotated[bool, option.declare("--open", help="Open the page in the browser of this machine.", panel=PAGE)]


def run(
    source: Source = None,
    run: Run = None,
    classes: Classes = None,
    every_page: EveryPage = False,
    learn: Learn = False,
    every: Every = 20,
    host: Host = "127.0.0.1",
    port: Port = 0,
    open_browser: Open = False,
    device: option.Device = None,
    precision: option.Precision = None,
    sets: option.Sets = None,
    output: Output = None,
    export: Export = False,
    export_format: Format = "csv",
    lang: option.Language = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Label and correct pages in the browser, one key a decision; every decision is saved before the next page shows."""
    from docclf_cli.display.console import stderr
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.review.review import ReviewOptions, review

    runtime_config, reading = settings_of_use(sets, device, precision)
    chosen = {key: reading[key] for key in ("max_pixels", "allow_symlinks") if key in reading}
    options = ReviewOptions(
        source or Path("predictions"),
        run,
        tuple(classes or ()),
        every_page,
        output,
        host,
        port,
        open_browser,
        export,
        export_format,
        learn,
        every,
        **chosen,
    )
    with progress_display(quiet) as emit, StopFlag(saves=True).installed() as stop:
        result = review(
            options, runtime_config=runtime_config, emit=emit, stop=stop,
            announce=lambda link: stderr.print(f"open {link}\nCtrl-C ends the review", soft_wrap=True, markup=False, highlight=False),
        )  # fmt: skip
        report.show(result, as_json=as_json)
