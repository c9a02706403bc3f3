"""`docclf predict`."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._arguments import argument_or_option
from docclf_cli.commands._checkpoint import checkpoint_or_newest, is_model, model_first, with_members
from docclf_cli.commands._completion import words
from docclf_cli.commands._load import load_checked, settings_of_use
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.engine.runtime.distributed import is_main_process, on_main
from docclf_cli.errors import InputError
from docclf_cli.tasks.predict.output_formats import OUTPUT_FORMATS, format_of, require_format

if TYPE_CHECKING:
    from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
    from docclf_cli.results.prediction import PredictResult

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf predict runs/mine scans/\n\n"
    "docclf predict runs/mine letter.pdf 'inbox/**/*.tif' --target-precision 0.99 --copy-to sorted\n\n"
    "find /archive -name '*.pdf' -print0 | docclf predict runs/mine - --format jsonl -o archive.jsonl\n\n"
    "docclf predict runs/mine scans/ -o - > classes.csv\n\n"
    "docclf predict runs/mine --split test --submission\n\n"
    "docclf predict runs/mine scans/ --part 3/20; docclf predict --join predictions"
)
STDOUT = Path("-")
TOP_K = 3
ALL_WRITTEN = "all files are written, and the quarantine file gives the reasons"
UNREADABLE_HINT = "{}; --max-unreadable 1 accepts any number"

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN] INPUT...",
        help="A run folder, checkpoint or ONNX file may come first. Files, folders (with subfolders), globs in quotes, "
        "s3://bucket/prefix/, tables with a column of paths (.csv, .parquet), lists (.txt), or '-' for a list on stdin. PDF and TIFF files are read page by page.",
        show_default=False,
    ),
]
Ensemble = Annotated[
    str | None,
    option.declare(
        "--profile",
        "-p",
        metavar="NAME|PATH",
        help="Instead of a checkpoint: the profile of an ensemble; its members predict together.",
    ),
]
Split = Annotated[str | None, option.declare("--split", help="Instead of inputs: 'test', the test pages of --data.")]
Data = Annotated[
    str | None,
    option.declare("--data", metavar="PATH", help="Data root of --split \\[default: the training data]."),
]
TopK = Annotated[int, option.declare("--top-k", min=1, help="Number of classes listed per page.")]
Output = Annotated[
    Path | None,
    option.output(
        f"Output folder, or a table ({', '.join(one.facts['suffix'] for one in OUTPUT_FORMATS)}); other files go beside it; or '-' for stdout "
        "\\[default: predictions/; of --split, predict/ in the run].",
        "FILE|DIR",
    ),
]
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
CopyTo = Annotated[
    Path | None,
    option.declare(
        "--copy-to",
        metavar="DIR",
        panel=option.OUTPUT,
        help="Copy the files into class folders here, those that need review below _review, unknown pages into _unknown "
        "and unreadable ones into _unreadable; nothing is overwritten.",
    ),
]
TurnUpright = Annotated[
    bool,
    option.declare(
        "--upright",
        panel=option.OUTPUT,
        help="Turn the pages of the copies upright: PDF, PNG, BMP, TIFF and JPEG (by its orientation tag) without loss; "
        "other files are copied as they lie.",
    ),
]
Reencode = Annotated[
    bool,
    option.declare(
        "--reencode",
        panel=option.OUTPUT,
        help="With --upright: turn the pixels of JPEG, WEBP and other lossy files, and encode them again (quality 95).",
    ),
]
Explain = Annotated[
    Path | None,
    option.declare(
        "--explain",
        metavar="DIR",
        panel=option.OUTPUT,
        help="Draw heat maps of what spoke for the class into this new folder: of pages that need review, or of all where "
        "no confidence was asked for; at most 200.",
    ),
]
ExplainText = Annotated[
    Path | None,
    option.declare(
        "--explain-text",
        metavar="FILE.csv",
        panel=option.OUTPUT,
        help="Write the words that spoke for the class into this new table: of pages that need review, or of all where no "
        "confidence was asked for; at most 1000.",
    ),
]
Overwrite = Annotated[bool, option.overwrite("Replace existing results.")]
Part = Annotated[
    str | None,
    option.declare(
        "--part",
        metavar="I/N",
        panel=option.OUTPUT,
        help="Predict only the I-th of N equal shares of the input, into a folder below --output: for array jobs; any/N "
        "makes each part that no other process makes.",
    ),
]
Join = Annotated[
    Path | None,
    option.declare(
        "--join",
        metavar="DIR",
        panel=option.OUTPUT,
        help="Instead of a model and inputs: check that all parts in DIR are there, and write their tables "
        "\\[default place: DIR].",
    ),
]


def run(
    inputs: Inputs = None,
    checkpoint: option.CheckpointPath = None,
    profile: Ensemble = None,
    split: Split = None,
    data: Data = None,
    top_k: TopK = TOP_K,
    target_precision: option.TargetPrecision = None,
    min_confidence: option.MinConfidence = None,
    max_lost: option.MaxLost = 0.05,
    expect_unknown: option.ExpectUnknown = None,
    costs: option.CostTable = None,
    max_unreadable: option.MaxUnreadable = None,
    tta: option.Views = False,
    backend: option.Backend = "torch",
    device: option.Device = None,
    precision: option.Precision = None,
    sets: option.Sets = None,
    output: Output = None,
    file_format: Format = None,
    submission: WantSubmission = False,
    fill: option.Fill = None,
    copy_to: CopyTo = None,
    upright: TurnUpright = False,
    reencode: Reencode = False,
    explain: Explain = None,
    explain_text: ExplainText = None,
    part: Part = None,
    join: Join = None,
    overwrite: Overwrite = False,
    as_json: option.Json = False,
    lang: option.Language = None,
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
    from docclf_cli.tasks.predict.parts import Share
    from docclf_cli.tasks.predict.predict import PredictOptions, predict, predict_share
    from docclf_cli.tasks.unreadable import require_readable

    if join is not None:
        others = {
            "inputs": inputs, "--checkpoint": checkpoint, "--profile": profile, "--split": split, "--part": part,
            "--top-k": top_k != TOP_K, "--target-precision": target_precision, "--min-confidence": min_confidence,
            "--expect-unknown": expect_unknown, "--costs": costs, "--submission": submission, "--explain": explain,
            "--tta": tta, "--upright": upright, "--reencode": reencode,
        }  # fmt: skip
        result = _join(join, others, output, file_format, overwrite, copy_to, sets, quiet)
        report.show(result, as_json=as_json)
        allowed = result.max_unreadable if max_unreadable is None else max_unreadable
        require_readable(result.unreadable, result.pages, allowed, UNREADABLE_HINT.format(ALL_WRITTEN))
        return
    inputs, checkpoint, backend = _split_model(inputs or [], checkpoint, backend)
    if not inputs and split is None and checkpoint is not None and profile is None:
        raise InputError(
            f"{checkpoint} is the model, and there is nothing to predict",
            f"name pages: {shlex.join(['docclf', 'predict', checkpoint, 'scans/'])}; or add --split test",
        )
    question = PredictOptions(
        inputs=tuple(inputs or ()), split=split, data=data, top_k=top_k, target_precision=target_precision,
        min_confidence=min_confidence, max_lost=max_lost, expect_unknown=expect_unknown, costs=costs, max_unreadable=max_unreadable, output=output, file_format=file_format,
        submission=submission, fill=fill, copy_to=copy_to, upright=upright, reencode=reencode, explain=explain, explain_text=explain_text, backend=backend, overwrite=overwrite,
    )  # fmt: skip
    question.check(precision or "auto")
    share = None
    if part is not None:
        share = Share.parse(part)
        question.check_part()
    to_stdout = output == STDOUT
    if to_stdout and (as_json or submission):
        raise InputError(
            f"-o - writes pages to stdout, and {'--json' if as_json else '--submission'} writes another result",
            "give one of them",
        )
    runtime_config, reading = settings_of_use(sets, device, precision)
    spec = on_main(lambda: _ensemble_spec(checkpoint, profile, tta, quiet))
    with contextlib.ExitStack() as stack:
        if to_stdout:
            folder = on_main(lambda: Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="docclf-"))))
            question = replace(question, output=folder, overwrite=True)
        emit = stack.enter_context(progress_display(quiet))
        stop = stack.enter_context(StopFlag(saves=not to_stdout).installed())
        if share is not None:
            made = predict_share(
                spec, question, share, stdin=sys.stdin.buffer, runtime_config=runtime_config, reading=reading, emit=emit, stop=stop,
            )  # fmt: skip
            report.show(made, as_json=as_json)
            return
        result = predict(
            spec, question, stdin=sys.stdin.buffer, runtime_config=runtime_config, reading=reading, emit=emit, stop=stop,
        )  # fmt: skip
        if to_stdout and is_main_process():
            with result.files[0].open("rb") as table:
                shutil.copyfileobj(table, sys.stdout.buffer)
            sys.stdout.flush()
    if not to_stdout:
        report.show(result, as_json=as_json)
    allowed = result.max_unreadable if max_unreadable is None else max_unreadable
    hint = UNREADABLE_HINT.format("the status gives the reason" if to_stdout else ALL_WRITTEN)
    require_readable(result.unreadable, result.pages, allowed, hint)


def _join(
    parent: Path,
    others: Mapping[str, object],
    output: Path | None,
    file_format: str | None,
    overwrite: bool,
    copy_to: Path | None,
    sets: list[str] | None,
    quiet: bool,
) -> "PredictResult":
    """The tables of all parts.

    Raises:
        InputError: Something is given that the parts have decided already.
    """
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.predict.parts import join_parts

    if given := [name for name, value in others.items() if value]:
        raise InputError(
            f"--join: the parts have decided this already: {given[0]}", "it takes --output, --format and --copy-to"
        )
    of_output = None if output is None else format_of(output)
    for name in (file_format, None if of_output is None else of_output.name):
        if name is not None:
            require_format(name)
    _, reading = settings_of_use(sets, None, None)
    with progress_display(quiet) as emit, StopFlag(saves=False).installed() as stop:
        return join_parts(
            parent, output or parent, file_format=file_format, overwrite=overwrite, copy_to=copy_to,
            allow_symlinks=reading.get("allow_symlinks", False), emit=emit, stop=stop,
        )  # fmt: skip


def _split_model(inputs: list[str], checkpoint: str | None, backend: str) -> tuple[list[str], str | None, str]:
    """Take the model off the inputs where it comes first; of an ONNX file it is the checkpoint that it was made of."""
    if not inputs or not is_model(inputs[0]) or not inputs[0].lower().endswith(".onnx"):
        return *model_first(inputs, checkpoint, "docclf predict"), backend
    backend = "int8" if inputs[0].lower().endswith(".int8.onnx") else "onnx"
    first = _checkpoint_of_onnx(Path(inputs[0]))
    return inputs[1:], argument_or_option(first, checkpoint, "--checkpoint"), backend


def _checkpoint_of_onnx(path: Path) -> str:
    """The checkpoint that `docclf export` made an ONNX file of, which lies in the folder above.

    Raises:
        InputError: It is not there.
    """
    stem = path.stem.removesuffix(".int8")
    for suffix in (".ckpt", ".pt", ".pth"):
        if (found := path.absolute().parent.parent / f"{stem}{suffix}").is_file():
            return str(found)
    raise InputError(
        f"{path}: there is no {stem}.ckpt in the folder above, of which it was made",
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
