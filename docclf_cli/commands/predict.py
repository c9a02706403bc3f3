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
SURE = "Review"

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INPUT]...",
        help="Files, folders (with subfolders), globs in quotes, CSV files with a column of paths, or '-' for a list "
        "on stdin. PDF and TIFF files are read page by page.",
        show_default=False,
    ),
]
Ensemble = Annotated[
    str | None,
    typer.Option(
        "--profile", "-p", metavar="NAME|PATH", rich_help_panel=option.COMMON,
        help="Instead of a checkpoint: the profile of an ensemble; its members predict together.",
    ),
]  # fmt: skip
Split = Annotated[str | None, option.declare("--split", help="Instead of inputs: 'test', the test pages of --data.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="PATH", help="Data root of --split \\[default: the training data].",
        rich_help_panel=option.COMMON,
    ),
]  # fmt: skip
TopK = Annotated[
    int, typer.Option("--top-k", min=1, help="Number of classes listed per page.", rich_help_panel=option.COMMON)
]
TargetPrecision = Annotated[
    float | None,
    option.declare(
        "--target-precision",
        help="Mark pages for review so that all other pages reach this precision, e.g. 0.99.",
        panel=SURE,
    ),
]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        "--min-confidence", min=0.0, max=1.0, help="Mark pages below this confidence for review.", rich_help_panel=SURE
    ),
]
MaxUnreadable = Annotated[
    float | None,
    typer.Option(
        "--max-unreadable", min=0.0, max=1.0, rich_help_panel=SURE,
        help="Share of unreadable pages above which the exit code is 3; all files are still written "
        "\\[default: data.max_unreadable of the training profile].",
    ),
]  # fmt: skip
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE|DIR", rich_help_panel=option.OUTPUT,
        help="Output folder, or a table (.csv, .jsonl); other files go beside it \\[default: predictions/; of --split, "
        "predict/ in the run].",
    ),
]  # fmt: skip
Format = Annotated[str | None, option.declare("--format", help="csv or jsonl \\[default: csv].", panel=option.OUTPUT)]
WantSubmission = Annotated[
    bool,
    option.declare(
        "--submission", help="With --split test: also write submission.csv (ID,target).", panel=option.OUTPUT
    ),
]
Fill = Annotated[
    str | None,
    option.declare("--fill", help="Class for unreadable pages in the submission.", panel=option.OUTPUT),
]
CopyTo = Annotated[
    Path | None,
    typer.Option(
        "--copy-to", metavar="DIR", rich_help_panel=option.OUTPUT,
        help="Copy the files into class folders here, and files that need review into _review; nothing is overwritten.",
    ),
]  # fmt: skip
Views = Annotated[
    bool,
    option.declare(
        "--tta", help="Test-time augmentation: predict each page in several views and merge the probabilities."
    ),
]
Backend = Annotated[str, option.declare("--backend", help="torch, or onnx (the file that `docclf export` wrote).")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace existing results.", rich_help_panel=option.OUTPUT)
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
    """Predict the class of pages with a calibrated confidence, and mark the pages that need review."""
    import sys

    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.predict.predict import PredictOptions, predict
    from docclf_cli.tasks.unreadable import require_readable

    question = PredictOptions(
        inputs=tuple(inputs or ()), split=split, data=data, top_k=top_k, target_precision=target_precision,
        min_confidence=min_confidence, max_unreadable=max_unreadable, output=output, file_format=file_format,
        submission=submission, fill=fill, copy_to=copy_to, backend=backend, overwrite=overwrite,
    )  # fmt: skip
    question.check(precision or "auto")
    runtime_config, reading = settings_of_use(sets, device, precision)
    spec = _ensemble_spec(checkpoint, profile, tta, quiet)
    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = predict(
            spec, question, stdin=sys.stdin.buffer, runtime_config=runtime_config, reading=reading, emit=emit, stop=stop,
        )  # fmt: skip
    report.show(result, as_json=as_json)
    allowed = result.max_unreadable if max_unreadable is None else max_unreadable
    hint = "all files are written, and the quarantine file gives the reasons; --max-unreadable 1 accepts any number"
    require_readable(result.unreadable, result.pages, allowed, hint)


def _ensemble_spec(checkpoint: str | None, profile: str | None, tta: bool, quiet: bool) -> "EnsembleSpec":
    from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec

    if profile is None:
        return EnsembleSpec.of_checkpoint(checkpoint_or_newest(checkpoint, None, quiet), tta)
    if checkpoint is not None:
        raise InputError("name either --checkpoint or the --profile of an ensemble")
    resolved = with_members(load_checked(profile, {}, ()).profile, [], quiet)
    return EnsembleSpec.of_ensemble(profile, resolved.ensemble, tta)
