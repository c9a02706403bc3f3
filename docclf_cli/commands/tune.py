"""`docclf tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from docclf_cli.commands import _options as option
from docclf_cli.commands._arguments import argument_or_option
from docclf_cli.commands._load import load_recipe
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.errors import InputError

if TYPE_CHECKING:
    from docclf_cli.profile.schema import Profile
    from docclf_cli.tasks.recipe import Recipe

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf tune my/pages --trials 20\n\n"
    "docclf tune my/pages --profile laptop --minutes 120\n\n"
    "docclf tune my/pages --profile laptop --space mine.yaml --trials 40 --name second"
)

Trials = Annotated[
    int | None,
    option.declare("--trials", help="Trials of the search, those of earlier calls and other processes included."),
]
Minutes = Annotated[float | None, option.declare("--minutes", help="Wall time; a trial that has begun is finished.")]
Space = Annotated[
    str,
    option.declare(
        "--space", metavar="NAME|PATH", help="Search space: a YAML file with the keys to vary and their ranges."
    ),
]
Apart = Annotated[
    float, option.declare("--apart", help="Share of the training pages that no trial sees, to show the gain on.")
]


def run(
    folder: option.DataFolder = None,
    profile: option.ProfileName = "auto",
    data: option.Data = None,
    trials: Trials = None,
    minutes: Minutes = None,
    space: Space = "default",
    apart: Apart = 0.2,
    seed: option.Seed = None,
    device: option.Device = None,
    output: Annotated[Path, option.output("Parent of the folders of searches.")] = Path("tune"),
    name: Annotated[
        str | None, option.name("Name of the folder of the search \\[default: that of the profile and the data].")
    ] = None,
    sets: option.Sets = None,
    as_json: option.Json = False,
    lang: option.Language = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Search for better settings than those of a profile; the same command resumes a search."""
    options: dict[str, Any] = {
        "data.root": argument_or_option(folder, data, "--data"), "seed": seed, "runtime.device": device
    }  # fmt: skip
    loaded, recipe = load_recipe(profile, options, sets)
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.tune.tune import TuneOptions, tune

    wanted = TuneOptions(trials, minutes, space, apart, output, name or _own_name(recipe, loaded.profile))
    with progress_display(quiet) as show, StopFlag(saves=True).installed() as stop:
        result = tune(loaded.profile, wanted, name=recipe.profile, emit=show, stop=stop)
    report.show(result, as_json=as_json)


def _own_name(recipe: "Recipe", profile: "Profile") -> str:
    """The folder of a search that is given no name: that of the profile and the data."""
    parts = (Path(recipe.profile).stem, Path(profile.data.root).absolute().name.split(".")[0])
    name = "-".join("".join(char if char.isalnum() or char in "._-" else "_" for char in part) for part in parts)
    if not name.strip(".-_"):
        raise InputError("the folder of the search has no name", "give one: --name first")
    return name
