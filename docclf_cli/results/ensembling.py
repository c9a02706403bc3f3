"""What `ensemble` and `tta` return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from docclf_cli.results.metrics import Difference, Estimate


@dataclass(frozen=True)
class Measured:
    """Headline metrics on one set of pages, and the paired difference to what they are compared with.

    Attributes:
        metrics: The headline ones (`accuracy`, `f1_macro`, `log_loss`) with 95 % intervals.
        pages: How many pages were scored.
        difference: Of the monitored metric; None for what the others are compared with, or where nothing is.
    """

    metrics: Mapping[str, Estimate]
    pages: int
    difference: Difference | None = None


@dataclass(frozen=True)
class Line:
    """A member, a method or a view with its scores.

    Attributes:
        name: What it is called.
        held_out: On pages that no member was trained on (fitted methods: nested cross-validation).
        test: On labelled test pages; these only report, nothing is chosen on them.
        weights: Of a method, the weight of each member; None where there is no single one.
    """

    name: str
    held_out: Measured | None
    test: Measured | None
    weights: Mapping[str, float] | None = None


@dataclass(frozen=True)
class EnsembleResult:
    """Members and methods side by side.

    Attributes:
        run: The folder of this ensemble.
        monitor: The metric that choices and advice follow.
        best_member: The member that is best on held-out pages; None where there are none.
        method: The method that was written.
        members: One line each.
        methods: One line each.
        tta: The written method on members that look at each page in several views, compared with the plain method;
            None without views.
        disagreement: Share of pages on which two members name different classes.
        error_correlation: Correlation of two members' mistakes; None where no page is labelled.
        alike_on: Which pages these two are about.
        advice: In a sentence, whether the ensemble is worth it.
        notes: What else must be known to read the metrics.
        split: Which pages were predicted.
        pages: How many.
        unreadable: How many of them could not be read.
        max_unreadable: Share of them that may be.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        files: What was written, most useful first.
        precision: Number format that each member predicted in.
    """

    run: Path
    monitor: str
    best_member: str | None
    method: str
    members: tuple[Line, ...]
    methods: tuple[Line, ...]
    tta: Line | None
    disagreement: tuple[tuple[float, ...], ...]
    error_correlation: tuple[tuple[float, ...], ...] | None
    alike_on: str
    advice: str
    notes: tuple[str, ...]
    split: str
    pages: int
    unreadable: int
    max_unreadable: float
    left_out: Mapping[str, int]
    files: tuple[Path, ...]
    precision: Mapping[str, str]


@dataclass(frozen=True)
class TTAResult:
    """Views side by side.

    Attributes:
        checkpoint: Checkpoint file, or folder of a folds run.
        monitor: The metric that choices and advice follow.
        merge: How views are merged.
        views: One line each, compared with the plain page.
        merged: All views together (with pruning: the kept ones).
        kept: Names of the views that were merged.
        pruned: Names of those that were dropped.
        advice: In a sentence, whether the views are worth it.
        notes: What else must be known to read the metrics.
        split: Which pages were predicted.
        pages: How many.
        unreadable: How many of them could not be read.
        max_unreadable: Share of them that may be.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        files: What was written.
        precision: Number format that the predictions were made in.
    """

    checkpoint: Path
    monitor: str
    merge: str
    views: tuple[Line, ...]
    merged: Line
    kept: tuple[str, ...]
    pruned: tuple[str, ...]
    advice: str
    notes: tuple[str, ...]
    split: str
    pages: int
    unreadable: int
    max_unreadable: float
    left_out: Mapping[str, int]
    files: tuple[Path, ...]
    precision: str
