"""What a person sees of an evaluation."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from docclf_cli.display import show as report
from docclf_cli.display.tables import NameTable, difference, interval, number, short
from docclf_cli.results.evaluation import Comparison, CorruptionReport, CorruptionRow, EvaluateResult, Trust
from docclf_cli.results.figures import Threshold


@report.render.register
def tables(result: EvaluateResult) -> Iterator[RenderableType]:
    """Classes, figures, the answers to what else was asked, and files."""
    yield report.class_table(result.scores.classes, f"{result.split} pages by class (accuracy is recall)")
    yield _metrics(result)
    yield from (f"[dim]{escape(note)}[/]" for note in result.notes)
    if result.comparison is not None:
        yield _comparison(result.comparison)
    if result.trust is not None:
        yield from _trust(result.trust, result.split)
    if result.corruptions is not None:
        yield _corruptions(result.corruptions)
    yield report.files_table(result.files)


def _metrics(result: EvaluateResult) -> NameTable:
    table = report.scores_table(result.scores, f"{result.checkpoint}, {result.split}")
    before = result.uncalibrated_ece
    name = f"the same before temperature {result.temperature:.2f}"
    table.add_row(name, number(before.value), f"{number(before.low)} … {number(before.high)}")
    table.add_row("computed in", result.precision, "")
    return table


def _comparison(comparison: Comparison) -> Table:
    title = f"Against {comparison.other}, on the same {comparison.pages} pages"
    table = report.plain_table(escape(title))
    for found, words in zip(comparison.differences, comparison.sentences, strict=True):
        table.add_row(report.metric_name(found.figure), words)
    by_group = ", by group" if comparison.by_group else ""
    table.add_row("McNemar's test", f"p = {comparison.mcnemar:.2g} (about accuracy{by_group})")
    if comparison.left_out:
        table.add_row("left out", f"{comparison.left_out} pages that the other did not hold out")
    return table


def _trust(trust: Trust, split: str) -> Iterator[RenderableType]:
    found, copies = trust.found, ", clean and degraded" if trust.degraded else ""
    title = f"When to trust: {100 * found.target:g} % precision"
    table = NameTable(title, "pages", "decided", "share of the pages", "precision")
    table.add_row(f"held-out{copies}; they chose it", *_threshold(found))
    if trust.checked is not None:
        table.add_row(f"{split}{' (they chose it: too good)' if trust.chosen_here else ''}", *_threshold(trust.checked))
    yield table
    facts = report.plain_table("")
    facts.add_row("trust from confidence", _value(found))
    facts.add_row("for a person", f"{trust.for_a_person} {split} pages, least certain first in {trust.queue.name}")
    if trust.checked is not None and trust.checked.never:
        facts.add_row("never decided", escape(", ".join(trust.checked.never)))
    yield facts


def _threshold(threshold: Threshold) -> tuple[str, str, str]:
    return (
        f"{threshold.decided} of {threshold.pages}",
        interval(threshold.coverage, digits=3),
        interval(threshold.precision, digits=3),
    )


def _value(found: Threshold) -> str:
    if found.value is not None:
        return f"{found.value:.4f}"
    if found.more_pages is None:
        return f"none: no confidence of this model is {100 * found.target:g} % precise, however many pages there were"
    return f"not known yet: it needs about {found.more_pages} more held-out pages"


def _corruptions(corruptions: CorruptionReport) -> NameTable:
    drawn = (
        f"{corruptions.pages} pages"
        if corruptions.pages == corruptions.of
        else f"a draw of {corruptions.pages} of {corruptions.of} pages"
    )
    title = f"What damage costs: {drawn}, damages of version {corruptions.version}"
    table = NameTable(title, "damage", "accuracy", "macro-F1", "macro-F1 − clean")
    for row in corruptions.rows:
        table.add_row(f"{row.kind}, {row.severity}" if row.severity else row.kind, *_corruption(row))
    return table


def _corruption(row: CorruptionRow) -> tuple[str, str, str]:
    return short(row.accuracy.value, 3), interval(row.f1_macro), difference(row.difference)
