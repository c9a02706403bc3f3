"""Page numbers as pages print them: "Page 2 of 5", "Seite 2/5", "- 3 -", or a number on a line of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EDGE_LINES = 3  # at the top and at the bottom of a page, where running headers, footers and page numbers stand
MOST_PAGES = 2000  # a larger number on a line of its own is a year or an amount
_WORD = r"(?:page|pages|seite|pagina|página|pág|sayfa|strona|sida|side|blatt|sheet|p|s|第|페이지|쪽|ページ|पृष्ठ|صفحه|صفحة|trang)"
_OF = r"(?:of|von|de|di|sur|du|van|of total|av|af|z|/|／|中|의)"
_COUNTED = re.compile(rf"(?<!\d)(\d{{1,4}})\s*(?:{_OF})\s*(\d{{1,4}})(?!\d)", re.IGNORECASE)
_NAMED = re.compile(rf"(?<!\w){_WORD}\.?\s*:?\s*(\d{{1,4}})(?!\d)", re.IGNORECASE)
_NAMED_AFTER = re.compile(r"(?<!\d)(\d{1,4})\s*(?:페이지|쪽|ページ|頁|页)")
_ALONE = re.compile(r"[\s\-–—|·•\[\](){}<>]*(\d{1,4})[\s\-–—|·•\[\](){}<>.]*")


@dataclass(frozen=True)
class PageNumber:
    """A number that a page may bear.

    Attributes:
        number: Of the page.
        total: Number of pages that stands beside it; 0 where none does.
        sure: Whether a word or a total says that it is a page number.
    """

    number: int
    total: int = 0
    sure: bool = False


def edge_lines(text: str) -> tuple[list[str], list[str]]:
    """The first and the last `EDGE_LINES` lines of a page that hold anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[:EDGE_LINES], lines[-EDGE_LINES:]


def page_numbers(text: str) -> frozenset[PageNumber]:
    """All numbers that the edges of a page may name as its own."""
    first, last = edge_lines(text)
    return frozenset(_numbers_in([*first, *last]))


def _numbers_in(lines: Iterable[str]) -> Iterable[PageNumber]:
    for line in lines:
        counted = [(int(number), int(total)) for number, total in _COUNTED.findall(line)]
        yield from (PageNumber(number, total, True) for number, total in counted if 1 <= number <= total <= MOST_PAGES)
        if not counted:
            for found in (*_NAMED.findall(line), *_NAMED_AFTER.findall(line)):
                yield PageNumber(int(found), 0, True)
        if (alone := _ALONE.fullmatch(line)) and 1 <= int(alone[1]) <= MOST_PAGES:
            yield PageNumber(int(alone[1]))


def number_cues(before: frozenset[PageNumber], after: frozenset[PageNumber]) -> Sequence[float]:
    """What the numbers of two neighbouring pages say, each 0 or 1.

    Returns:
        Whether the number continues; continues with the same total; the second page is surely number 1; may be number 1;
        the first page is the last of its total; both are surely numbered, and the number does not go on.
    """
    go_on = [(one, other) for one in before for other in after if other.number == one.number + 1]
    same_total = any(one.total == other.total > 0 for one, other in go_on)
    goes_on = any(one.total == other.total for one, other in go_on)
    sure = [{one.number for one in page if one.sure} for page in (before, after)]
    breaks = bool(sure[0]) and bool(sure[1]) and not any(number + 1 in sure[1] for number in sure[0])
    return (
        float(goes_on),
        float(same_total),
        float(1 in sure[1]),
        float(any(one.number == 1 for one in after)),
        float(any(one.number == one.total for one in before)),
        float(breaks),
    )
