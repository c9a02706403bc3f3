"""`docclf predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._checkpoint import checkpoint_or_newest, with_members
from docclf_cli.commands._load import load_checked, settings_of_use
from docclf_cli.display import predict as _predict_tables  # noqa: F401  (registers the tables)
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.errors import InputError

if TYPE_CHECKING:
    from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf predict scans/ --checkpoint runs/mine\n\n"
    "docclf predict letter.pdf 'inbox/**/*.tif' --checkpoint runs/mine --target-precision 0.99 --copy-to sorted\n\n"
    "find /archive -name '*.pdf' -print0 | docclf predict - --checkpoint runs/mine --format jsonl -o archive.jsonl\n\n"
    "docclf predict --split test --checkpoint runs/mine --submission"
)
SURE = "When to trust it"

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INPUT]...",
        help="Files, folders (all the way down), globs in quotes, CSV files with a column of paths, or '-' for a list "
        "on stdin. PDF and TIFF are taken page by page.",
        show_default=False,
    ),
]
Ensemble = Annotated[
    str | None,
    typer.Option(
        "--profile", "-p", metavar="NAME|PATH", rich_help_panel=option.COMMON,
        help="Instead of a checkpoint: the profile of an ensemble, whose members answer together.",
    ),
]  # fmt: skip
Split = Annotated[str | None, option.declare("--split", help="Instead of inputs: 'test', the test pages of --data.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="PATH", help="Data root of --split \\[default: that of the training].",
        rich_help_panel=option.COMMON,
    ),
]  # fmt: skip
TopK = Annotated[int, typer.Option("--top-k", min=1, help="Classes named per page.", rich_help_panel=option.COMMON)]
TargetPrecision = Annotated[
    float | None,
    option.declare(
        "--target-precision",
        help="Review what is less certain than held-out pages must be to be right in this share of cases, e.g. 0.99.",
        panel=SURE,
    ),
]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        "--min-confidence", min=0.0, max=1.0, help="Review what is less certain than this.", rich_help_panel=SURE
    ),
]
MaxUnreadable = Annotated[
    float | None,
    typer.Option(
        "--max-unreadable", min=0.0, max=1.0, rich_help_panel=SURE,
        help="Share of unreadable pages above which the exit code is 3; everything is written all the same "
        "\\[default: data.max_unreadable of the training].",
    ),
]  # fmt: skip
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE|DIR", rich_help_panel=option.OUTPUT,
        help="A folder, or a table (.csv, .jsonl) with its siblings \\[default: predictions/; of --split, "
        "predict/ in the run].",
    ),
]  # fmt: skip
Format = Annotated[str | None, option.declare("--format", help="csv or jsonl \\[default: csv].", panel=option.OUTPUT)]
WantSubmission = Annotated[
    bool, option.declare("--submission", help="With --split test: also write ID,target.", panel=option.OUTPUT)
]
Fill = Annotated[
    str | None,
    option.declare("--fill", help="Class of pages in the submission that cannot be read.", panel=option.OUTPUT),
]
CopyTo = Annotated[
    Path | None,
    typer.Option(
        "--copy-to", metavar="DIR", rich_help_panel=option.OUTPUT,
        help="Sort copies of the files into class folders here, those to review into _review; nothing is overwritten.",
    ),
]  # fmt: skip
Views = Annotated[
    bool, option.declare("--tta", help="Look at each page in the views that its augmentation trained, and merge them.")
]
Backend = Annotated[
    str, option.declare("--backend", help="torch, or onnx: what `docclf export` made of the checkpoint.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace results that are there.", rich_help_panel=option.OUTPUT)
]


def run(
    inputs: Inputs = None,
    checkpoint: option.CheckpointPath = None,
    profile: Ensemble = None,
    split: Split = None,
    data: Data = None,
    top_k: TopK = 3,
    target_precision: TargetPrecision = None,
    min_confidence: MinConfidence = None,
    max_unreadable: MaxUnreadable = None,
    tta: Views = False,
    backend: Backend = "torch",
    device: option.Device = None,
    precision: option.Precision = None,
    sets: option.Sets = None,
    output: Output = None,
    file_format: Format = None,
    submission: WantSubmission = False,
    fill: Fill = None,
    copy_to: CopyTo = None,
    overwrite: Overwrite = False,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Say what pages are, how sure that is, and which of them a person should look at."""
    import sys

    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.predict.predict import PredictOptions, predict
    from docclf_cli.tasks.unreadable import require_readable

    options = PredictOptions(
        inputs=tuple(inputs or ()), split=split, data=data, top_k=top_k, target_precision=target_precision,
        min_confidence=min_confidence, max_unreadable=max_unreadable, output=output, file_format=file_format,
        submission=submission, fill=fill, copy_to=copy_to, backend=backend, overwrite=overwrite,
    )  # fmt: skip
    options.check(precision or "auto")
    runtime_config, reading = settings_of_use(sets, device, precision)
    spec = _ensemble_spec(checkpoint, profile, tta, quiet)
    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = predict(
            spec, options, stdin=sys.stdin.buffer, runtime_config=runtime_config, reading=reading, emit=emit, stop=stop,
        )  # fmt: skip
    report.show(result, as_json=as_json)
    allowed = result.max_unreadable if max_unreadable is None else max_unreadable
    hint = "all files are written, the quarantine names the reasons; --max-unreadable 1 accepts any number"
    require_readable(result.unreadable, result.pages, allowed, hint)


def _ensemble_spec(checkpoint: str | None, profile: str | None, tta: bool, quiet: bool) -> "EnsembleSpec":
    from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec

    if profile is None:
        return EnsembleSpec.of_checkpoint(checkpoint_or_newest(checkpoint, None, quiet), tta)
    if checkpoint is not None:
        raise InputError("name either --checkpoint or the --profile of an ensemble")
    resolved = with_members(load_checked(profile, {}, ()).profile, [], quiet)
    return EnsembleSpec.of_ensemble(profile, resolved.ensemble, tta)
