"""Tables of `docclf evaluate`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable, difference, interval, number, short
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
    title = said("{split} pages by class (accuracy is recall)", split=result.split)
    yield report.class_table(result.scores.classes, title)
    yield _metrics(result)
    if result.documents is not None:
        title = said(
            "{source}, {split}: {count} documents",
            source=result.checkpoint,
            split=result.split,
            count=result.documents.support,
        )
        yield report.scores_table(result.documents, title, "documents")
    yield from report.notes(result.scores, result.notes)
    if result.comparison is not None:
        yield _comparison(result.comparison)
    if result.confidence_threshold is not None:
        yield from _confidence_threshold(result.confidence_threshold, result.split)
    if result.corruptions is not None:
        yield _corruptions(result.corruptions)
    yield report.files_table(result.files)


def _metrics(result: EvaluateResult) -> NameTable:
    title = said(
        "{source}, {split}: {count} pages", source=result.checkpoint, split=result.split, count=result.scores.support
    )
    table = report.scores_table(result.scores, title)
    before = result.uncalibrated_ece
    name = said("calibration error before temperature scaling (T = {temperature:.2f})", temperature=result.temperature)
    table.add_row(name, number(before.value), f"{number(before.low)} … {number(before.high)}")
    table.add_row(said("number format"), result.precision, "")
    return table


def _comparison(comparison: Comparison) -> Table:
    from docclf_cli.metrics.metrics import label_of  # takes scipy to import

    title = f"Compared with {comparison.other} on the same {comparison.pages} pages"
    table = report.plain_table(escape(title))
    for found, words in zip(comparison.differences, comparison.sentences, strict=True):
        table.add_row(label_of(found.metric), words)
    by_group = ", by group" if comparison.by_group else ""
    table.add_row("McNemar's test", f"p = {comparison.mcnemar:.2g} (about accuracy{by_group})")
    if comparison.left_out:
        table.add_row("left out", f"{comparison.left_out} pages that the other model was trained on or does not know")
    return table


def _confidence_threshold(result: ThresholdReport, split: str) -> Iterator[RenderableType]:
    found, copies = result.held_out, ", clean and degraded" if result.includes_degraded else ""
    title = f"Confidence threshold for {100 * found.target:g} % precision"
    table = NameTable(title, "pages", "decided", "coverage", "precision")
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
        interval(threshold.coverage, digits=3),
        interval(threshold.precision, digits=3),
    )


def _value(found: Threshold) -> str:
    if found.value is not None:
        return f"{found.value:.4f}"
    if found.more_pages is None:
        return f"none: this model does not reach {100 * found.target:g} % precision at any confidence; more pages would not help"
    return f"unknown: about {found.more_pages} more held-out pages are needed"


def _corruptions(corruptions: CorruptionReport) -> NameTable:
    drawn = (
        f"{corruptions.pages} pages"
        if corruptions.pages == corruptions.total_pages
        else f"a sample of {corruptions.pages} of {corruptions.total_pages} pages"
    )
    title = f"Metrics by corruption: {drawn}, corruptions version {corruptions.version}"
    table = NameTable(title, "corruption", "accuracy", "macro-F1", "macro-F1 − clean")
    for row in corruptions.rows:
        table.add_row(f"{row.kind}, {row.severity}" if row.severity else row.kind, *_corruption(row))
    return table


def _corruption(row: CorruptionRow) -> tuple[str, str, str]:
    return short(row.accuracy.value, 3), interval(row.f1_macro), difference(row.difference)
