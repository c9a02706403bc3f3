"""`docclf predict`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._arguments import argument_or_option
from docclf_cli.commands._checkpoint import checkpoint_or_newest, with_members
from docclf_cli.commands._completion import words
from docclf_cli.commands._load import load_checked, settings_of_use
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.errors import InputError
from docclf_cli.tasks.predict.output_formats import OUTPUT_FORMATS

if TYPE_CHECKING:
    from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf predict runs/mine scans/\n\n"
    "docclf predict runs/mine letter.pdf 'inbox/**/*.tif' --target-precision 0.99 --copy-to sorted\n\n"
    "find /archive -name '*.pdf' -print0 | docclf predict runs/mine - --format jsonl -o archive.jsonl\n\n"
    "docclf predict runs/mine scans/ -o - > classes.csv\n\n"
    "docclf predict runs/mine --split test --submission"
)
STDOUT = Path("-")
SURE = "Review"

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN] INPUT...",
        help="A run folder, checkpoint or ONNX file may come first. Files, folders (with subfolders), globs in quotes, "
        "CSV files with a column of paths, or '-' for a list on stdin. PDF and TIFF files are read page by page.",
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
        help=f"Output folder, or a table ({', '.join(one.facts['suffix'] for one in OUTPUT_FORMATS)}); other files go beside it; or '-' for stdout "
        "\\[default: predictions/; of --split, predict/ in the run].",
    ),
]  # fmt: skip
Format = Annotated[
    str | None,
    option.declare(
        "--format",
        help=f"{' or '.join(OUTPUT_FORMATS.names())} \\[default: csv].",
        panel=option.OUTPUT,
        complete=words(*OUTPUT_FORMATS.names()),
    ),
]
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
        help="Copy the files into class folders here, those that need review below _review and unreadable ones into "
        "_unreadable; nothing is overwritten.",
    ),
]  # fmt: skip
Explain = Annotated[
    Path | None,
    typer.Option(
        "--explain", metavar="DIR", rich_help_panel=option.OUTPUT,
        help="Draw heat maps of what spoke for the class into this new folder: of pages that need review, or of all where "
        "no confidence was asked for; at most 200.",
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
    explain: Explain = None,
    overwrite: Overwrite = False,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Predict the class of pages with a calibrated confidence, and mark the pages that need review."""
    import contextlib
    import shutil
    import sys
    import tempfile
    from dataclasses import replace

    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.predict.predict import PredictOptions, predict
    from docclf_cli.tasks.unreadable import require_readable

    inputs, checkpoint, backend = _split_model(inputs or [], checkpoint, backend)
    if not inputs and split is None and checkpoint is not None and profile is None:
        raise InputError(
            f"{checkpoint} is the model, and there is nothing to predict",
            f"name pages: {shlex.join(['docclf', 'predict', checkpoint, 'scans/'])}; or add --split test",
        )
    question = PredictOptions(
        inputs=tuple(inputs or ()), split=split, data=data, top_k=top_k, target_precision=target_precision,
        min_confidence=min_confidence, max_unreadable=max_unreadable, output=output, file_format=file_format,
        submission=submission, fill=fill, copy_to=copy_to, explain=explain, backend=backend, overwrite=overwrite,
    )  # fmt: skip
    question.check(precision or "auto")
    to_stdout = output == STDOUT
    if to_stdout and (as_json or submission):
        raise InputError(
            f"-o - writes pages to stdout, and {'--json' if as_json else '--submission'} writes another result",
            "give one of them",
        )
    runtime_config, reading = settings_of_use(sets, device, precision)
    spec = _ensemble_spec(checkpoint, profile, tta, quiet)
    with contextlib.ExitStack() as stack:
        if to_stdout:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="docclf-")))
            question = replace(question, output=folder, overwrite=True)
        emit = stack.enter_context(progress_display(quiet))
        stop = stack.enter_context(StopFlag(saves=not to_stdout).installed())
        result = predict(
            spec, question, stdin=sys.stdin.buffer, runtime_config=runtime_config, reading=reading, emit=emit, stop=stop,
        )  # fmt: skip
        if to_stdout:
            with result.files[0].open("rb") as table:
                shutil.copyfileobj(table, sys.stdout.buffer)
            sys.stdout.flush()
    if not to_stdout:
        report.show(result, as_json=as_json)
    allowed = result.max_unreadable if max_unreadable is None else max_unreadable
    written = (
        "the status gives the reason"
        if to_stdout
        else "all files are written, and the quarantine file gives the reasons"
    )
    hint = f"{written}; --max-unreadable 1 accepts any number"
    require_readable(result.unreadable, result.pages, allowed, hint)


MODEL_FILES = (".ckpt", ".pt", ".pth", ".onnx")


def _split_model(inputs: list[str], checkpoint: str | None, backend: str) -> tuple[list[str], str | None, str]:
    """Take the model off the inputs where it comes first: a checkpoint, an ONNX file or a folder with run.json."""
    first = inputs[0] if inputs else ""
    is_checkpoint = first.lower().endswith(MODEL_FILES) and (first.startswith("s3://") or Path(first).is_file())
    if not is_checkpoint and not (Path(first) / "run.json").is_file():
        return inputs, checkpoint, backend
    if first.lower().endswith(".onnx"):
        first, backend = _checkpoint_of_onnx(Path(first)), "onnx"
    return inputs[1:], argument_or_option(first, checkpoint, "--checkpoint"), backend


def _checkpoint_of_onnx(path: Path) -> str:
    """The checkpoint that `docclf export` made an ONNX file of, which lies in the folder above.

    Raises:
        InputError: It is not there.
    """
    for suffix in (".ckpt", ".pt", ".pth"):
        if (found := path.absolute().parent.parent / f"{path.stem}{suffix}").is_file():
            return str(found)
    raise InputError(
        f"{path}: there is no {path.stem}.ckpt in the folder above, of which it was made",
        "keep it where `docclf export` puts it, in export/ beside the checkpoint",
    )


def _ensemble_spec(checkpoint: str | None, profile: str | None, tta: bool, quiet: bool) -> "EnsembleSpec":
    from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec

    if profile is None:
        return EnsembleSpec.of_checkpoint(checkpoint_or_newest(checkpoint, None, quiet), tta)
    if checkpoint is not None:
        raise InputError("name either --checkpoint or the --profile of an ensemble")
    resolved = with_members(load_checked(profile, {}, ()).profile, [], quiet)
    return EnsembleSpec.of_ensemble(profile, resolved.ensemble, tta)
