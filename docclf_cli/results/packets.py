"""What `split-packets` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CUT, JOIN = "cut", "join"  # what people decide about a place between two pages


@dataclass(frozen=True)
class PacketPart:
    """A document that was found in a packet.

    Attributes:
        packet: The file, as it was named.
        part: Number of the document in its packet, counted from 1; None where the packet could not be opened.
        first_page: Its first page, counted from 1.
        last_page: Its last page.
        predicted: The class of the pooled log-probabilities of its pages; None where none could be read.
        confidence: Its probability.
        boundaries: The least sure decision about it: the probability that a cut at its ends, or a join in it, is right; 1 for a
            packet of one page.
        review: Whether some cut at its ends or some join in it is uncertain, or a page could not be read.
        uncertain: The pages before which it is uncertain whether a document begins.
        cut_probabilities: Of each of these, the probability that one does.
        uncut: First and last page of the range between sure cuts that it lies in, which is written as a whole where it needs
            review.
        file: What it was written to; None where nothing is written.
        status: Why pages could not be read; empty where all were.
    """

    packet: str
    part: int | None
    first_page: int | None
    last_page: int | None
    predicted: str | None
    confidence: float | None
    boundaries: float | None
    review: bool
    uncertain: tuple[int, ...] = ()
    cut_probabilities: tuple[float, ...] = ()
    uncut: tuple[int, ...] | None = None
    file: Path | None = None
    status: str = ""


@dataclass(frozen=True)
class CutLimits:
    """From which probability on pages are cut and joined.

    Attributes:
        kind: `text`: both pages have text; `image`: all others.
        join_to: Up to this probability of a boundary pages are joined; None where no join is sure enough.
        cut_from: From it on they are cut; None where no cut is sure enough.
    """

    kind: str
    join_to: float | None
    cut_from: float | None


@dataclass(frozen=True)
class SplitPacketsResult:
    """The summary of `split-packets`.

    Attributes:
        model: Checkpoint or run folder.
        packets: Number of files.
        pages: Number of their pages.
        unreadable: How many of them could not be read.
        max_unreadable: Share of the pages that may be.
        found: Number of documents that were found.
        review: How many of them need review.
        uncertain_cuts: Number of places between two pages that were not decided.
        decided_cuts: Number of places that a person had decided about.
        target_precision: How often cuts and joins that are made without review were to be right on held-out documents.
        limits: The probabilities that come of it.
        text_pages: Number of pages whose text was read.
        signatures: Signatures in the packets that were written in parts; none of them holds for a part.
        written: Number of files written.
        seconds: Wall time.
        parts: One row a document, for up to 1,000 documents; of more, the table has them.
        files: Tables that were written.
    """

    model: str
    packets: int
    pages: int
    unreadable: int
    max_unreadable: float
    found: int
    review: int
    uncertain_cuts: int
    decided_cuts: int
    target_precision: float
    limits: tuple[CutLimits, ...]
    text_pages: int
    signatures: int
    written: int
    seconds: float
    parts: tuple[PacketPart, ...] = ()
    files: tuple[Path, ...] = ()
