"""`docclf runs`."""

from pathlib import Path
from typing import Annotated

from docclf_cli.commands import _options as option
from docclf_cli.commands._completion import words
from docclf_cli.display import show as report

EXAMPLES = "[bold]Examples[/]\n\ndocclf runs\n\ndocclf runs --sort f1\n\ndocclf runs --output elsewhere/runs --json"
ORDERS = ("date", "f1", "degraded", "minutes", "name", "data", "model", "state")

Sort = Annotated[
    str, option.declare("--sort", help=f"{', '.join(ORDERS[:-1])} or {ORDERS[-1]}.", complete=words(*ORDERS))
]
Output = Annotated[Path, option.output("Parent of run folders.")]


def run(
    sort: Sort = "date",
    output: Output = Path("runs"),
    lang: option.Language = None,
    as_json: option.Json = False,
    debug: option.Debug = False,
) -> None:
    """List runs: data, model, macro-F1 with its interval, time and state."""
    from docclf_cli.tasks.runs import list_runs

    report.show(list_runs(output, sort), as_json=as_json)
