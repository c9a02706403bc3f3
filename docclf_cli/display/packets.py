"""Tables of `docclf split-packets`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable, short
from docclf_cli.results.packets import PacketPart, SplitPacketsResult

MOST_PARTS = 60  # of more, only the counts are shown


@report.render.register
def tables(result: SplitPacketsResult) -> Iterator[RenderableType]:
    """Each document where there are few; a summary and the files."""
    if 0 < len(result.parts) <= MOST_PARTS:
        yield _parts_table(result)
    yield _summary(result)
    if result.files:
        yield report.files_table(result.files)


def _parts_table(result: SplitPacketsResult) -> NameTable:
    table = NameTable(
        said("Documents in packets"), said("packet"), said("pages"), f"{said('class')}<", said("confidence"), said("cuts"), "<",
    )  # fmt: skip
    shown = ""
    for part in result.parts:
        packet, shown = part.packet if part.packet != shown else "", part.packet
        if part.part is None:
            table.add_row(packet, "–", said("unreadable"), "–", "–", said("review"), style="red", below=part.status)
            continue
        pages = f"{part.first_page}" if part.first_page == part.last_page else f"{part.first_page}–{part.last_page}"
        name = said("unreadable") if part.predicted is None else part.predicted
        confidence = "–" if part.confidence is None else short(part.confidence)
        cuts = "–" if part.boundaries is None else short(part.boundaries)
        review = said("review") if part.review else ""
        style = "yellow" if part.review else ""
        table.add_row(packet, pages, name, confidence, cuts, review, style=style, below=_why(part))
    return table


def _why(part: PacketPart) -> str:
    if not part.uncertain:
        return part.status
    pages = ", ".join(map(str, part.uncertain))
    uncertain = said("may begin or not: a document on page {pages}", pages=pages)
    return f"{uncertain}; {part.status}" if part.status else uncertain


def _summary(result: SplitPacketsResult) -> Table:
    table = report.plain_table("")
    table.add_row(said("model"), escape(result.model))
    table.add_row(said("packets, pages"), f"{result.packets:,}, {result.pages:,}")
    table.add_row(said("documents found"), f"{result.found:,}")
    share = f"{result.review / max(1, result.found):.1%}"
    table.add_row(said("needs review"), f"{result.review:,} ({share})")
    table.add_row(said("uncertain cuts"), f"{result.uncertain_cuts:,}")
    if result.decided_cuts:
        table.add_row(said("cuts decided by people"), f"{result.decided_cuts:,}")
    for limit in result.limits:
        never = said("never")
        join = never if limit.join_to is None else f"≤ {short(limit.join_to)}"
        cut = never if limit.cut_from is None else f"≥ {short(limit.cut_from)}"
        kind = said("with text") if limit.kind == "text" else said("by image")
        text = said("joined at {join}, cut at {cut} ({precision} right on held-out documents)", join=join, cut=cut,
                    precision=f"{result.target_precision:.0%}")  # fmt: skip
        table.add_row(kind, text)
    table.add_row(said("pages with text"), f"{result.text_pages:,}")
    if result.unreadable:
        table.add_row(said("unreadable"), f"{result.unreadable:,}")
    if result.signatures:
        table.add_row(said("signatures that hold for no part"), f"{result.signatures:,}")
    if result.written:
        table.add_row(said("files written"), f"{result.written:,}")
    rate = f"{result.pages / result.seconds if result.seconds > 0 else 0:.1f}"
    table.add_row(said("speed"), said("{rate} pages/s", rate=rate))
    return table
