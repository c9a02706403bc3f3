"""`docclf train`."""

from typing import Annotated

from docclf_cli.commands import _options as option
from docclf_cli.commands._load import load_checked
from docclf_cli.commands._progress import progress_display

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf train --data samples --profile quickstart\n\n"
    "docclf train --data my/pages --model convnext_small --scheduler warmup_cosine\n\n"
    "docclf train --data my/pages --folds 5 --set train.ema=0.999"
)

Model = Annotated[str | None, option.declare("--model", "-m", help="Model group or timm model name.")]
Pretrained = Annotated[bool | None, option.declare("--pretrained/--no-pretrained", help="Start from ImageNet weights.")]
Scheduler = Annotated[str | None, option.declare("--scheduler", help="Learning-rate schedule.")]
Optimizer = Annotated[str | None, option.declare("--optimizer", help="adam, adamw or sgd.")]
Loss = Annotated[str | None, option.declare("--loss", help="cross_entropy or focal.")]
Augmentation = Annotated[str | None, option.declare("--augmentation", help="none, light, document or rough.")]
Epochs = Annotated[int | None, option.declare("--epochs", help="Passes over the training pages.")]
BatchSize = Annotated[int | None, option.declare("--batch-size", help="Pages per step.")]
Lr = Annotated[float | None, option.declare("--lr", help="Peak learning rate.")]
ImageSize = Annotated[int | None, option.declare("--image-size", help="Side of the model input.")]
Folds = Annotated[int | None, option.declare("--folds", help="Train this many cross-validation folds.")]
Fold = Annotated[int | None, option.declare("--fold", help="Train one fold, counted from 0.")]
ShowSchedule = Annotated[
    bool, option.declare("--show-schedule", help="Draw the learning rate of the run, and stop.", panel=option.PROFILE)
]


def run(
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
    from docclf_cli import report

    options = {
        "data.root": data, "model": model, "model.pretrained": pretrained, "scheduler": scheduler, "optimizer": optimizer,
        "loss": loss, "augmentation": augmentation, "train.epochs": epochs, "train.batch_size": batch_size, "optimizer.lr": lr,
        "data.image_size": image_size, "seed": seed, "runtime.device": device, "train.folds": folds, "train.fold": fold,
        "output": None if output is None else str(output), "name": name,
    }  # fmt: skip
    loaded = load_checked(profile, options, sets)
    if show_profile:
        return report.show_profile(loaded, as_json=as_json)
    if show_schedule:
        from docclf_cli.engine.preview import schedule_preview

        return report.show(schedule_preview(loaded.profile), as_json=as_json)
    from docclf_cli.engine.runtime import StopFlag
    from docclf_cli.engine.train import train

    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = train(loaded.profile, overwrite=overwrite, emit=emit, stop=stop)
    return report.show(result, as_json=as_json)
