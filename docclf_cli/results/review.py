"""What `review` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReviewResult:
    """How far a review is; the decisions are in its files.

    Attributes:
        folder: Where the journal and the tables are.
        source: What is reviewed.
        items: Pages, sets of near duplicates, and uncertain cuts of packets that were to be decided.
        labelled: How many have a label now; of cuts, how many are decided.
        unknown: How many people could not or would not label.
        skipped: How many were put off; they come again.
        left: How many are not decided.
        suggested: Labels and cuts with a suggestion.
        confirmed: How many of these are as suggested.
        classes: All classes, also new ones.
        of_cuts: Whether people decide where packets are cut, rather than labels.
        files: What was written, most useful first; the journal last.
        next_commands: Commands that use the labels.
    """

    folder: Path
    source: Path
    items: int
    labelled: int
    unknown: int
    skipped: int
    left: int
    suggested: int
    confirmed: int
    classes: tuple[str, ...]
    of_cuts: bool
    files: tuple[Path, ...]
    next_commands: tuple[str, ...]
