"""What became of the files in a watched folder, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from docclf_cli.tasks.predict.page_predictions import UNKNOWN


@dataclass
class Tally:
    """Counts since the start, as in `WatchResult`."""

    handled: int = 0
    needs_review: int = 0
    unreadable: int = 0
    unknown: int = 0
    duplicates: int = 0
    packets: int = 0
    parts: int = 0
    classes: Counter[str] = field(default_factory=Counter)

    def add(self, copies: Sequence[Mapping[str, Any]], is_packet: bool) -> None:
        """Count a file.

        Args:
            copies: What was written for it (`telling.copies_of`).
            is_packet: Whether these are the documents of a packet.
        """
        self.handled += 1
        if is_packet:
            self.packets += 1
            self.parts += len(copies)
        for copy in copies:
            document = copy["answer"]["document"]
            self.needs_review += bool(document["needs_review"])
            self.unreadable += document["predicted"] is None
            self.unknown += is_unknown(document)
            if document["predicted"] is not None:
                self.classes[document["predicted"]] += 1

    def summary(self, arriving: int) -> str:
        """The counts as one line, with the number of files that still arrive."""
        return (
            f"{self.handled:,} files sorted, {self.needs_review:,} of them to review, {self.unknown:,} unknown, "
            f"{self.unreadable:,} unreadable, {self.packets:,} split into {self.parts:,} documents, "
            f"{self.duplicates:,} duplicates, {arriving:,} arriving"
        )


def is_unknown(document: Mapping[str, Any]) -> bool:
    """Whether the answer about a file calls it unknown; a class may have this name, and earlier journals do not say."""
    return document.get("decision") == UNKNOWN and bool(document["needs_review"])
