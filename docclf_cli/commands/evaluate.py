"""`docclf evaluate`."""

from pathlib import Path
from typing import Annotated

from docclf_cli.commands import _options as option
from docclf_cli.commands._arguments import argument_or_option
from docclf_cli.commands._checkpoint import checkpoint_or_newest, local_checkpoint
from docclf_cli.commands._load import settings_of_use
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.engine.runtime.distributed import on_main

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf evaluate runs/mine\n\n"
    "docclf evaluate runs/mine --split test --compare runs/other\n\n"
    "docclf evaluate runs/mine --split test --target-precision 0.99\n\n"
    "docclf evaluate runs/mine --degrade\n\n"
    "docclf evaluate runs/mine --unknown other-pages/ --costs costs.csv\n\n"
    "docclf evaluate runs/mine/best.ckpt --data scans.csv --images scans --json\n\n"
    "docclf evaluate s3://my-models/docclf/mine --split test"
)

UNREADABLE_HINT = (
    "the others are scored, and predictions.csv gives the reasons; --set data.max_unreadable=1 accepts any number"
)

Compare = Annotated[
    str | None,
    option.declare("--compare", metavar="RUN", help="Compare with another run or checkpoint on the same pages."),
]
TargetPrecision = Annotated[
    float | None,
    option.declare("--target-precision", help="Find the confidence threshold that reaches this precision, e.g. 0.99."),
]
Degrade = Annotated[
    bool, option.declare("--degrade", help="Also score corrupted copies of the pages, by corruption and severity.")
]
MaxLost = Annotated[
    float, option.declare("--max-lost", help="Share of pages of known classes that may be called unknown.")
]
ExpectUnknown = Annotated[
    float | None,
    option.declare(
        "--expect-unknown", help="With --target-precision: expected share of pages of no known class, e.g. 0.1."
    ),
]
Unknown = Annotated[
    str | None,
    option.declare(
        "--unknown", help="Pages of no known class, to measure how well they are recognised as such.", metavar="DIR"
    ),
]
CostTable = Annotated[
    Path | None,
    option.declare(
        "--costs", help="Decide by expected cost: a table of true class by decision and review.", metavar="CSV"
    ),
]
Limit = Annotated[int, option.declare("--limit", help="With --degrade: corrupt at most this many pages.", min=1)]


def run(
    trained: option.Run = None,
    checkpoint: option.CheckpointPath = None,
    split: option.Split = None,
    data: option.OtherData = None,
    images: option.Images = None,
    compare: Compare = None,
    target_precision: TargetPrecision = None,
    degrade: Degrade = False,
    limit: Limit = 300,
    max_lost: MaxLost = 0.05,
    expect_unknown: ExpectUnknown = None,
    unknown: Unknown = None,
    costs: CostTable = None,
    device: option.Device = None,
    precision: option.Precision = None,
    sets: option.Sets = None,
    output: option.ResultsOutput = None,
    as_json: option.Json = False,
    lang: option.Language = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Score a model on labelled pages with 95 % intervals, compare it with another, and find a confidence threshold."""
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.evaluate.evaluate import EvaluateOptions, evaluate
    from docclf_cli.tasks.unreadable import require_readable

    runtime, reading = settings_of_use(sets, device, precision)
    checkpoint = argument_or_option(trained, checkpoint, "--checkpoint")
    path = on_main(lambda: checkpoint_or_newest(checkpoint, output, quiet))
    other = None if compare is None else on_main(lambda: local_checkpoint(compare, quiet))
    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = evaluate(
            path, split, data=data, images=images,
            options=EvaluateOptions(other, target_precision, degrade, limit, max_lost, expect_unknown, unknown, costs),
            output=None if checkpoint is None else output, reading=reading, runtime_config=runtime, emit=emit, stop=stop,
        )  # fmt: skip
    report.show(result, as_json=as_json)
    if result.split == "test":  # held-out pages are a part of those that training has counted
        pages = result.scores.support + result.scores.unreadable
        require_readable(result.scores.unreadable, pages, result.max_unreadable, UNREADABLE_HINT)
