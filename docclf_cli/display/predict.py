"""Tables of `docclf predict`."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable, short
from docclf_cli.results.prediction import DocumentRow, PageRow, PartResult, PredictResult

MOST_PAGES = 20  # of more, only the counts are shown


@report.render.register
def tables(result: PredictResult) -> Iterator[RenderableType]:
    """Each page and document where there are few; pages by class, a summary and the files."""
    if 0 < len(result.predictions) <= MOST_PAGES:
        yield _page_table(result)
    documents = [row for row in result.documents if row.pages is not None and row.pages > 1]
    if 0 < len(documents) <= MOST_PAGES:
        yield _document_table(documents, result.reviews)
    yield _by_class(result)
    yield _summary(result)
    yield from (f"[dim]{escape(said(note))}[/]" for note in result.notes)
    yield report.files_table(result.files)


@report.render.register
def part_tables(result: PartResult) -> Iterator[RenderableType]:
    """What one part holds, and how the parts become tables."""
    table = report.plain_table("")
    parts = ", ".join(map(str, result.parts)) or "–"
    folder = escape(str(result.folder))
    table.add_row(said("part"), said("{parts} of {of}, in {folder}", parts=parts, of=result.of, folder=folder))
    if result.left:
        table.add_row(said("made by others"), ", ".join(map(str, result.left)))
    table.add_row(said("model"), escape(result.model))
    table.add_row(said("files, pages"), f"{result.inputs:,}, {result.pages:,}")
    if result.unreadable:
        table.add_row(said("unreadable"), _of_pages(result.unreadable, result.pages))
    if result.resumed_pages:
        table.add_row(said("resumed"), _resumed(result.resumed_pages))
    yield table
    yield f"[dim]{escape(said('when all parts are there: {command}', command=result.join))}[/]"


def _page_table(result: PredictResult) -> NameTable:
    asked = result.reviews
    heads = (f"{said('class')}<", said("confidence"), *(["<"] if asked else []))
    table = NameTable(said("Pages"), said("page"), *heads)
    several = {row.path for row in result.predictions if row.page is not None and row.page > 1}
    for row in result.predictions:
        name = f"{row.path} p. {row.page}" if row.path in several and row.page else row.path
        confidence = "–" if row.confidence is None else short(row.confidence)
        flag = said("unknown") if row.decision == "unknown" else said("review")
        review = flag if row.needs_review else ""
        cells = (row.predicted or said("unreadable"), confidence, *([review] if asked else []))
        table.add_row(name, *cells, style=_style(row), below=row.status)
    return table


def _document_table(documents: Sequence[DocumentRow], asked: bool) -> NameTable:
    heads = (said("pages"), f"{said('class')}<", said("confidence"), *(["<"] if asked else []))
    table = NameTable(said("Documents of several pages"), said("document"), *heads)
    for row in documents:
        confidence = "–" if row.confidence is None else short(row.confidence)
        cells = (str(row.pages), row.predicted or said("unreadable"), confidence)
        table.add_row(
            row.path,
            *cells,
            *([said("review") if row.needs_review else ""] if asked else []),
            style=_style(row),
            below=row.status,
        )
    return table


def _style(row: PageRow | DocumentRow) -> str:
    if row.predicted is None:
        return "red"
    return "yellow" if row.needs_review else ""


def _by_class(result: PredictResult) -> NameTable:
    asked = result.reviews
    title = said("Pages by class ({count})", count=f"{result.pages:,}")
    table = NameTable(title, said("class"), said("pages"), *([said("needs review")] if asked else []))
    for row in sorted(result.classes, key=lambda row: -row.pages):
        if row.pages:
            table.add_row(row.name, f"{row.pages:,}", *([f"{row.needs_review:,}"] if asked else []))
    if result.unreadable:
        cells = (f"{result.unreadable:,}", *([f"{result.unreadable:,}"] if asked else []))
        table.add_row(said("unreadable"), *cells, style="red")
    return table


def _of_pages(count: int, total: int) -> str:
    share = f"{count / max(1, total):.1%}"
    return said("{count} of {total} pages ({share})", count=f"{count:,}", total=f"{total:,}", share=share)


def _resumed(pages: int) -> str:
    return said("{count} pages were predicted before the interruption", count=f"{pages:,}")


def _summary(result: PredictResult) -> Table:
    table = report.plain_table("")
    table.add_row(said("model"), escape(result.model))
    table.add_row(said("files, pages"), f"{result.inputs:,}, {result.pages:,}")
    if result.reviews:
        table.add_row(said("needs review"), _of_pages(result.needs_review, result.pages))
    if result.unknown is not None:
        table.add_row(said("unknown"), _of_pages(result.unknown, result.pages))
    if result.threshold is not None:
        table.add_row(said("confidence threshold"), f"{result.threshold:.4f} ({said(result.threshold_from)})")
    temperature = said("one for each member") if result.temperature is None else f"{result.temperature:.3f}"
    table.add_row(said("temperature"), temperature)
    table.add_row(said("number format"), result.precision)
    if result.copied:
        table.add_row(said("copied files"), f"{result.copied:,}")
    if result.turned is not None:
        table.add_row(said("pages turned upright"), f"{result.turned:,}")
    if result.not_turned:
        lying = said("{count} files, which cannot be turned without loss", count=f"{result.not_turned:,}")
        table.add_row(said("copied as they lie"), lying)
    if result.explained:
        table.add_row(said("heat maps"), f"{result.explained:,}")
    if result.resumed_pages:
        table.add_row(said("resumed"), _resumed(result.resumed_pages))
    if result.parts is not None:
        table.add_row(said("joined parts"), f"{result.parts:,}")
        return table
    table.add_row(said("speed"), said("{rate} pages/s", rate=f"{result.pages_per_second:.1f}"))
    return table
