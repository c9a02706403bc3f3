"""What a person sees of `docclf tune`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable, number
from docclf_cli.results.tuning import TrialRow, TuneResult

SHOWN = 12  # trials in the table; the file has all


@report.render.register
def tables(result: TuneResult) -> Iterator[RenderableType]:
    """The best trials, what they set, what matters, and whether anything is gained."""
    heads = (said("log loss"), said("F1"), said("minutes"))
    table = NameTable(said("Trials, the best first"), said("trial"), *heads)
    ranked = sorted(result.trials, key=lambda row: (row.loss is None, row.loss or 0.0, row.number))
    for row in ranked[:SHOWN]:
        settings = ", ".join(f"{key}={value}" for key, value in row.settings.items())
        style = "green" if row.number == result.best else ""
        name = f"{row.number}{said(' (start)') if row.number == 0 else ''}"
        table.add_row(name, *_measured(row), style=style, below=row.reason or settings)
    yield table
    if len(ranked) > SHOWN:
        yield Text(said("{count} more trials are in the table of trials.csv", count=len(ranked) - SHOWN), style="dim")
    if result.importance:
        shares = NameTable(said("Importance"), said("parameter"), said("share"))
        for key, share in result.importance.items():
            shares.add_row(key, f"{share:.2f}")
        yield shares
    if result.changed:
        changes = NameTable(said("Settings of the best trial"), said("parameter"), said("start"), said("best"))
        for key, setting in result.changed.items():
            changes.add_row(key, setting.start, setting.best)
        yield changes
    yield from (Text(said(sentence)) for sentence in result.sentences)
    yield report.files_table(result.files)
    yield Text(said("Next"), style="italic")
    yield from (Text(f"  {escape(command)}", no_wrap=True, overflow="ignore") for command in result.next_commands)


def _measured(row: TrialRow) -> tuple[str, str, str]:
    """Loss (or what became of the trial), macro-F1, minutes."""
    loss = said(row.state) if row.loss is None else number(row.loss)
    f1 = "–" if row.f1_macro is None else number(row.f1_macro)
    return loss, f1, "–" if row.minutes is None else f"{row.minutes:.1f}"
