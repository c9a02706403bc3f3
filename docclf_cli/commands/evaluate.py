"""`docclf evaluate`."""

from collections.abc import Iterator

from rich.console import RenderableType

from docclf_cli import report
from docclf_cli.commands import _options as option
from docclf_cli.commands._checkpoint import checkpoint_or_newest
from docclf_cli.commands._progress import progress_display
from docclf_cli.results.training import EvaluateResult

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf evaluate --checkpoint runs/mine\n\n"
    "docclf evaluate --checkpoint runs/mine --split test --json\n\n"
    "docclf evaluate --checkpoint runs/mine/best.ckpt --split test --data other/pages\n\n"
    "docclf evaluate --checkpoint s3://my-models/docclf/mine --split test"
)


def run(
    checkpoint: option.CheckpointPath = None,
    split: option.Split = "val",
    data: option.Data = None,
    device: option.Device = None,
    output: option.Output = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Score a checkpoint on labelled pages, each figure with its 95 % interval."""
    from docclf_cli.engine.evaluate import evaluate
    from docclf_cli.engine.runtime import StopFlag
    from docclf_cli.profile.schema import RuntimeConfig

    path = checkpoint_or_newest(checkpoint, output, quiet)
    runtime = RuntimeConfig(device=device or "auto")
    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        result = evaluate(path, split, data=data, runtime_config=runtime, emit=emit, stop=stop)
    report.show(result, as_json=as_json)


@report.render.register
def tables(result: EvaluateResult) -> Iterator[RenderableType]:
    """Classes, figures and files."""
    yield report.class_table(result.scores.classes, f"{result.split} pages by class (accuracy is recall)")
    yield report.scores_table(result.scores, f"{result.checkpoint}, {result.split}")
    yield report.files_table(result.files)
