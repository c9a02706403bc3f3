"""`docclf weights list` and `docclf weights pack`."""

from pathlib import Path
from typing import Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._arguments import Command, Group
from docclf_cli.display import show as report

EXAMPLES = (
    "[bold]Examples[/]\n\ndocclf weights list\n\ndocclf weights pack resnet50\n\n"
    "docclf weights pack convnext_tiny weights.safetensors --to wheels\n\n"
    "[bold]More[/]: docs/training.md"
)
HELP = "List the pretrained weights on this machine, or pack some for a machine without a network."

app = typer.Typer(cls=Group, help=HELP, no_args_is_help=True, rich_markup_mode="rich")
Architecture = Annotated[str, typer.Argument(metavar="NAME", help="timm model name, such as resnet50.")]
Weights = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        help="Weights file (.safetensors, .pth) \\[default: what this machine can reach: a package, the hub's cache, the hub].",
    ),
]
To = Annotated[Path, option.declare("--to", "--output", "-o", help="Folder of the wheel.", panel=option.OUTPUT)]


@app.command("list", cls=Command, epilog=EXAMPLES)
def list_(
    lang: option.Language = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """List pretrained weights in packages, in the hub's cache, and in files that torch has downloaded."""
    from docclf_cli.tasks.weights import list_weights

    report.show(list_weights(), as_json=as_json)


@app.command("pack", cls=Command, epilog=EXAMPLES)
def pack(
    name: Architecture,
    file: Weights = None,
    to: To = Path(),
    lang: option.Language = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Write a wheel with the weights of a model; where it is installed, docclf needs no network for them."""
    from docclf_cli.tasks.weights import pack_weights

    report.show(pack_weights(name, file, to), as_json=as_json)
