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
    title = said("{split} pages by class (accuracy is recall)", split=report.split_name(result.split))
    yield report.class_table(result.scores.classes, title)
    yield _metrics(result)
    if result.documents is not None:
        title = said(
            "{source}: {count} {split} documents",
            source=result.checkpoint,
            split=report.split_name(result.split),
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
        "{source}: {count} {split} pages",
        source=result.checkpoint,
        split=report.split_name(result.split),
        count=result.scores.support,
    )
    table = report.scores_table(result.scores, title)
    before = result.uncalibrated_ece
    name = said("calibration error before temperature scaling (T = {temperature:.2f})", temperature=result.temperature)
    table.add_row(name, number(before.value), f"{number(before.low)} … {number(before.high)}")
    table.add_row(said("number format"), result.precision, "")
    return table


def _comparison(comparison: Comparison) -> Table:
    from docclf_cli.metrics.metrics import label_of  # takes scipy to import

    title = said("Compared with {other} on the same {pages} pages", other=comparison.other, pages=comparison.pages)
    table = report.plain_table(escape(title))
    for found, words in zip(comparison.differences, comparison.sentences, strict=True):
        table.add_row(said(label_of(found.metric)), said(words))
    about = said("about accuracy, by group") if comparison.by_group else said("about accuracy")
    table.add_row(said("McNemar's test"), f"p = {comparison.mcnemar:.2g} ({about})")
    if comparison.left_out:
        unknown = said("{count} pages that the other model was trained on or does not know", count=comparison.left_out)
        table.add_row(said("left out"), unknown)
    return table


def _confidence_threshold(result: ThresholdReport, split: str) -> Iterator[RenderableType]:
    found = result.held_out
    title = said("Confidence threshold for {target:g} % precision", target=100 * found.target)
    table = NameTable(title, said("pages"), said("decided"), said("coverage"), said("precision"))
    chosen = said("held-out, clean and degraded") if result.includes_degraded else said("held-out")
    table.add_row(chosen, *_threshold(found), below=said("these pages chose the threshold"))
    if result.on_split is not None:
        same = said("the same pages, so this precision is optimistic") if result.chosen_on_split else ""
        table.add_row(report.split_name(split), *_threshold(result.on_split), below=same)
    yield table
    facts = report.plain_table("")
    facts.add_row(said("confidence threshold"), _value(found, result.expect_unknown))
    review = said(
        "{count} {split} pages, least confident first in {file}",
        count=result.needs_review,
        split=report.split_name(split),
        file=result.review_queue.name,
    )
    facts.add_row(said("needs review"), review)
    if found.value is not None:
        facts.add_row(said("condition"), escape(said(result.condition)))
    if result.on_split is not None and result.on_split.never:
        facts.add_row(said("classes never decided"), escape(", ".join(result.on_split.never)))
    yield facts


def _unknown(unknown: UnknownReport) -> Iterator[RenderableType]:
    if unknown.lost is not None and unknown.auroc is not None:
        heads = said("class"), said("held-out pages"), said("called unknown")
        table = NameTable(said("Unknown pages: each class left out in turn"), *heads)
        for row in unknown.classes:
            table.add_row(row.name, str(row.trials), interval(row.caught))
        table.add_section()
        lost = said("known pages lost (at most {share:.1%} asked)", share=unknown.max_lost)
        table.add_row(lost, "", interval(unknown.lost, 3))
        if unknown.lost_degraded is not None:
            table.add_row(said("of their degraded copies"), "", interval(unknown.lost_degraded, 3))
        table.add_row("AUROC", "", short(unknown.auroc, 3))
        yield table
    if unknown.foreign is not None:
        yield _foreign(unknown.foreign)
    yield from (f"[dim]{escape(said(note))}[/]" for note in unknown.notes)


def _foreign(foreign: ForeignReport) -> NameTable:
    title = said(
        "Foreign pages: {pages} of {source}, against {known} held-out pages",
        pages=foreign.pages,
        source=foreign.source,
        known=foreign.known_pages,
    )
    table = NameTable(title, "", said("foreign"), said("held-out"))
    table.add_row(said("called unknown"), interval(foreign.caught, 3), interval(foreign.known_lost, 3))
    before = interval(foreign.confident_before, 3), interval(foreign.known_confident_before, 3)
    table.add_row(said("confidence of .95 or more"), *before)
    after = interval(foreign.confident, 3), interval(foreign.known_confident, 3)
    table.add_row(said("the same, and not called unknown"), *after)
    table.add_row("AUROC", short(foreign.auroc, 3), "")
    table.add_row(said("AUROC of confidence alone"), short(foreign.auroc_confidence, 3), "")
    if foreign.unreadable:
        table.add_row(said("unreadable pages, left out"), str(foreign.unreadable), "")
    return table


def _costs(costs: CostReport) -> Iterator[RenderableType]:
    title = said(
        "Cost of 1,000 pages: {decided} of {pages} pages are decided, the others reviewed",
        decided=costs.decided,
        pages=costs.pages,
    )
    table = NameTable(title, "", said("cost"), said("95 % interval"))
    for name, one in (
        (said("decided by expected cost"), costs.paid),
        (said("everything sent to a person"), costs.all_reviewed),
        (said("saved"), costs.saved),
    ):
        table.add_row(name, f"{one.value:.1f}", f"{one.low:.1f} … {one.high:.1f}")
    table.add_row(said("expected by the model"), f"{costs.expected:.1f}", "")
    yield table
    yield f"[dim]{escape(said(costs.condition))}[/]"


def _threshold(threshold: Threshold) -> tuple[str, str, str]:
    return (
        said("{count} of {total}", count=threshold.decided, total=threshold.pages),
        interval(threshold.coverage, digits=3),
        interval(threshold.precision, digits=3),
    )


def _value(found: Threshold, expect_unknown: float | None) -> str:
    if found.value is not None:
        return f"{found.value:.4f}"
    if expect_unknown is not None:
        return said(
            "none: {target:g} % among {share:g} % unknown pages cannot be shown with these pages",
            target=100 * found.target,
            share=100 * expect_unknown,
        )
    if found.more_pages is None:
        return said(
            "none: this model does not reach {target:g} % precision at any confidence; more pages would not help",
            target=100 * found.target,
        )
    return said("unknown: about {count} more held-out pages are needed", count=found.more_pages)


def _corruptions(corruptions: CorruptionReport) -> NameTable:
    title = said(
        "Metrics by corruption: {pages} of {total} pages, corruptions version {version}",
        pages=corruptions.pages,
        total=corruptions.total_pages,
        version=corruptions.version,
    )
    heads = said("accuracy"), said("macro-F1"), said("macro-F1 − clean")
    table = NameTable(title, said("corruption"), *heads)
    for row in corruptions.rows:
        table.add_row(f"{said(row.kind)}, {said(row.severity)}" if row.severity else said(row.kind), *_corruption(row))
    return table


def _corruption(row: CorruptionRow) -> tuple[str, str, str]:
    return short(row.accuracy.value, 3), interval(row.f1_macro), difference(row.difference)
