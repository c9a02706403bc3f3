"""Counts of files and folders that are not read as pages, by kind, so that none is skipped in silence."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePath

from docclf_cli.data.images.decode import HEIC_HINT, HEIC_SUFFIXES

logger = logging.getLogger("docclf")
FOLDER = "folder"
LINKED_FOLDER = "linked folder"
NO_SUFFIX = "file without a suffix"
UNLISTED = "image that the CSV does not list"
_PLURALS = {NO_SUFFIX: "files without a suffix", UNLISTED: "images that the CSV does not list"}
_SUFFIX = re.compile(r"\.[^\W_]{1,8}")  # "Dr. Kim's letter" has none, whatever pathlib says
_SHOWN = 8


@dataclass
class LeftOut:
    """Counts of what was left out.

    Attributes:
        counts: How many of each kind: a suffix such as `.heic`, or words in the singular such as `linked folder`.
    """

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, count: int = 1) -> None:
        """Count something of a kind."""
        if count:
            self.counts[kind] += count

    def add_file(self, name: str) -> None:
        """Count a file by its suffix."""
        suffix = PurePath(name).suffix.lower()
        self.add(suffix if _SUFFIX.fullmatch(suffix) else NO_SUFFIX)

    def update(self, other: LeftOut) -> None:
        """Add the counts of another."""
        self.counts.update(other.counts)

    def joined(self, other: LeftOut) -> LeftOut:
        """The sum of both counts."""
        return LeftOut(self.counts + other.counts)

    def __bool__(self) -> bool:
        """Whether anything was left out."""
        return bool(self.counts)

    def warn(self, where: object = "") -> None:
        """Log the counts as a warning, where anything was left out."""
        if self:
            photos = any(self.counts[suffix] for suffix in HEIC_SUFFIXES)
            hint = f" (photos of phones are read after `{HEIC_HINT}`)" if photos else ""
            logger.warning("%s%s%s", f"{where}: " if where else "", self.sentence(), hint)

    def sentence(self) -> str:
        """`left out: 3 .heic, 1 .txt, 2 linked folders`, the most frequent first; empty where nothing was."""
        if not self:
            return ""
        kinds = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        shown = []
        for kind, count in kinds[:_SHOWN]:
            singular = count == 1 or kind.startswith(".")
            shown.append(f"{count:,} {kind if singular else _PLURALS.get(kind, f'{kind}s')}")
        others = sum(count for _, count in kinds[_SHOWN:])
        return f"left out: {', '.join(shown)}{f' and {others:,} of other kinds' if others else ''}"
