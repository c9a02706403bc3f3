"""`docclf train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._arguments import argument_or_option
from docclf_cli.commands._completion import groups
from docclf_cli.commands._load import load_recipe
from docclf_cli.commands._resume import finished, folder_to_go_on_with, profile_to_load, start_from
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.engine.runtime.distributed import on_main
from docclf_cli.errors import InputError

if TYPE_CHECKING:
    from docclf_cli.profile.load import LoadedProfile
    from docclf_cli.profile.schema import Profile
    from docclf_cli.tasks.recipe import Recipe

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf train my/pages\n\n"
    "docclf train my/pages --dry-run\n\n"
    "docclf train my/pages --minutes 15\n\n"
    "docclf train my/pages --profile instant\n\n"
    "docclf train samples --profile quickstart\n\n"
    "docclf train my/pages --model convnext_small --scheduler warmup_cosine\n\n"
    "docclf train my/documents --packets\n\n"
    "docclf train my/pages --folds 5 --set train.ema=0.999\n\n"
    "docclf train --from runs/mine --add scans-review/review_labels.csv\n\n"
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
Minutes = Annotated[
    float | None,
    option.declare(
        "--minutes", help="Wall time of the whole run: recipe, image size and epochs are fitted to it on this machine."
    ),
]
BatchSize = Annotated[int | None, option.declare("--batch-size", help="Pages per step.")]
Lr = Annotated[float | None, option.declare("--lr", help="Peak learning rate.")]
ImageSize = Annotated[int | None, option.declare("--image-size", help="Side of the model input in pixels.")]
Text = Annotated[
    str | None,
    option.declare(
        "--text",
        metavar="auto|layer|ocr|off",
        help="Also read pages: layer uses the text of PDF files, ocr also reads pages without; auto uses layers, and OCR where "
        "a trial shows that it pays.",
    ),
]
Folds = Annotated[int | None, option.declare("--folds", help="Train this many cross-validation folds.")]
Fold = Annotated[int | None, option.declare("--fold", help="Train one fold, counted from 0.")]
Packets = Annotated[
    bool | None,
    option.declare(
        "--packets/--no-packets",
        help="Also learn to split packets (docclf split-packets), from documents of several pages.",
    ),
]
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
Add = Annotated[
    list[Path] | None,
    option.declare(
        "--add",
        metavar="FILE",
        help="Also train on the labels of a review_labels.csv that `docclf review` wrote (repeatable); a fifth of its pages "
        "is held out to see whether they helped.",
    ),
]
FromRun = Annotated[
    Path | None,
    option.declare(
        "--from",
        metavar="RUN",
        help="Start from the weights, settings and split of a run, and compare the new one with it.",
    ),
]
DryRun = Annotated[
    bool,
    option.declare(
        "--dry-run", help="Say what the run would do and how long it would take, and stop.", panel=option.PROFILE
    ),
]
ShowSchedule = Annotated[
    bool, option.declare("--show-schedule", help="Show the learning rate over the run, and stop.", panel=option.PROFILE)
]


def run(
    context: typer.Context,
    folder: option.DataFolder = None,
    profile: option.ProfileName = "auto",
    data: option.Data = None,
    model: Model = None,
    pretrained: Pretrained = None,
    scheduler: Scheduler = None,
    optimizer: Optimizer = None,
    loss: Loss = None,
    augmentation: Augmentation = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    batch_size: BatchSize = None,
    lr: Lr = None,
    image_size: ImageSize = None,
    text: Text = None,
    seed: option.Seed = None,
    device: option.Device = None,
    folds: Folds = None,
    fold: Fold = None,
    packets: Packets = None,
    add: Add = None,
    from_run: FromRun = None,
    resume: Resume = None,
    allow_changes: AllowChanges = False,
    output: option.Output = None,
    name: option.Name = None,
    overwrite: option.Overwrite = False,
    sets: option.Sets = None,
    show_profile: option.ShowProfile = False,
    show_schedule: ShowSchedule = False,
    dry_run: DryRun = False,
    as_json: option.Json = False,
    lang: option.Language = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Train a classifier on labelled pages, and score it on held-out pages."""
    options: dict[str, Any] = {
        "data.root": argument_or_option(folder, data, "--data"), "model": model, "model.pretrained": pretrained, "scheduler": scheduler, "optimizer": optimizer,
        "loss": loss, "augmentation": augmentation, "train.epochs": epochs, "train.minutes": minutes, "train.batch_size": batch_size, "optimizer.lr": lr,
        "data.image_size": image_size, "text": text, "seed": seed, "runtime.device": device, "train.folds": folds, "train.fold": fold, "train.packets": packets,
        "output": None if output is None else str(output), "name": name,
    }  # fmt: skip
    source = context.get_parameter_source("profile")
    chosen = source is not None and source.name != "DEFAULT"
    if add:
        options["data.add"] = [*options.get("data.add", ()), *map(str, add)]

    def load() -> "tuple[LoadedProfile, Recipe]":
        begin, wanted = profile, chosen
        if from_run is not None:
            begin, wanted = start_from(from_run, profile, chosen, resume, options)
        start = profile_to_load(resume, begin, wanted, Path(output or "runs") / (name or ""))
        return load_recipe(start, options, sets)

    loaded, recipe = on_main(load)
    if show_profile:
        return report.show_profile(loaded, as_json=as_json)
    if show_schedule:
        from docclf_cli.tasks.dry_run import schedule_preview

        return report.show(schedule_preview(loaded.profile), as_json=as_json)
    if dry_run:
        return _show_plan(loaded.profile, recipe, resume, overwrite=overwrite, as_json=as_json)
    from docclf_cli.commands._push import push_finished
    from docclf_cli.commands._tracking import tracked
    from docclf_cli.display.training_plan import PlanDisplay
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.train import train

    going_on = on_main(lambda: folder_to_go_on_with(resume, loaded.profile, name, overwrite))
    if going_on is not None and not allow_changes and (done := on_main(lambda: finished(going_on))) is not None:
        return report.show(done, as_json=as_json)
    with progress_display(quiet) as show, StopFlag(saves=True).installed() as stop:
        plan = PlanDisplay(show, quiet=quiet)
        with tracked(loaded.profile, plan) as emit:
            result = train(
                loaded.profile, resume=going_on, allow_changes=allow_changes, overwrite=overwrite, recipe=recipe,
                announce=plan.announce, emit=emit, stop=stop,
            )  # fmt: skip
            emit.finished(result)
    result = on_main(lambda: push_finished(result, loaded.profile.s3, quiet))
    return report.show(result, as_json=as_json)


def _show_plan(profile: "Profile", recipe: "Recipe", resume: str | None, *, overwrite: bool, as_json: bool) -> None:
    from docclf_cli.tasks.checked_run import training_plan

    if resume is not None:
        raise InputError("--dry-run plans a new run, and --resume continues one", "leave one of them out")
    report.show(training_plan(profile, recipe, overwrite=overwrite), as_json=as_json)
