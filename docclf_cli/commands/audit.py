"""`docclf audit`."""

from pathlib import Path
from typing import Annotated

from docclf_cli.commands import _options as option
from docclf_cli.commands._arguments import argument_or_option
from docclf_cli.commands._load import load_checked
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf audit my/pages\n\n"
    "docclf audit --run runs/folds --name check   # also checks labels; `docclf train --folds 5` makes such a run\n\n"
    "docclf train my/pages --set data.groups=runs/check/groups.csv --set data.relabel=runs/check/relabel.csv"
)

Profile = Annotated[
    str | None,
    option.declare(
        "--profile", "-p", help="Profile to start from \\[default: the run's, else config].", panel=option.PROFILE
    ),
]
Run = Annotated[
    Path | None, option.declare("--run", help="Folds run; its out-of-fold predictions are used to check the labels.")
]
Similarity = Annotated[
    float, option.declare("--similarity", help="Pages at least this similar are near duplicates; 1 means identical.")
]
Output = Annotated[Path | None, option.output("Parent of the new folder \\[default: runs].")]
Name = Annotated[str | None, option.name("Name of the new folder \\[default: audit-TIME].")]
Overwrite = Annotated[bool, option.overwrite("Replace an earlier audit of this name.")]


def run(
    folder: option.DataFolder = None,
    profile: Profile = None,
    data: option.Data = None,
    run: Run = None,
    similarity: Similarity = 0.75,
    output: Output = None,
    name: Name = None,
    overwrite: Overwrite = False,
    sets: option.Sets = None,
    as_json: option.Json = False,
    lang: option.Language = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Find near duplicates, label issues and outliers. groups.csv and relabel.csv fix them without editing the data."""
    from docclf_cli.errors import InputError

    if not 0 < similarity <= 1:
        raise InputError(f"--similarity: {similarity:g} is not between 0 and 1")
    if run is not None and not (run / "profile.yaml").is_file():
        raise InputError(f"--run: {run} is not a run folder", "name one that `docclf train --folds 5` made")
    start = profile or (str(run / "profile.yaml") if run is not None else "config")
    loaded = load_checked(start, {"data.root": argument_or_option(folder, data, "--data")}, sets)
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.audit.audit import audit

    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = audit(
            loaded.profile, run=run, output=output or Path("runs"), name=name, overwrite=overwrite,
            similarity=similarity, emit=emit, stop=stop,
        )  # fmt: skip
    report.show(result, as_json=as_json)
