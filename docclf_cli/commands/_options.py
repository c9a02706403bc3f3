"""Options that mean the same in every command."""

from pathlib import Path
from typing import Annotated, Any

import typer

from docclf_cli.commands._completion import Complete, groups, words
from docclf_cli.display import console
from docclf_cli.display.messages import LANGUAGES, choose_language

PROFILE = "Profile"
COMMON = "Common options"
OUTPUT = "Output"
REVIEW = "Review"
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def _debug(wanted: bool) -> bool:
    console.set_debug(wanted)
    return wanted


def _quiet(wanted: bool) -> bool:
    console.set_quiet(wanted)
    return wanted


def _language(name: str | None) -> str | None:
    if name not in (None, *LANGUAGES):
        raise typer.BadParameter(f"'{name}' is not one of {', '.join(LANGUAGES)}")
    choose_language(name)
    return name


def _known_precision(name: str | None) -> str | None:
    if name not in (None, *PRECISIONS):
        raise typer.BadParameter(f"'{name}' is not one of {', '.join(PRECISIONS)}")
    return name


def declare(*names: str, help: str, panel: str = COMMON, complete: Complete | None = None, **facts: Any) -> Any:
    """An option under a heading of the help text; `facts` are arguments of `typer.Option`."""
    return typer.Option(*names, help=help, rich_help_panel=panel, autocompletion=complete, **facts)


def overwrite(help: str) -> Any:
    """The option `--overwrite`; the help text says what is replaced."""
    return declare("--overwrite", help=help, panel=OUTPUT)


def output(help: str, metavar: str = "DIR") -> Any:
    """The option `--output`; the help text says what goes there."""
    return declare("--output", "-o", metavar=metavar, help=help, panel=OUTPUT)


def name(help: str) -> Any:
    """The option `--name`; the help text says what is named."""
    return declare("--name", "-n", help=help, panel=OUTPUT)


