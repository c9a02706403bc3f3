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
from docclf_cli.results.unknown import CostReport, ForeignReport, UnknownReport


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
    if result.sides:
        yield report.sides_table(result.sides)
    yield from report.notes(result.scores, result.notes)
    if result.comparison is not None:
        yield _comparison(result.comparison)
    if result.confidence_threshold is not None:
        yield from _confidence_threshold(result.confidence_threshold, result.split)
    if result.corruptions is not None:
        yield _corruptions(result.corruptions)
    if result.unknown is not None:
        yield from _unknown(result.unknown)
    if result.costs is not None:
        yield from _costs(result.costs)
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
    facts.add_row("confidence threshold", _value(found, result.expect_unknown))
    review = f"{result.needs_review} {split} pages, least confident first in {result.review_queue.name}"
    facts.add_row("needs review", review)
    facts.add_row("condition", escape(result.condition))
    if result.on_split is not None and result.on_split.never:
        facts.add_row("classes never decided", escape(", ".join(result.on_split.never)))
    yield facts


def _unknown(unknown: UnknownReport) -> Iterator[RenderableType]:
    if unknown.lost is not None and unknown.auroc is not None:
        table = NameTable("Unknown pages: each class left out in turn", "class", "held-out pages", "called unknown")
        for row in unknown.classes:
            table.add_row(row.name, str(row.trials), interval(row.caught))
        table.add_section()
        table.add_row(f"known pages lost (at most {unknown.max_lost:.1%} asked)", "", interval(unknown.lost, 3))
        if unknown.lost_degraded is not None:
            table.add_row("of their degraded copies", "", interval(unknown.lost_degraded, 3))
        table.add_row("AUROC", "", short(unknown.auroc, 3))
        yield table
    if unknown.foreign is not None:
        yield _foreign(unknown.foreign)
    yield from (f"[dim]{escape(note)}[/]" for note in unknown.notes)


def _foreign(foreign: ForeignReport) -> NameTable:
    title = f"Foreign pages: {foreign.pages} of {foreign.source}, against {foreign.known_pages} held-out pages"
    table = NameTable(title, "", "foreign", "held-out")
    table.add_row("called unknown", interval(foreign.caught, 3), interval(foreign.known_lost, 3))
    before = interval(foreign.confident_before, 3), interval(foreign.known_confident_before, 3)
    table.add_row("confidence of .95 or more", *before)
    after = interval(foreign.confident, 3), interval(foreign.known_confident, 3)
    table.add_row("the same, and not called unknown", *after)
    table.add_row("AUROC", short(foreign.auroc, 3), "")
    table.add_row("AUROC of confidence alone", short(foreign.auroc_confidence, 3), "")
    if foreign.unreadable:
        table.add_row("unreadable pages, left out", str(foreign.unreadable), "")
    return table


def _costs(costs: CostReport) -> Iterator[RenderableType]:
    title = f"Cost of 1,000 pages: {costs.decided} of {costs.pages} pages are decided, the others reviewed"
    table = NameTable(title, "", "cost", "95 % interval")
    for name, one in (
        ("decided by expected cost", costs.paid),
        ("everything sent to a person", costs.all_reviewed),
        ("saved", costs.saved),
    ):
        table.add_row(name, f"{one.value:.1f}", f"{one.low:.1f} … {one.high:.1f}")
    table.add_row("expected by the model", f"{costs.expected:.1f}", "")
    yield table
    yield f"[dim]{escape(costs.condition)}[/]"


def _threshold(threshold: Threshold) -> tuple[str, str, str]:
    return (
        f"{threshold.decided} of {threshold.pages}",
        interval(threshold.coverage, digits=3),
        interval(threshold.precision, digits=3),
    )


def _value(found: Threshold, expect_unknown: float | None) -> str:
    if found.value is not None:
        return f"{found.value:.4f}"
    if expect_unknown is not None:
        return f"none: {100 * found.target:g} % among {100 * expect_unknown:g} % unknown pages cannot be shown with these pages"
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
