"""What `watch --once` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class WatchResult:
    """What became of the files in the watched folder.

    Attributes:
        model: Run or checkpoint that predicted.
        handled: Files that were sorted.
        classes: How many of them each class got, with those that need review.
        needs_review: How many of them need review.
        unreadable: How many of them could not be read.
        unknown: How many of them are called unknown.
        packets: How many of them were split into several documents, which `classes`, `needs_review` and `unknown` count one by one.
        parts: How many documents these were.
        duplicates: Files with the content of one that was sorted before; they were not sorted again.
        left_out: How many files of each kind are no pages, such as `.docx`.
        output: The sorted tree.
        untold: How many files, or documents in packets, the command of `--exec` failed for.
    """

    model: str
    handled: int
    classes: Mapping[str, int]
    needs_review: int
    unreadable: int
    unknown: int
    duplicates: int
    output: Path
    packets: int = 0
    parts: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    untold: int = 0
