"""`docclf train`."""

from typing import Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._completion import groups
from docclf_cli.commands._load import load_checked
from docclf_cli.commands._resume import finished, folder_to_go_on_with, profile_to_load
from docclf_cli.display import show as report
from docclf_cli.display import train as _train_tables  # noqa: F401  (registers the tables)
from docclf_cli.display.progress import progress_display

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf train --data samples --profile quickstart\n\n"
    "docclf train --data my/pages --model convnext_small --scheduler warmup_cosine\n\n"
    "docclf train --data my/pages --folds 5 --set train.ema=0.999\n\n"
    "docclf train --resume runs/mine"
)

Model = Annotated[
    str | None, option.declare("--model", "-m", help="Model group or timm model name.", complete=groups("model"))
]
Pretrained = Annotated[bool | None, option.declare("--pretrained/--no-pretrained", help="Start from ImageNet weights.")]
Scheduler = Annotated[
    str | None, option.declare("--scheduler", help="Learning-rate schedule.", complete=groups("scheduler"))
]
Optimizer = Annotated[
    str | None, option.declare("--optimizer", help="adam, adamw or sgd.", complete=groups("optimizer"))
]
Loss = Annotated[str | None, option.declare("--loss", help="cross_entropy or focal.", complete=groups("loss"))]
Augmentation = Annotated[
    str | None,
    option.declare("--augmentation", help="none, light, document or rough.", complete=groups("augmentation")),
]
Epochs = Annotated[int | None, option.declare("--epochs", help="Passes over the training pages.")]
BatchSize = Annotated[int | None, option.declare("--batch-size", help="Pages per step.")]
Lr = Annotated[float | None, option.declare("--lr", help="Peak learning rate.")]
ImageSize = Annotated[int | None, option.declare("--image-size", help="Side of the model input.")]
Folds = Annotated[int | None, option.declare("--folds", help="Train this many cross-validation folds.")]
Fold = Annotated[int | None, option.declare("--fold", help="Train one fold, counted from 0.")]
Resume = Annotated[
    str | None,
    option.declare(
        "--resume",
        metavar="RUN|auto",
        help="Go on with a run that was stopped or killed; auto starts or continues: the run of --name, else the newest "
        "unfinished one with the same profile.",
    ),
]
AllowChanges = Annotated[
    bool, option.declare("--allow-changes", help="Go on although profile, code or pages have changed.")
]
ShowSchedule = Annotated[
    bool, option.declare("--show-schedule", help="Draw the learning rate of the run, and stop.", panel=option.PROFILE)
]


def run(
    context: typer.Context,
    profile: option.ProfileName = "config",
    data: option.Data = None,
    model: Model = None,
    pretrained: Pretrained = None,
    scheduler: Scheduler = None,
    optimizer: Optimizer = None,
    loss: Loss = None,
    augmentation: Augmentation = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Lr = None,
    image_size: ImageSize = None,
    seed: option.Seed = None,
    device: option.Device = None,
    folds: Folds = None,
    fold: Fold = None,
    resume: Resume = None,
    allow_changes: AllowChanges = False,
    output: option.Output = None,
    name: option.Name = None,
    overwrite: option.Overwrite = False,
    sets: option.Sets = None,
    show_profile: option.ShowProfile = False,
    show_schedule: ShowSchedule = False,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Train a classifier on labelled pages, and measure it on pages it has not seen."""
    options = {
        "data.root": data, "model": model, "model.pretrained": pretrained, "scheduler": scheduler, "optimizer": optimizer,
        "loss": loss, "augmentation": augmentation, "train.epochs": epochs, "train.batch_size": batch_size, "optimizer.lr": lr,
        "data.image_size": image_size, "seed": seed, "runtime.device": device, "train.folds": folds, "train.fold": fold,
        "output": None if output is None else str(output), "name": name,
    }  # fmt: skip
    source = context.get_parameter_source("profile")
    chosen = source is not None and source.name != "DEFAULT"
    loaded = load_checked(profile_to_load(resume, profile, chosen), options, sets)
    if show_profile:
        return report.show_profile(loaded, as_json=as_json)
    if show_schedule:
        from docclf_cli.tasks.dry_run import schedule_preview

        return report.show(schedule_preview(loaded.profile), as_json=as_json)
    from docclf_cli.commands._push import push_finished
    from docclf_cli.commands._tracking import tracked
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.train import train

    folder = folder_to_go_on_with(resume, loaded.profile, name, overwrite)
    if folder is not None and not allow_changes and (done := finished(folder)) is not None:
        return report.show(done, as_json=as_json)
    with (
        progress_display(quiet) as show,
        StopFlag(saves=True).installed() as stop,
        tracked(loaded.profile, show) as emit,
    ):
        result = train(
            loaded.profile, resume=folder, allow_changes=allow_changes, overwrite=overwrite, emit=emit, stop=stop
        )
        emit.finished(result)
    result = push_finished(result, loaded.profile.s3, quiet)
    return report.show(result, as_json=as_json)
