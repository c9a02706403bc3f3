"""`docclf tta`."""

from typing import Annotated

from docclf_cli.commands import _options as option
from docclf_cli.commands._arguments import argument_or_option
from docclf_cli.commands._checkpoint import checkpoint_or_newest
from docclf_cli.commands._completion import words
from docclf_cli.commands._load import given_data, load_checked
from docclf_cli.commands.ensemble import UNREADABLE_HINT, TargetSplit
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf tta runs/mine\n\n"
    "docclf tta runs/mine --prune --json\n\n"
    "docclf tta runs/mine --set 'ensemble.tta.augmentations=[{type: rotation, degrees: [90, 180, 270]}]'"
)

Prune = Annotated[
    bool, option.declare("--prune", help="Drop the views that hurt on held-out pages; test pages only report.")
]
Merge = Annotated[
    str | None,
    option.declare(
        "--merge", help="mean, gmean or max of the views' probabilities.", complete=words("mean", "gmean", "max")
    ),
]


def run(
    trained: option.Run = None,
    checkpoint: option.CheckpointPath = None,
    prune: Prune = False,
    merge: Merge = None,
    profile: option.ProfileName = "ensemble",
    data: option.OtherData = None,
    split: TargetSplit = None,
    device: option.Device = None,
    precision: option.Precision = None,
    fill: option.Fill = None,
    output: option.ResultsOutput = None,
    sets: option.Sets = None,
    show_profile: option.ShowProfile = False,
    as_json: option.Json = False,
    lang: option.Language = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Test-time augmentation: predict each page in several views and score each view."""
    checkpoint = argument_or_option(trained, checkpoint, "--checkpoint")
    options = {
        "ensemble.tta.merge": merge,
        "data.root": data,
        "runtime.device": device,
        "runtime.inference.precision": precision,
    }
    loaded = load_checked(profile, options, sets)
    if show_profile:
        return report.show_profile(loaded, as_json=as_json)
    path = checkpoint_or_newest(checkpoint, output, quiet)
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.tta import tta
    from docclf_cli.tasks.unreadable import require_readable

    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = tta(
            path,
            loaded.profile,
            data=given_data(loaded),
            split=split,
            prune_views=prune,
            fill=fill,
            output=None if checkpoint is None else output,
            emit=emit,
            stop=stop,
        )
    report.show(result, as_json=as_json)
    if result.split == "test":  # held-out pages are a part of those that training has counted
        require_readable(result.unreadable, result.pages, result.max_unreadable, UNREADABLE_HINT)
    return None
