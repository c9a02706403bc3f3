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
    """An option of a single command, under a heading of the help text; `facts` are arguments of `typer.Option`."""
    return typer.Option(*names, help=help, rich_help_panel=panel, autocompletion=complete, **facts)


ProfileName = Annotated[
    str,
    typer.Option(
        "--profile",
        "-p",
        metavar="NAME|PATH",
        help="Profile to start from.",
        rich_help_panel=PROFILE,
        autocompletion=groups(""),
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set any profile key, e.g. train.clip_grad=0.5 (repeatable).",
        rich_help_panel=PROFILE,
    ),
]
ShowProfile = Annotated[
    bool,
    typer.Option(
        "--show-profile",
        help="Print the resolved profile with the source of each value, and stop.",
        rich_help_panel=PROFILE,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="The same as an option: data root, folder tree, CSV file, or 'samples'.",
        rich_help_panel=COMMON,
    ),
]
Run = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN", show_default=False,
        help="Run folder, checkpoint file or s3://bucket/key \\[default: the newest finished run].",
    ),
]  # fmt: skip
DataFolder = Annotated[
    str | None,
    typer.Argument(metavar="FOLDER", help="Data root, folder tree, CSV file, or 'samples'.", show_default=False),
]
Images = Annotated[
    str | None,
    typer.Option(
        "--images",
        metavar="DIR",
        help="Image folder of a CSV \\[default: the folder with the CSV's name].",
        rich_help_panel=COMMON,
    ),
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
    typer.Option(
        "--checkpoint",
        metavar="PATH",
        help="Checkpoint file, run folder or s3://bucket/key \\[default: the newest finished run].",
        rich_help_panel=COMMON,
    ),
]
Members = Annotated[
    list[str] | None,
    typer.Option(
        "--members",
        metavar="PATH",
        help="Member: checkpoint file, run folder or s3://bucket/key (repeatable).",
        rich_help_panel=COMMON,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Random seed of initialisation, page order and augmentation.", rich_help_panel=COMMON),
]
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
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Parent of run folders \\[default: runs].", rich_help_panel=OUTPUT
    ),
]
ResultsOutput = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", rich_help_panel=OUTPUT,
        help="With a named run: parent folder of the results \\[default: the run folder]. Without one: folder that is "
        "searched for the newest run \\[default: runs].",
    ),
]  # fmt: skip
Name = Annotated[str | None, typer.Option("--name", "-n", help="Name of the run folder.", rich_help_panel=OUTPUT)]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing run folder of this name.", rich_help_panel=OUTPUT)
]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON on stdout.", rich_help_panel=OUTPUT)]
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
    typer.Option(
        "--quiet", "-q", callback=_quiet, help="Show only warnings and errors, no progress.", rich_help_panel=OUTPUT
    ),
]
Debug = Annotated[bool, typer.Option("--debug", callback=_debug, help="Show tracebacks.", rich_help_panel=OUTPUT)]
