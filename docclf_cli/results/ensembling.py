"""What `ensemble` and `tta` return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from docclf_cli.results.metrics import Difference, Estimate


@dataclass(frozen=True)
class SetScores:
    """Metrics on one set of pages, and the paired difference to the baseline.

    Attributes:
        metrics: The headline ones (`accuracy`, `f1_macro`, `log_loss`) with 95 % intervals.
        pages: How many pages were scored.
        difference: Of the monitored metric; None for the baseline itself, or without a baseline.
    """

    metrics: Mapping[str, Estimate]
    pages: int
    difference: Difference | None = None


@dataclass(frozen=True)
class ScoreRow:
    """A member, a method or a view with its scores.

    Attributes:
        name: Its name.
        held_out: On pages that no member was trained on (fitted methods: nested cross-validation).
        test: On labelled test pages; nothing is chosen on them.
        weights: Of a method, the weight of each member; None where there are no fixed weights.
    """

    name: str
    held_out: SetScores | None
    test: SetScores | None
    weights: Mapping[str, float] | None = None


@dataclass(frozen=True)
class EnsembleResult:
    """Members and methods side by side.

    Attributes:
        run: The folder of this ensemble.
        monitor: The metric that choices and advice follow.
        best_member: The member that is best on held-out pages; None where there are none.
        method: The method whose predictions were written.
        members: One row each.
        methods: One row each.
        tta: The same method with test-time augmentation of its members, compared with the method without it;
            None without views.
        disagreement: Share of pages on which two members name different classes.
        error_correlation: Correlation of two members' errors; None without labelled pages.
        compared_on: The pages that both were computed on.
        advice: One sentence: whether the ensemble is worth its cost.
        notes: Caveats about the metrics.
        split: Which pages were predicted.
        pages: How many.
        unreadable: How many of them could not be read.
        max_unreadable: Share of them that may be.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        files: What was written, most useful first.
        precision: Number format of each member (fp32, bf16 or fp16).
    """

    run: Path
    monitor: str
    best_member: str | None
    method: str
    members: tuple[ScoreRow, ...]
    methods: tuple[ScoreRow, ...]
    tta: ScoreRow | None
    disagreement: tuple[tuple[float, ...], ...]
    error_correlation: tuple[tuple[float, ...], ...] | None
    compared_on: str
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
        views: One row each, compared with the unchanged page.
        merged: The merged views.
        merged_views: Names of the views that were merged.
        pruned_views: Names of the views that were dropped.
        advice: One sentence: whether the views are worth their cost.
        notes: Caveats about the metrics.
        split: Which pages were predicted.
        pages: How many.
        unreadable: How many of them could not be read.
        max_unreadable: Share of them that may be.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        files: What was written.
        precision: Number format of the predictions (fp32, bf16 or fp16).
    """

    checkpoint: Path
    monitor: str
    merge: str
    views: tuple[ScoreRow, ...]
    merged: ScoreRow
    merged_views: tuple[str, ...]
    pruned_views: tuple[str, ...]
    advice: str
    notes: tuple[str, ...]
    split: str
    pages: int
    unreadable: int
    max_unreadable: float
    left_out: Mapping[str, int]
    files: tuple[Path, ...]
    precision: str
