"""What `predict` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class PredictedClass:
    """Number of pages that were predicted as a class.

    Attributes:
        name: The class.
        pages: How many.
        needs_review: How many of them need review.
    """

    name: str
    pages: int
    needs_review: int


@dataclass(frozen=True)
class PageRow:
    """What is said of one page.

    Attributes:
        path: ID, or path as it was named.
        page: Number of the page, counted from 1; None where the file could not be opened.
        predicted: The most probable class; None for a page that could not be read.
        confidence: Its probability.
        needs_review: Whether a person should look at it; None where no threshold was asked for.
        status: Empty for a page that was read, otherwise why not.
    """

    path: str
    page: int | None
    predicted: str | None
    confidence: float | None
    needs_review: bool | None
    status: str


@dataclass(frozen=True)
class PredictResult:
    """The summary of `predict`; the pages are in its files.

    Attributes:
        model: Checkpoint, run folder or profile that predicted.
        inputs: Number of files.
        pages: Number of pages of these files.
        unreadable: How many pages could not be read.
        max_unreadable: Share of the pages that may be.
        needs_review: Number of pages that need review: unreadable, or less confident than `threshold`.
        classes: One row per class, in the order of the class axis.
        threshold: The confidence threshold; None without one.
        threshold_from: Where the threshold comes from, in words.
        temperature: It divides the logits; None if each member has its own.
        resumed_pages: Number of pages that an interrupted call had already predicted.
        seconds: Wall time of this call.
        copied: Files copied into class folders.
        explained: Heat maps drawn.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        files: What was written, most useful first.
        precision: Number format of the predictions (members: all that occur).
        predictions: One row a page, for up to 1,000 pages; of more, `predictions_file` holds them.
        predictions_file: The table of all pages.
    """

    model: str
    inputs: int
    pages: int
    unreadable: int
    max_unreadable: float
    needs_review: int
    classes: tuple[PredictedClass, ...]
    threshold: float | None
    threshold_from: str
    temperature: float | None
    resumed_pages: int
    seconds: float
    copied: int = 0
    explained: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    precision: str = "fp32"
    predictions: tuple[PageRow, ...] = ()
    predictions_file: Path | None = None

    @property
    def pages_per_second(self) -> float:
        """Pages per second of this call."""
        return (self.pages - self.resumed_pages) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Prediction:
    """What a model says about one page, from Python.

    Attributes:
        path: The file; None for an image.
        page: Number of the page in it, counted from 1.
        label: The most probable class; None for a page that cannot be read.
        confidence: Its probability.
        probabilities: Of all classes by name, the most probable first; empty for a page that cannot be read.
        review: Whether a person should look at it: unreadable, or less certain than the threshold; None where no
            threshold was asked for.
        error: Why it cannot be read; empty where it was.
    """

    path: str | None
    page: int
    label: str | None
    confidence: float
    probabilities: Mapping[str, float]
    review: bool | None
    error: str = ""

    def top(self, k: int = 3) -> tuple[tuple[str, float], ...]:
        """The `k` most probable classes with their probabilities."""
        return tuple(self.probabilities.items())[:k]
