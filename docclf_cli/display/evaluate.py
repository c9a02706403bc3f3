"""Tables of `docclf evaluate`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from docclf_cli.display import show as report
from docclf_cli.results.evaluation import (
    Comparison,
    CorruptionReport,
    CorruptionRow,
    EvaluateResult,
    ThresholdReport,
)
from docclf_cli.results.metrics import Threshold


@report.render.register
def tables(result: EvaluateResult) -> Iterator[RenderableType]:
    """Classes, metrics, the comparison, the confidence threshold, the corruptions and the files."""
    yield report.class_table(result.scores.classes, f"{result.split} pages by class (accuracy is recall)")
    yield _metrics(result)
    yield from (f"[dim]{escape(note)}[/]" for note in result.notes)
    if result.comparison is not None:
        yield _comparison(result.comparison)
    if result.confidence_threshold is not None:
        yield from _confidence_threshold(result.confidence_threshold, result.split)
    if result.corruptions is not None:
        yield _corruptions(result.corruptions)
    yield report.files_table(result.files)


def _metrics(result: EvaluateResult) -> Table:
    table = report.scores_table(result.scores, f"{escape(str(result.checkpoint))}, {result.split}")
    before = result.uncalibrated_ece
    name = f"calibration error before temperature scaling (T = {result.temperature:.2f})"
    table.add_row(name, report.number(before.value), f"{report.number(before.low)} … {report.number(before.high)}")
    table.add_row("number format", result.precision)
    return table


def _comparison(comparison: Comparison) -> Table:
    from docclf_cli.metrics.metrics import label_of  # takes scipy to import

    title = f"Compared with {comparison.other} on the same {comparison.pages} pages"
    table = report.plain_table(escape(title))
    for difference, words in zip(comparison.differences, comparison.sentences, strict=True):
        table.add_row(label_of(difference.metric), words)
    by_group = ", by group" if comparison.by_group else ""
    table.add_row("McNemar's test", f"p = {comparison.mcnemar:.2g} (about accuracy{by_group})")
    if comparison.left_out:
        table.add_row("left out", f"{comparison.left_out} pages that the other model was trained on or does not know")
    return table


def _confidence_threshold(result: ThresholdReport, split: str) -> Iterator[RenderableType]:
    found, copies = result.held_out, ", clean and degraded" if result.includes_degraded else ""
    table = Table(title=f"Confidence threshold for {100 * found.target:g} % precision", title_justify="left")
    table.add_column("pages", overflow="fold")
    for head in ("decided", "coverage", "precision"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_row(f"held-out{copies} (used to choose the threshold)", *_threshold(found))
    if result.on_split is not None:
        optimistic = " (same pages: precision is optimistic)" if result.chosen_on_split else ""
        table.add_row(f"{split}{optimistic}", *_threshold(result.on_split))
    yield table
    facts = report.plain_table("")
    facts.add_row("confidence threshold", _value(found))
    review = f"{result.needs_review} {split} pages, least confident first in {result.review_queue.name}"
    facts.add_row("needs review", review)
    if result.on_split is not None and result.on_split.never:
        facts.add_row("classes never decided", escape(", ".join(result.on_split.never)))
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
        return f"none: this model does not reach {100 * found.target:g} % precision at any confidence; more pages would not help"
    return f"unknown: about {found.more_pages} more held-out pages are needed"


def _corruptions(corruptions: CorruptionReport) -> Table:
    drawn = (
        f"{corruptions.pages} pages"
        if corruptions.pages == corruptions.total_pages
        else f"a sample of {corruptions.pages} of {corruptions.total_pages} pages"
    )
    table = Table(
        title=f"Metrics by corruption: {drawn}, corruptions version {corruptions.version}", title_justify="left"
    )
    table.add_column("corruption", no_wrap=True)
    for head in ("accuracy", "macro-F1", "macro-F1 − clean"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in corruptions.rows:
        table.add_row(f"{row.kind}, {row.severity}" if row.severity else row.kind, *_corruption(row))
    return table


def _corruption(row: CorruptionRow) -> tuple[str, str, str]:
    lost = row.difference
    between = f"{lost.value:+.3f} ({lost.low:+.2f} … {lost.high:+.2f})"
    return f"{row.accuracy.value:.3f}", report.interval(row.f1_macro), between
