"""`docclf drift`."""

from pathlib import Path
from typing import Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.display import show as report

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf drift runs/mine predictions/\n\n"
    "docclf drift runs/mine january/ february/ march/   # the last is tested, the others are earlier pages\n\n"
    "docclf drift runs/mine today.csv --alpha 0.001 --json || mail-someone   # exit code 9: the pages have changed"
)

Trained = Annotated[
    Path, typer.Argument(metavar="RUN", help="The run folder or checkpoint that predicted.", show_default=False)
]
Predicted = Annotated[
    list[Path],
    typer.Argument(
        metavar="PREDICTIONS...",
        help="Output of `docclf predict`: a folder or a table. The last one is tested; those before it are earlier pages.",
        show_default=False,
    ),
]
Alpha = Annotated[float, option.declare("--alpha", help="False-alarm rate of the call, over all its tests together.")]


def run(
    trained: Trained,
    predictions: Predicted,
    alpha: Alpha = 0.05,
    output: option.ResultsOutput = None,
    lang: option.Language = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Find out whether new pages differ from held-out pages and from earlier ones; exit code 9 if they do."""
    from docclf_cli.errors import DriftError
    from docclf_cli.tasks.drift import drift

    result = drift(trained, predictions, alpha=alpha, output=output)
    report.show(result, as_json=as_json)
    if found := [f"{test.subject} (against {test.against})" for test in result.tests if test.changed]:
        raise DriftError(
            f"{predictions[-1]}: the pages have changed: {', '.join(found)}",
            "look at some of them; label pages of the new kind and train again, if predictions are wrong",
        )
