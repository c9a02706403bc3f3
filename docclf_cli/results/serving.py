"""What `serve` answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from docclf_cli.results.packets import CutLimits, PacketPart
from docclf_cli.results.prediction import PageRow


@dataclass(frozen=True)
class ServedDocument:
    """What is said of a file with several pages, as `predict` says it.

    Attributes:
        pages: Its pages.
        predicted: The most probable class by the mean log-probability of its readable pages; None where none is.
        confidence: Its probability.
        needs_review: Whether a person should look at it; None where no rule says so.
        status: Empty where all pages were read, otherwise which were not, or why none was.
        unknown: Probability of belonging to no class that the model knows; None where that is not known.
        decision: What becomes of it: the name of a class, `unknown`, `review` or `unreadable`.
    """

    pages: int
    predicted: str | None
    confidence: float | None
    needs_review: bool | None
    status: str
    unknown: float | None = None
    decision: str = ""


@dataclass(frozen=True)
class ServedPrediction:
    """The answer to `POST /classify`.

    Attributes:
        model: Name of the model that answered.
        checkpoint: First characters of the SHA-256 of its checkpoint; they change when the model is replaced.
        threshold: The confidence threshold; None without one.
        predictions: One row a page, with the keys of `docclf predict --json`.
        probabilities: Of each page the most probable classes, the most probable first.
        document: The file as a whole.
    """

    model: str
    checkpoint: str
    threshold: float | None
    predictions: tuple[PageRow, ...]
    probabilities: tuple[Mapping[str, float], ...]
    document: ServedDocument


@dataclass(frozen=True)
class ServedPackets:
    """The answer to `POST /split-packets`, with the keys of `docclf split-packets --json`.

    Attributes:
        model: Name of the model that answered.
        checkpoint: First characters of the SHA-256 of its checkpoint.
        pages: Number of pages of the file.
        unreadable: How many of them could not be read.
        found: Number of documents that were found.
        review: How many of them need review.
        uncertain_cuts: Number of places between two pages that were not decided.
        target_precision: How often cuts and joins that are made without review were to be right on held-out documents.
        limits: The probabilities that come of it.
        text_pages: Number of pages whose text was read.
        parts: One row a document.
    """

    model: str
    checkpoint: str
    pages: int
    unreadable: int
    found: int
    review: int
    uncertain_cuts: int
    target_precision: float
    limits: tuple[CutLimits, ...]
    text_pages: int
    parts: tuple[PacketPart, ...]


@dataclass(frozen=True)
class ServedModelFacts:
    """The answer to `GET /model`, one entry a model.

    Attributes:
        name: What requests call it.
        path: What was named at the start.
        checkpoint: First characters of the SHA-256 of its checkpoint.
        classes: Names along the class axis.
        image_size: Side of the input in pixels.
        threshold: The confidence threshold; None without one.
        max_lost: Share of pages of known classes that may be called unknown; None where no page can be.
        by_costs: Whether pages are decided by expected cost.
        backend: What runs it.
        precision: Its number format.
        splits_packets: Whether `POST /split-packets` can ask it.
    """

    name: str
    path: str
    checkpoint: str
    classes: tuple[str, ...]
    image_size: int
    threshold: float | None
    max_lost: float | None
    by_costs: bool
    backend: str
    precision: str
    splits_packets: bool = False
