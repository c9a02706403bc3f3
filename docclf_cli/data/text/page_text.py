"""The text of a page, and when text is worth nothing."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Literal

TextMode = Literal["off", "layer", "ocr", "auto"]
MODES: tuple[TextMode, ...] = ("off", "layer", "ocr", "auto")
LAYER = "layer"  # the source of text that the PDF holds itself
MAX_CHARACTERS = 20_000  # of a page; a dense page of small print has about 8,000
FEWEST_CHARACTERS = 4  # not counting spaces; a page number alone says nothing about the page
MOST_GARBLED = 0.3  # formulas have brackets from the private use area among their letters
FEWEST_LETTERS = 0.2
_LEADER = re.compile(r"([-._=*·…~])(?:\s?\1){3,}")  # dots of a table of contents, lines to sign on
_BROKEN = frozenset({"Cc", "Cn", "Co", "Cs"})  # control, unassigned, private use, lone surrogates


@dataclass(frozen=True)
class PageText:
    """The text of a page.

    Attributes:
        text: Empty where the page has none, or none that can be used.
        source: `layer` (of the PDF), the name of the OCR engine, or empty where there is no text.
    """

    text: str = ""
    source: str = ""

    def __bool__(self) -> bool:
        return bool(self.text)


NO_TEXT = PageText()


def cleaned(raw: str) -> str:
    """Text as it is kept: composed (NFKC: ligatures become letters), without control characters, at most `MAX_CHARACTERS`.

    Lines stay lines; runs of spaces, and of one sign, become one. Text that says nothing (`is_garbled`) becomes empty.
    """
    text = _LEADER.sub(r"\1", unicodedata.normalize("NFKC", raw[: 2 * MAX_CHARACTERS]))
    lines = (" ".join(line.split()) for line in text.splitlines())
    text = "\n".join(line for line in lines if line)[:MAX_CHARACTERS]
    if is_garbled(text):
        return ""
    return "".join(letter for letter in text if letter == "\n" or unicodedata.category(letter) not in _BROKEN)


def is_garbled(text: str) -> bool:
    """Whether a text is no text: too short, of characters that mean nothing (a font without a table), or of too few letters."""
    counts = Counter(text)
    total = sum(count for letter, count in counts.items() if not letter.isspace())
    if total < FEWEST_CHARACTERS:
        return True
    kinds: Counter[str] = Counter()
    for letter, count in counts.items():
        kind = "garbled" if letter == "\ufffd" or unicodedata.category(letter) in _BROKEN else ""
        kinds[kind or ("letter" if letter.isalpha() else "other")] += 0 if letter.isspace() else count
    return kinds["garbled"] > MOST_GARBLED * total or kinds["letter"] < FEWEST_LETTERS * total
