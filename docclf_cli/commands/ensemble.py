"""`docclf ensemble`."""

import logging
from typing import Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._checkpoint import with_members
from docclf_cli.commands._completion import words
from docclf_cli.commands._load import given_data, load_checked
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.errors import InputError

logger = logging.getLogger("docclf")
EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf ensemble runs/a runs/b --method all\n\n"
    "docclf ensemble --profile ensemble --method weighted --set ensemble.weights=auto\n\n"
    "docclf ensemble runs/folds --data other/pages --set ensemble.tta.enabled=true"
)

Method = Annotated[
    str | None,
    option.declare(
        "--method",
        help="voting, averaging, weighted, greedy, stacking, or all of them.",
        complete=words("voting", "averaging", "weighted", "greedy", "stacking", "all"),
    ),
]
TargetSplit = Annotated[
    str | None,
    option.declare(
        "--split",
        help="Pages to predict: test or val (held out) \\[default: test where there is one].",
        complete=words("test", "val"),
    ),
]
UNREADABLE_HINT = "all files are written, and the table of probabilities gives the reasons; --set data.max_unreadable=1 accepts any number"


def run(
    trained: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN", help="Members: run folders, checkpoint files or s3://bucket/key.", show_default=False
        ),
    ] = None,
    method: Method = None,
    members: option.Members = None,
    profile: option.ProfileName = "ensemble",
    data: option.OtherData = None,
    split: TargetSplit = None,
    device: option.Device = None,
    precision: option.Precision = None,
    fill: option.Fill = None,
    output: option.Output = None,
    name: option.Name = None,
    overwrite: option.Overwrite = False,
    sets: option.Sets = None,
    show_profile: option.ShowProfile = False,
    as_json: option.Json = False,
    lang: option.Language = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Combine trained models, and test whether the ensemble is better than its best member."""
    if trained and members and trained != members:
        raise InputError(f"{' '.join(trained)} and --members are both given, and they differ", "leave one of them out")
    options = {
        "ensemble.method": method, "data.root": data, "runtime.device": device,
        "runtime.inference.precision": precision,
        "output": None if output is None else str(output), "name": name,
    }  # fmt: skip
    loaded = load_checked(profile, options, sets)
    if show_profile:
        return report.show_profile(loaded, as_json=as_json)
    if any(key == "ensemble.enabled" and source.rank for key, source in loaded.sources.items()):
        logger.info("ensemble.enabled has no effect: `docclf ensemble` always combines the members")
    resolved = with_members(loaded.profile, trained or members or [], quiet)
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.ensemble.ensemble import ensemble
    from docclf_cli.tasks.unreadable import require_readable

    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = ensemble(
            resolved, data=given_data(loaded), split=split, fill=fill, overwrite=overwrite, emit=emit, stop=stop
        )
    report.show(result, as_json=as_json)
    if result.split == "test":  # held-out pages are a part of those that training has counted
        require_readable(result.unreadable, result.pages, result.max_unreadable, UNREADABLE_HINT)
    return None
