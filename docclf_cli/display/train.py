"""What a person sees of `docclf train`."""

import statistics
from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.display.tables import NameTable
from docclf_cli.results.training import FinishedRun, FoldRow, Learned, SchedulePreview, TrainResult


@report.render.register
def tables(result: TrainResult) -> Iterator[RenderableType]:
    """Classes and metrics on held-out pages, folds, the best epoch and the files."""
    yield report.class_table(result.val.classes, "Held-out pages by class (accuracy is recall)")
    yield report.scores_table(result.val, "Held-out pages")
    yield from (f"[dim]{escape(note)}[/]" for note in result.notes)
    if result.folds:
        yield _folds_table(result.folds)
    yield _train_summary(result)
    yield report.files_table(result.files)
    if result.learned is not None:
        yield _learned(result.learned)
    yield from _verdict(result)


@report.render.register
def nothing_to_do(result: FinishedRun) -> Iterator[RenderableType]:
    """That the run is finished."""
    yield f"{escape(str(result.run))} is finished since {result.time}: nothing is left to do."
    yield "--allow-changes trains on, for example with more --epochs."


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
        gap = result.train.metrics["f1_macro"].value - result.val.metrics["f1_macro"].value
        table.add_row("macro-F1 on training pages", f"{result.train.metrics['f1_macro'].value:.4f} (gap {gap:+.4f})")
    if result.f1_macro_degraded is not None:
        gap = result.val.metrics["f1_macro"].value - result.f1_macro_degraded
        table.add_row("macro-F1 on degraded pages", f"{result.f1_macro_degraded:.4f} (gap {gap:+.4f})")
    table.add_row("temperature", f"{result.temperature:.3f}")
    table.add_row("number format for predicting", result.precision)
    if result.pushed is not None:
        table.add_row("stored in S3", escape(result.pushed))
    return table


def _learned(learned: Learned) -> RenderableType:
    """What added labels changed, in words."""
    table = report.plain_table(
        "Added labels" if learned.previous is None else f"Added labels, against {learned.previous}"
    )
    for line in learned.sentences:
        table.add_row("", escape(line))
    return table


def _verdict(result: TrainResult) -> Iterator[RenderableType]:
    """What the metrics say, each with what to do; then the commands that go on from here."""
    table = report.plain_table("Verdict")
    for finding in result.verdict:
        style = "green" if finding.kind == "sound" else "bold yellow"
        advice = f"\n→ {escape(finding.advice)}" if finding.advice else ""
        table.add_row(f"[{style}]{'✓' if finding.kind == 'sound' else '!'}[/]", f"{escape(finding.text)}{advice}")
    yield table
    if result.next_commands:
        yield Text("Next", style="italic")
        # Whole, so that they can be copied.
        yield from (Text(f"  {command}", no_wrap=True, overflow="ignore") for command in result.next_commands)


def _folds_table(folds: tuple[FoldRow, ...]) -> RenderableType:
    from docclf_cli.metrics.metrics import headline_metrics  # takes scipy to import

    shown = {metric.column or name: metric.label for name, metric in headline_metrics().items()}
    table = NameTable("Folds", "fold", "best epoch", *shown.values())
    for fold in folds:
        table.add_row(str(fold.fold), str(fold.best_epoch), *(f"{fold.metrics[name]:.4f}" for name in shown))
    if len(folds) > 1:
        columns = [[fold.metrics[name] for fold in folds] for name in shown]
        means = (f"{statistics.mean(column):.4f} ± {statistics.stdev(column):.4f}" for column in columns)
        table.add_section()
        table.add_row("mean ± sd", "", *means)
    return table
