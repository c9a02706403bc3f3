"""`docclf train`."""

from typing import Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._load import load_checked
from docclf_cli.commands._progress import progress_display

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf train --data samples --profile quickstart\n\n"
    "docclf train --data my/pages --model convnext_small --scheduler warmup_cosine\n\n"
    "docclf train --data my/pages --folds 5 --set train.ema=0.999"
)


def run(
    profile: option.ProfileName = "config",
    data: option.Data = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model group or timm model name.", rich_help_panel=option.USUAL)
    ] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option("--pretrained/--no-pretrained", help="Start from ImageNet weights.", rich_help_panel=option.USUAL),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Learning-rate schedule.", rich_help_panel=option.USUAL)
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option("--optimizer", help="adam, adamw or sgd.", rich_help_panel=option.USUAL)
    ] = None,
    loss: Annotated[
        str | None, typer.Option("--loss", help="cross_entropy or focal.", rich_help_panel=option.USUAL)
    ] = None,
    augmentation: Annotated[
        str | None, typer.Option("--augmentation", help="none, light, document or rough.", rich_help_panel=option.USUAL)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the training pages.", rich_help_panel=option.USUAL)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Pages per step.", rich_help_panel=option.USUAL)
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Peak learning rate.", rich_help_panel=option.USUAL)] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Side of the model input.", rich_help_panel=option.USUAL)
    ] = None,
    seed: option.Seed = None,
    device: option.Device = None,
    folds: Annotated[
        int | None,
        typer.Option("--folds", help="Train this many cross-validation folds.", rich_help_panel=option.USUAL),
    ] = None,
    fold: Annotated[
        int | None, typer.Option("--fold", help="Train one fold, counted from 0.", rich_help_panel=option.USUAL)
    ] = None,
    output: option.Output = None,
    name: option.Name = None,
    overwrite: option.Overwrite = False,
    sets: option.Sets = None,
    show_profile: option.ShowProfile = False,
    show_schedule: Annotated[
        bool,
        typer.Option(
            "--show-schedule", help="Draw the learning rate of the run, and stop.", rich_help_panel=option.PROFILE
        ),
    ] = False,
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
