"""What a person sees of `docclf train`."""

import shlex
import statistics
from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable
from docclf_cli.results.training import FinishedRun, FoldRow, Learned, SchedulePreview, TrainResult


@report.render.register
def tables(result: TrainResult) -> Iterator[RenderableType]:
    """Classes and metrics on held-out pages, folds, the best epoch and the files."""
    yield report.class_table(result.val.classes, said("Held-out pages by class (accuracy is recall)"))
    yield report.scores_table(result.val, said("Held-out pages: {count} pages", count=result.val.support))
    if result.documents is not None:
        title = said("Held-out documents: {count} documents", count=result.documents.support)
        yield report.scores_table(result.documents, title, "documents")
    if result.sides:
        yield report.sides_table(result.sides)
    yield from report.notes(result.val, result.notes)
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
    text = said("{run} is finished since {time}: nothing is left to do.", run=result.run, time=result.time)
    yield escape(text)
    yield said("--allow-changes trains on, for example with more --epochs.")


@report.render.register
def schedule_chart(result: SchedulePreview) -> Iterator[RenderableType]:
    """The learning rate of the run as a chart in characters."""
    text = said(
        "{scheduler}, one value per {unit}: {count} values, {steps} optimizer steps per epoch, {low:.2e} … {high:.2e}",
        scheduler=result.scheduler,
        unit=said(result.unit),
        count=len(result.rates),
        steps=result.steps_per_epoch,
        low=min(result.rates),
        high=max(result.rates),
    )
    yield Text(text)
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
    table = report.plain_table(said("Run"))
    from docclf_cli.metrics.metrics import label_of  # takes scipy to import

    table.add_row(said("run"), escape(str(result.run)))
    table.add_row(said("model"), escape(result.model))
    if result.best_epoch and result.epochs > 1:
        chosen = said(
            "{epoch} of {epochs}, chosen by {monitor}",
            epoch=result.best_epoch,
            epochs=result.epochs,
            monitor=said(label_of(result.monitor)),
        )
        table.add_row(said("best epoch"), chosen)
    f1 = result.val.metrics["f1_macro"].value
    if result.train is not None:
        on_training = result.train.metrics["f1_macro"].value
        shown = said("{value:.4f} (gap {gap:+.4f})", value=on_training, gap=on_training - f1)
        table.add_row(said("macro-F1 on training pages"), shown)
    if result.f1_macro_degraded is not None:
        shown = said("{value:.4f} (gap {gap:+.4f})", value=result.f1_macro_degraded, gap=f1 - result.f1_macro_degraded)
        table.add_row(said("macro-F1 on degraded pages"), shown)
    table.add_row(said("temperature"), f"{result.temperature:.3f}")
    table.add_row(said("number format for predicting"), result.precision)
    if result.pushed is not None:
        table.add_row(said("stored in S3"), escape(result.pushed))
    return table


def _learned(learned: Learned) -> RenderableType:
    """What added labels changed, in words."""
    title = said("Added labels")
    if learned.previous is not None:
        title = said("Added labels, against {run}", run=learned.previous)
    table = report.plain_table(escape(title))
    for line in learned.sentences:
        table.add_row("", escape(said(line)))
    return table


def _verdict(result: TrainResult) -> Iterator[RenderableType]:
    """What the metrics say, each with what to do; then the commands that go on from here."""
    table = report.plain_table(said("Verdict"))
    for finding in result.verdict:
        style = "green" if finding.kind == "sound" else "bold yellow"
        advice = f"\n→ {escape(said(finding.advice))}" if finding.advice else ""
        table.add_row(f"[{style}]{'✓' if finding.kind == 'sound' else '!'}[/]", f"{escape(said(finding.text))}{advice}")
    yield table
    if result.next_commands:
        yield Text(said("Next"), style="italic")
        # Whole, so that they can be copied.
        yield from (Text(f"  {command}", no_wrap=True, overflow="ignore") for command in result.next_commands)
        shows_predict = any(command.startswith("docclf predict ") for command in result.next_commands)
        if not shows_predict and all(finding.kind != "chance" for finding in result.verdict):
            yield Text(said("To sort other pages, write their folder in the place of FOLDER:"))
            command = shlex.join(["docclf", "predict", str(result.run), "FOLDER", "--copy-to", "sorted"])
            yield Text(f"  {command}", no_wrap=True, overflow="ignore")


def _folds_table(folds: tuple[FoldRow, ...]) -> RenderableType:
    from docclf_cli.metrics.metrics import headline_metrics  # takes scipy to import

    shown = {metric.column or name: said(metric.label) for name, metric in headline_metrics().items()}
    table = NameTable(said("Folds"), said("fold"), said("best epoch"), *shown.values())
    for fold in folds:
        table.add_row(str(fold.fold), str(fold.best_epoch), *(f"{fold.metrics[name]:.4f}" for name in shown))
    if len(folds) > 1:
        columns = [[fold.metrics[name] for fold in folds] for name in shown]
        means = (f"{statistics.mean(column):.4f} ± {statistics.stdev(column):.4f}" for column in columns)
        table.add_section()
        table.add_row(said("mean ± sd"), "", *means)
    return table