ProfileName = Annotated[
    str,
    declare("--profile", "-p", metavar="NAME|PATH", help="Profile to start from.", panel=PROFILE, complete=groups("")),
]
Sets = Annotated[
    list[str] | None,
    declare(
        "--set",
        metavar="KEY=VALUE",
        help="Set any profile key, e.g. train.clip_grad=0.5 (repeatable).",
        panel=PROFILE,
    ),
]
ShowProfile = Annotated[
    bool,
    declare(
        "--show-profile", help="Print the resolved profile with the source of each value, and stop.", panel=PROFILE
    ),
]
Data = Annotated[str | None, declare("--data", metavar="PATH", help="FOLDER as an option.")]
OtherData = Annotated[
    str | None,
    declare(
        "--data",
        metavar="PATH",
        help="Pages: a data root, folder tree, CSV file, or 'samples' \\[default: those that the run was trained on].",
    ),
]
Run = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        show_default=False,
        help="Run folder, checkpoint file or s3://bucket/key \\[default: the newest finished run].",
    ),
]
DataFolder = Annotated[
    str | None,
    typer.Argument(metavar="FOLDER", help="Data root, folder tree, CSV file, or 'samples'.", show_default=False),
]
Images = Annotated[
    str | None,
    declare("--images", metavar="DIR", help="Image folder of a CSV \\[default: the folder with the CSV's name]."),
]
Split = Annotated[
    str | None,
    declare(
        "--split",
        help="train, val or test \\[default: val; test if --data names other pages].",
        complete=words("train", "val", "test"),
    ),
]
CheckpointPath = Annotated[
    str | None,
    declare(
        "--checkpoint",
        metavar="PATH",
        help="Checkpoint file, run folder or s3://bucket/key \\[default: the newest finished run].",
    ),
]
Members = Annotated[
    list[str] | None,
    declare(
        "--members",
        metavar="PATH",
        help="Member: checkpoint file, run folder or s3://bucket/key (repeatable).",
    ),
]
Fill = Annotated[
    str | None,
    declare("--fill", help="Class for unreadable pages, where the submission needs one for every page.", panel=OUTPUT),
]
Bucket = Annotated[str | None, declare("--bucket", help="Bucket \\[default: S3_BUCKET_NAME].")]
Prefix = Annotated[str | None, declare("--prefix", help="Key prefix of the stored models.")]
Seed = Annotated[int | None, declare("--seed", help="Random seed of initialisation, page order and augmentation.")]
Device = Annotated[
    str | None,
    declare("--device", help="auto, cpu, cuda, cuda:N or mps.", complete=words("auto", "cpu", "cuda", "mps")),
]
Precision = Annotated[
    str | None,
    declare(
        "--precision",
        help="auto, fp32, bf16 or fp16 (GPUs only); auto uses the number format that training checked for this model.",
        complete=words(*PRECISIONS),
        callback=_known_precision,
    ),
]
TargetPrecision = Annotated[
    float | None,
    declare(
        "--target-precision",
        help="Mark pages for review so that all other pages reach this precision, e.g. 0.99.",
        panel=REVIEW,
    ),
]
MaxUnreadable = Annotated[
    float | None,
    declare(
        "--max-unreadable",
        min=0.0,
        max=1.0,
        panel=REVIEW,
        help="Share of unreadable pages above which the exit code is 3; all files are still written "
        "\\[default: data.max_unreadable of the training profile].",
    ),
]
MinConfidence = Annotated[
    float | None,
    declare("--min-confidence", min=0.0, max=1.0, help="Mark pages below this confidence for review.", panel=REVIEW),
]
MaxLost = Annotated[
    float,
    declare(
        "--max-lost",
        help="Share of pages of known classes that may be called unknown; 0 calls no page unknown.",
        panel=REVIEW,
    ),
]
ExpectUnknown = Annotated[
    float | None,
    declare(
        "--expect-unknown",
        help="Expected share of pages of no known class, e.g. 0.1; --target-precision then holds among them.",
        panel=REVIEW,
    ),
]
CostTable = Annotated[
    Path | None,
    declare(
        "--costs",
        metavar="CSV",
        help="Decide by expected cost: a table of true class by decision and review.",
        panel=REVIEW,
    ),
]
CutPrecision = Annotated[
    float,
    declare(
        "--cut-precision",
        help="Packets: share of cuts, and of joins, made without review that is to be right.",
        panel=REVIEW,
    ),
]
PacketText = Annotated[
    str,
    declare(
        "--packet-text",
        help="Packets: text to go by: off; layer (of PDFs); ocr; auto (OCR of pages without a layer, where an engine is installed).",
        panel=REVIEW,
        complete=words("off", "layer", "ocr", "auto"),
    ),
]
Views = Annotated[
    bool,
    declare("--tta", help="Test-time augmentation: predict each page in several views and merge the probabilities."),
]
Backend = Annotated[str, declare("--backend", help="torch; or onnx or int8 (the file that `docclf export` wrote).")]
Output = Annotated[Path | None, output("Parent of run folders \\[default: runs].")]
ResultsOutput = Annotated[
    Path | None,
    output(
        "With a named run: parent folder of the results \\[default: the run folder]. Without one: folder that is "
        "searched for the newest run \\[default: runs]."
    ),
]
Name = Annotated[str | None, name("Name of the run folder.")]
Overwrite = Annotated[bool, overwrite("Replace an existing run folder of this name.")]
Json = Annotated[bool, declare("--json", help="Print only JSON on stdout.", panel=OUTPUT)]
Language = Annotated[
    str | None,
    declare(
        "--lang",
        metavar="|".join(LANGUAGES),
        help="Language of the tables \\[default: Korean where LANG is ko…, else English]. JSON and CSV are English.",
        panel=OUTPUT,
        complete=words(*LANGUAGES),
        callback=_language,
    ),
]
Quiet = Annotated[
    bool,
    declare("--quiet", "-q", callback=_quiet, help="Show only warnings and errors, no progress.", panel=OUTPUT),
]
Debug = Annotated[bool, declare("--debug", callback=_debug, help="Show tracebacks.", panel=OUTPUT)]
