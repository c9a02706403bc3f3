"""What a person sees of an evaluation."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from docclf_cli.display import show as report
from docclf_cli.results.evaluation import Comparison, CorruptionReport, CorruptionRow, EvaluateResult, Trust
from docclf_cli.results.metrics import Threshold


@report.render.register
def tables(result: EvaluateResult) -> Iterator[RenderableType]:
    """Classes, metrics, the answers to what else was asked, and files."""
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


def _metrics(result: EvaluateResult) -> Table:
    table = report.scores_table(result.scores, f"{escape(str(result.checkpoint))}, {result.split}")
    before = result.uncalibrated_ece
    name = f"the same before temperature {result.temperature:.2f}"
    table.add_row(name, report.number(before.value), f"{report.number(before.low)} … {report.number(before.high)}")
    table.add_row("computed in", result.precision)
    return table


def _comparison(comparison: Comparison) -> Table:
    from docclf_cli.metrics.metrics import label_of  # takes scipy to import

    title = f"Against {comparison.other}, on the same {comparison.pages} pages"
    table = report.plain_table(escape(title))
    for difference, words in zip(comparison.differences, comparison.sentences, strict=True):
        table.add_row(label_of(difference.metric), words)
    by_group = ", by group" if comparison.by_group else ""
    table.add_row("McNemar's test", f"p = {comparison.mcnemar:.2g} (about accuracy{by_group})")
    if comparison.left_out:
        table.add_row("left out", f"{comparison.left_out} pages that the other did not hold out")
    return table


def _trust(trust: Trust, split: str) -> Iterator[RenderableType]:
    found, copies = trust.found, ", clean and degraded" if trust.degraded else ""
    table = Table(title=f"When to trust: {100 * found.target:g} % precision", title_justify="left")
    table.add_column("pages", overflow="fold")
    for head in ("decided", "share of the pages", "precision"):
        table.add_column(head, justify="right", no_wrap=True)
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
        report.interval(threshold.coverage),
        report.interval(threshold.precision),
    )


def _value(found: Threshold) -> str:
    if found.value is not None:
        return f"{found.value:.4f}"
    if found.more_pages is None:
        return f"none: no confidence of this model is {100 * found.target:g} % precise, however many pages there were"
    return f"not known yet: it needs about {found.more_pages} more held-out pages"


def _corruptions(corruptions: CorruptionReport) -> Table:
    drawn = (
        f"{corruptions.pages} pages"
        if corruptions.pages == corruptions.of
        else f"a draw of {corruptions.pages} of {corruptions.of} pages"
    )
    table = Table(title=f"What damage costs: {drawn}, damages of version {corruptions.version}", title_justify="left")
    table.add_column("damage", no_wrap=True)
    for head in ("accuracy", "macro-F1", "macro-F1 − clean"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in corruptions.rows:
        table.add_row(f"{row.kind}, {row.severity}" if row.severity else row.kind, *_corruption(row))
    return table


def _corruption(row: CorruptionRow) -> tuple[str, str, str]:
    lost = row.difference
    between = f"{lost.value:+.3f} ({lost.low:+.2f} … {lost.high:+.2f})"
    return f"{row.accuracy.value:.3f}", report.interval(row.f1_macro), between
