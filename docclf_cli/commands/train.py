"""`docclf train`."""

import statistics
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from docclf_cli.commands import _options as option
from docclf_cli.commands._completion import groups
from docclf_cli.commands._load import load_checked
from docclf_cli.commands._resume import finished, folder_to_go_on_with, profile_to_load
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.results.training import FinishedRun, FoldRow, SchedulePreview, TrainResult

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
ImageSize = Annotated[int | None, option.declare("--image-size", help="Side of the model input in pixels.")]
Folds = Annotated[int | None, option.declare("--folds", help="Train this many cross-validation folds.")]
Fold = Annotated[int | None, option.declare("--fold", help="Train one fold, counted from 0.")]
Resume = Annotated[
    str | None,
    option.declare(
        "--resume",
        metavar="RUN|auto",
        help="Resume a run that was stopped or killed. auto resumes the run of --name, or else the newest unfinished run "
        "with the same profile; if there is none, it starts a new run.",
    ),
]
AllowChanges = Annotated[
    bool, option.declare("--allow-changes", help="Resume although the profile, the code or the pages have changed.")
]
ShowSchedule = Annotated[
    bool, option.declare("--show-schedule", help="Show the learning rate over the run, and stop.", panel=option.PROFILE)
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
    """Train a classifier on labelled pages, and score it on held-out pages."""
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
    with progress_display(quiet) as show, StopFlag().installed() as stop, tracked(loaded.profile, show) as emit:
        result = train(
            loaded.profile, resume=folder, allow_changes=allow_changes, overwrite=overwrite, emit=emit, stop=stop
        )
        emit.finished(result)
    result = push_finished(result, loaded.profile.s3, quiet)
    return report.show(result, as_json=as_json)


@report.render.register
def tables(result: TrainResult) -> Iterator[RenderableType]:
    """Classes and metrics on held-out pages, folds, a summary and the files."""
    yield report.class_table(result.val.classes, "Held-out pages by class (accuracy is recall)")
    yield report.scores_table(result.val, "Held-out pages")
    yield from (f"[dim]{escape(note)}[/]" for note in result.notes)
    if result.folds:
        yield _folds_table(result.folds)
    yield _train_summary(result)
    yield report.files_table(result.files)


@report.render.register
def nothing_to_do(result: FinishedRun) -> Iterator[RenderableType]:
    """Says that the run is finished."""
    yield f"{escape(str(result.run))} finished at {result.time}. There is nothing left to do."
    yield "To train longer, add --allow-changes, for example with more --epochs."


@report.render.register
def schedule_chart(result: SchedulePreview) -> Iterator[RenderableType]:
    """The learning rate of the run as a chart in characters."""
    yield Text(
        f"{result.scheduler}, stepped per {result.unit}: {len(result.rates)} values, "
        f"{result.steps_per_epoch} optimizer steps per epoch, {min(result.rates):.2e} … {max(result.rates):.2e}"
    )
    yield Text(_chart(result.rates))
    yield report.files_table([result.plot])


def _chart(values: tuple[float, ...], width: int = 64, height: int = 8) -> str:
    """A small chart in characters: one column for each of `width` places along `values`."""
    places = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    top = max(values) or 1.0
    filled = [round(value / top * height * 8) for value in places]
    rows = []
    for row in range(height - 1, -1, -1):
        rows.append("".join(" ▁▂▃▄▅▆▇█"[min(8, max(0, level - row * 8))] for level in filled).rstrip())
    return "\n".join(rows)


def _train_summary(result: TrainResult) -> RenderableType:
    table = report.plain_table("Run")
    table.add_row("run", escape(str(result.run)))
    table.add_row("model", escape(result.model))
    if result.best_epoch:
        table.add_row("best epoch", f"{result.best_epoch} of {result.epochs}, chosen by {result.monitor}")
    if result.train is not None:
        gap = result.train.figures["f1_macro"].value - result.val.figures["f1_macro"].value
        table.add_row("macro-F1 on training pages", f"{result.train.figures['f1_macro'].value:.4f} (gap {gap:+.4f})")
    if result.f1_macro_degraded is not None:
        gap = result.val.figures["f1_macro"].value - result.f1_macro_degraded
        table.add_row("macro-F1 on degraded pages", f"{result.f1_macro_degraded:.4f} (gap {gap:+.4f})")
    table.add_row("temperature", f"{result.temperature:.3f}")
    table.add_row("number format for predicting", result.precision)
    if result.pushed is not None:
        table.add_row("stored in S3", escape(result.pushed))
    return table


def _folds_table(folds: tuple[FoldRow, ...]) -> RenderableType:
    names = ("accuracy", "f1_macro", "val_loss")
    table = Table(title="Folds", title_justify="left")
    for head in ("fold", "best epoch", *(report.NAMES.get(name, "log loss") for name in names)):
        table.add_column(head, justify="right", no_wrap=True)
    for fold in folds:
        table.add_row(str(fold.fold), str(fold.best_epoch), *(f"{fold.figures[name]:.4f}" for name in names))
    if len(folds) > 1:
        columns = [[fold.figures[name] for fold in folds] for name in names]
        means = (f"{statistics.mean(column):.4f} ± {statistics.stdev(column):.4f}" for column in columns)
        table.add_section()
        table.add_row("mean ± sd", "", *means)
    return table
