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
        needs_review: Whether a person should look at it; None where no rule says so.
        status: Empty for a page that was read, otherwise why not.
        unknown: Probability of belonging to no class that the model knows; None where that is not known.
        decision: What becomes of it: the name of a class, `unknown`, `review` or `unreadable`.
        turn: Degrees clockwise by which the page lies turned: 0, 90, 180 or 270; None where that cannot be told.
        mirrored: Whether it is mirrored (left and right, before it was turned); None where that cannot be told.
    """

    path: str
    page: int | None
    predicted: str | None
    confidence: float | None
    needs_review: bool | None
    status: str
    unknown: float | None = None
    decision: str = ""
    turn: int | None = None
    mirrored: bool | None = None


@dataclass(frozen=True)
class DocumentRow:
    """What is said of one file by all its pages together.

    Attributes:
        path: ID, or path as it was named.
        pages: How many of its pages were looked at; None where the file could not be opened.
        predicted: The class of the pooled log-probabilities; None where no page could be read.
        confidence: Its probability.
        needs_review: Whether a person should look at it; None where no threshold was asked for.
        status: Empty where all pages were read, otherwise which were not.
    """

    path: str
    pages: int | None
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
        needs_review: Number of pages that need review: unreadable, unknown, or less confident than `threshold`.
        classes: One row per class, in the order of the class axis.
        threshold: The confidence threshold; None without one.
        threshold_from: Where the threshold comes from, in words.
        temperature: It divides the logits; None if each member has its own.
        resumed_pages: Number of pages that an interrupted call had already predicted.
        seconds: Wall time of this call.
        copied: Files copied into class folders.
        turned: Pages that are upright in the copies and were not before; None without `--upright`.
        not_turned: Files whose copies lie as before, because their format cannot be turned without loss; None as above.
        explained: Heat maps drawn.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        files: What was written, most useful first.
        precision: Number format of the predictions (members: all that occur).
        predictions: One row a page, for up to 1,000 pages; of more, `predictions_file` holds them.
        predictions_file: The table of all pages.
        documents: Where files have several pages: one row a file, for up to 1,000 files.
        documents_file: The table of all files; None where each has one page.
        unknown: Number of pages that are called unknown; None where none can be.
        max_lost: Share of pages of known classes that this may cost; None as above.
        by_costs: Whether pages are decided by expected cost.
        notes: What holds for the decisions, and under which condition.
        parts: How many parts were joined; None for a call without parts.
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
    turned: int | None = None
    not_turned: int | None = None
    explained: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    precision: str = "fp32"
    predictions: tuple[PageRow, ...] = ()
    predictions_file: Path | None = None
    documents: tuple[DocumentRow, ...] = ()
    documents_file: Path | None = None
    unknown: int | None = None
    max_lost: float | None = None
    by_costs: bool = False
    notes: tuple[str, ...] = ()
    parts: int | None = None

    @property
    def reviews(self) -> bool:
        """Whether some rule says which pages need review."""
        return self.threshold is not None or self.unknown is not None or self.by_costs

    @property
    def pages_per_second(self) -> float:
        """Pages per second of this call."""
        return (self.pages - self.resumed_pages) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class PartResult:
    """Parts of a call of `predict` that is shared among several processes.

    Attributes:
        model: Checkpoint, run folder or profile that predicted.
        parts: Which parts this process made, counted from 1.
        of: How many there are.
        left: With `any/N`: parts that other processes are still making.
        folder: Parent of their folders.
        inputs: Number of the files of these parts.
        pages: Number of pages of these files.
        unreadable: How many pages could not be read.
        resumed_pages: Number of pages that an interrupted call had already predicted.
        seconds: Wall time of this call.
        join: The command that joins all parts.
    """

    model: str
    parts: tuple[int, ...]
    of: int
    left: tuple[int, ...]
    folder: Path
    inputs: int
    pages: int
    unreadable: int
    resumed_pages: int
    seconds: float
    join: str


@dataclass(frozen=True)
class Prediction:
    """What a model says about one page, from Python.

    Attributes:
        path: The file; None for an image.
        page: Number of the page in it, counted from 1.
        label: The most probable class; None for a page that cannot be read.
        confidence: Its probability.
        probabilities: Of all classes by name, the most probable first; empty for a page that cannot be read.
        review: Whether a person should look at it: unreadable, unknown, or less certain than the threshold; None where
            no rule says so.
        error: Why it cannot be read; empty where it was.
        unknown: Probability of belonging to no class; None where that is not known.
        is_unknown: Whether it is called unknown.
        decision: What becomes of it: the name of a class, `unknown`, `review` or `unreadable`.
        turn: Degrees clockwise by which the page lies turned: 0, 90, 180 or 270; None where that cannot be told.
        mirrored: Whether it is mirrored (left and right, before it was turned); None where that cannot be told.
    """

    path: str | None
    page: int
    label: str | None
    confidence: float
    probabilities: Mapping[str, float]
    review: bool | None
    error: str = ""
    unknown: float | None = None
    is_unknown: bool = False
    decision: str = ""
    turn: int | None = None
    mirrored: bool | None = None

    def top(self, k: int = 3) -> tuple[tuple[str, float], ...]:
        """The `k` most probable classes with their probabilities."""
        return tuple(self.probabilities.items())[:k]
