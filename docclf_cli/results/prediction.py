"""What `predict` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ClassCount:
    """How many pages were taken for a class.

    Attributes:
        name: The class.
        pages: How many.
        review: How many of them a person should look at.
    """

    name: str
    pages: int
    review: int


@dataclass(frozen=True)
class PageRow:
    """What is said of one page.

    Attributes:
        path: ID, or path as it was named.
        page: Number of the page, counted from 1; None where the file could not be opened.
        predicted: The most probable class; None for a page that could not be read.
        confidence: Its probability.
        review: Whether a person should look at it; None where no threshold was asked for.
        status: Empty for a page that was read, otherwise why not.
    """

    path: str
    page: int | None
    predicted: str | None
    confidence: float | None
    review: bool | None
    status: str


@dataclass(frozen=True)
class PredictResult:
    """What `predict` found.

    Attributes:
        model: Checkpoints, run folder or profile that decided.
        inputs: Files.
        pages: Pages of these files.
        unreadable: How many pages could not be read.
        max_unreadable: Share of the pages that may be.
        review: Pages for a person: unreadable, or less certain than `threshold`.
        classes: One row per class, in the order of the class axis.
        threshold: The least confidence that is trusted; None where none was asked for.
        threshold_from: Where it comes from, in words.
        temperature: Divides the logits; None where each member has its own.
        kept: Pages that an interrupted start had already decided.
        seconds: Wall time of this start.
        copied: Files copied into class folders.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        files: What was written, most useful first.
        precision: Number format that pages were predicted in; each where members differ.
        predictions: One row a page, for up to 1,000 pages; of more, `predictions_file` holds them.
        predictions_file: The table of all pages.
    """

    model: str
    inputs: int
    pages: int
    unreadable: int
    max_unreadable: float
    review: int
    classes: tuple[ClassCount, ...]
    threshold: float | None
    threshold_from: str
    temperature: float | None
    kept: int
    seconds: float
    copied: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    precision: str = "fp32"
    predictions: tuple[PageRow, ...] = ()
    predictions_file: Path | None = None

    @property
    def pages_per_second(self) -> float:
        """Of this start."""
        return (self.pages - self.kept) / self.seconds if self.seconds > 0 else 0.0
