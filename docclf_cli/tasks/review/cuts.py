"""Uncertain cuts of `split-packets` as a queue, and the table of what people decided about them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docclf_cli.data.index.tables import read_table
from docclf_cli.errors import InputError
from docclf_cli.files import fingerprint_of, sha256_of
from docclf_cli.results.packets import CUT, JOIN
from docclf_cli.tasks.review.queue import BY_FILE, CUTS, UNCERTAIN, ReviewItem, ReviewPage, ReviewQueue, file_state

CUTS_FILE = "review_cuts.csv"
COLUMNS = ("packet", "sha256", "page", "decision", "suggested", "confidence", "who", "when")
_NEEDED = ("packet", "part", "first_page", "uncertain")
AGAIN = "make it again: docclf split-packets RUN PACKET.pdf --output documents.csv"


def is_of_packets(path: Path) -> bool:
    """Whether a file is what `split-packets` wrote: a table, or its JSON."""
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return set(_NEEDED) <= set(re.split("[,;\t]", file.readline().strip()))
    return path.suffix.lower() in (".json", ".jsonl") and path.is_file()


def queue_of_cuts(source: Path) -> ReviewQueue:
    """Each place where it is uncertain whether a document begins, with the pages on both sides of it.

    Args:
        source: A table (.csv, .jsonl) or the JSON of `split-packets`.

    Raises:
        InputError: It is damaged, or its packets are not found.
    """
    rows, model = _rows(source)
    parts = dict[str, list[_Part]]()
    for number, row in enumerate(rows, 1):
        try:
            parts.setdefault(str(row["packet"]), []).append(_Part.of(row))
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{source}: document {number} is damaged: {error}", AGAIN) from error
    items = [item for packet, found in parts.items() for item in _items(packet, found, source)]
    return ReviewQueue(source, tuple(items), (), model, orders=(BY_FILE, UNCERTAIN))


@dataclass(frozen=True)
class _Part:
    """A document as `split-packets` wrote it; without pages where the packet could not be opened."""

    first: int
    last: int
    label: str | None
    uncertain: Mapping[int, float | None]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> _Part:
        pages = [int(page) for page in _listed(row["uncertain"])]
        chances: list[float | None] = [float(share) for share in _listed(row.get("cut_probabilities"))]
        label = row.get("predicted", row.get("class"))
        return cls(
            int(row["first_page"] or 0),
            int(row["last_page"] or 0),
            str(label) if label else None,
            dict(zip(pages, chances or [None] * len(pages), strict=True)),
        )


def _listed(value: Any) -> list[Any]:
    """The values of a cell, which holds them with blanks between, or of JSON."""
    return value.split() if isinstance(value, str) else list(value or ())


def _rows(source: Path) -> tuple[list[Mapping[str, Any]], Path | None]:
    """The documents, and the run that found them where the file says so and it is still there."""
    if source.suffix.lower() == ".csv":
        table = read_table(source)
        return [{name: table[name][row] for name in table.columns} for row in range(len(table))], None
    text = source.read_text(encoding="utf-8")
    try:
        if source.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.splitlines()], None
        found = json.loads(text)
        return list(found["parts"]), Path(found["model"]) if Path(found["model"]).exists() else None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{source} is no JSON of `docclf split-packets`", AGAIN) from error


def _items(packet: str, parts: list[_Part], source: Path) -> Iterator[ReviewItem]:
    chances = {page: chance for part in parts for page, chance in part.uncertain.items()}
    if not chances:
        return
    firsts = {part.first for part in parts}
    label_of = {page: part.label for part in parts for page in range(part.first, part.last + 1)}
    path = Path(packet)
    path = (path if path.is_file() else source.parent / packet).absolute()
    if not path.is_file():
        raise InputError(f"{source}: there is no packet {packet}", "use the working folder in which it was split")
    for page, chance in sorted(chances.items()):
        suggested, other = (CUT, JOIN) if page in firsts else (JOIN, CUT)
        share = None if chance is None else (chance if suggested == CUT else 1 - chance)
        both = tuple(
            ReviewPage(f"{packet}#{number}", path, None, number - 1, label_of.get(number), packet, labelled=False)
            for number in (page - 1, page)
        )
        key = fingerprint_of(CUTS, packet, page)
        yield ReviewItem(key, CUTS, both, suggested, share, other, None if share is None else 1 - share)


@dataclass(frozen=True)
class DecidedCut:
    """A decision about an item, as the table of decisions is made of them."""

    item: ReviewItem
    decision: str
    suggested: str | None
    confidence: float | None
    who: str
    when: str


def cut_rows(decided: Iterator[DecidedCut], hash_of: Callable[[Path], str]) -> Iterator[dict[str, Any]]:
    """The rows of `review_cuts.csv`: `page` is the one with which a document begins, or does not.

    A packet is known by its content, so a table holds as well where the packet has another name or place.
    """
    for one in decided:
        page = one.item.pages[1]
        yield {
            "packet": page.group,
            "sha256": hash_of(page.path),
            "page": page.number + 1,
            "decision": one.decision,
            "suggested": one.suggested or "",
            "confidence": "" if one.confidence is None else f"{one.confidence:.6f}",
            "who": one.who,
            "when": one.when,
        }


class FileHashes:
    """SHA-256 of files, each read once as long as it does not change."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, tuple[int, int]], str] = {}

    def __call__(self, path: Path) -> str:
        """The SHA-256 of a file."""
        key = path, file_state(path)
        if key not in self._known:
            self._known[key] = sha256_of(path)
        return self._known[key]
