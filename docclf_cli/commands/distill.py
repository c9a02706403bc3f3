"""`docclf distill`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands import train as ordinary
from docclf_cli.commands._arguments import argument_or_option
from docclf_cli.commands._load import load_recipe
from docclf_cli.commands._resume import finished, folder_to_go_on_with, profile_to_load
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.errors import InputError

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf distill --teacher runs/folds --model tf_efficientnet_lite0\n\n"
    "docclf distill --teacher runs/large --teacher runs/other --model resnet18 --name small\n\n"
    "docclf distill --resume runs/small"
)

Teacher = Annotated[
    list[str] | None,
    option.declare(
        "--teacher", metavar="RUN", help="Run or checkpoint to learn from (repeatable); folds count as one."
    ),
]
Weight = Annotated[
    float | None, option.declare("--weight", help="Share of the teachers in the loss; the rest is that of the labels.")
]


Unlabelled = Annotated[
    Path | None,
    option.declare(
        "--unlabelled",
        metavar="DIR",
        help="Folder of images without labels to learn from as well; the teachers label them.",
    ),
]


def run(
    context: typer.Context,
    folder: option.DataFolder = None,
    teacher: Teacher = None,
    model: ordinary.Model = None,
    weight: Weight = None,
    unlabelled: Unlabelled = None,
    profile: option.ProfileName = "auto",
    data: option.Data = None,
    augmentation: ordinary.Augmentation = None,
    epochs: ordinary.Epochs = None,
    minutes: ordinary.Minutes = None,
    batch_size: ordinary.BatchSize = None,
    lr: ordinary.Lr = None,
    image_size: ordinary.ImageSize = None,
    seed: option.Seed = None,
    device: option.Device = None,
    folds: ordinary.Folds = None,
    resume: ordinary.Resume = None,
    allow_changes: ordinary.AllowChanges = False,
    output: option.Output = None,
    name: option.Name = None,
    overwrite: option.Overwrite = False,
    sets: option.Sets = None,
    as_json: option.Json = False,
    lang: option.Language = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Train one small model on the probabilities of others, and say what it lost and gained."""
    if not teacher and resume is None:
        raise InputError("no teacher is named", "name a run to learn from: --teacher runs/mine")
    from docclf_cli.tasks.distill import data_of_teacher, distill, labels_of

    root = argument_or_option(folder, data, "--data")
    options: dict[str, Any] = {
        **(data_of_teacher(Path(teacher[0])) if teacher and root is None else {"data.root": root}),
        "model": model, "augmentation": augmentation, "train.epochs": epochs, "train.minutes": minutes,
        "train.batch_size": batch_size, "optimizer.lr": lr, "data.image_size": image_size, "seed": seed,
        "runtime.device": device, "train.folds": folds, "train.distill.teachers": teacher, "train.distill.weight": weight,
        "output": None if output is None else str(output), "name": name,
    }  # fmt: skip
    source = context.get_parameter_source("profile")
    chosen = source is not None and source.name != "DEFAULT"
    start = profile_to_load(resume, profile, chosen, Path(output or "runs") / (name or ""))
    loaded, recipe = load_recipe(start, options, sets)
    if unlabelled is not None and (name is None or resume is not None):
        raise InputError(
            "--unlabelled starts a new run, whose name its table of labels gets", "add --name, without --resume"
        )
    from docclf_cli.display.training_plan import PlanDisplay
    from docclf_cli.stop import StopFlag

    going_on = folder_to_go_on_with(resume, loaded.profile, name, overwrite)
    done = going_on is not None and not allow_changes and finished(going_on) is not None
    with progress_display(quiet) as show, StopFlag(saves=True).installed() as stop:
        plan = PlanDisplay(show, quiet=quiet)
        if unlabelled is not None:
            table = labels_of(unlabelled, loaded.profile, show, stop)
            loaded, recipe = load_recipe(start, {**options, "data.add": [str(table)]}, sets)
        result = distill(
            loaded.profile, resume=going_on, finished=done, allow_changes=allow_changes, overwrite=overwrite, recipe=recipe,
            announce=plan.announce, emit=plan, stop=stop,
        )  # fmt: skip
    report.show(result, as_json=as_json)
