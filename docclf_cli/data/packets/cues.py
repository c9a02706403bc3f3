"""What one page shows of where documents begin and end, and how two neighbouring pages compare."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from dataclasses import dataclass

import numpy as np

from docclf_cli.data.packets.page_numbers import PageNumber, edge_lines, number_cues, page_numbers

BUCKETS = 4096  # hashed words and trigrams of a page
LONGEST_TEXT = 20_000  # characters of a page that are looked at
FEWEST_LETTERS = 20  # a page with fewer has no text to compare
BAND = (24, 96)  # rows and columns of a page's upper or lower band, as they are compared
TOP, BOTTOM = 0.16, 0.12  # shares of the page's height that these bands have
_INK = 48  # grey values darker than the paper
_WORD = re.compile(r"[^\W\d_]{2,}")
_DIGITS = re.compile(r"\d+")
IMAGE_CUES = (
    "top_alike", "bottom_alike", "top_ink_change", "fill_before", "fill_after", "start_after", "ink_change", "left_change",
    "right_change", "colour_change", "turned", "area_change", "shape_change",
)  # fmt: skip
TEXT_CUES = (
    "first_lines_alike", "last_lines_alike", "number_goes_on", "total_goes_on", "surely_one", "maybe_one", "last_of_total",
    "number_breaks", "begins_small", "ends_open", "length_before", "length_after", "heading_after",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class PageCues:
    """What is known of one page.

    Attributes:
        width: Of the page, in points or pixels.
        height: Likewise.
        top: Its upper band, float32 `BAND`, mean 0.
        bottom: Its lower band, likewise.
        layout: Share of the height above the first ink, share above the last ink (without the lower band), share of inked
            pixels, left and right edge of the ink as shares of the width, colour, ink of the upper band; float32 [7].
        words: Hashed words and trigrams, square roots of their counts, float32 [`BUCKETS`]; None for a page without text.
        first_lines: Trigrams of the first lines, digits alike.
        last_lines: Trigrams of the last lines.
        numbers: What may be its page number.
        begins_small: Whether its text begins within a sentence.
        ends_open: Whether its text ends within one.
        heading: Whether its first line is short and in capitals.
        length: Logarithm of the number of letters.
    """

    width: float
    height: float
    top: np.ndarray
    bottom: np.ndarray
    layout: np.ndarray
    words: np.ndarray | None = None
    first_lines: frozenset[str] = frozenset()
    last_lines: frozenset[str] = frozenset()
    numbers: frozenset[PageNumber] = frozenset()
    begins_small: bool = False
    ends_open: bool = False
    heading: bool = False
    length: float = 0.0

    @property
    def has_text(self) -> bool:
        """Whether there is text to compare."""
        return self.words is not None


def cues_of(page: np.ndarray, size: tuple[float, float], text: str = "") -> PageCues:
    """The cues of a page.

    Args:
        page: uint8 [S, S, 3], as the model sees it (letterboxed: the paper in the middle of a white square).
        size: Width and height of the page.
        text: What is written on it; empty where that is not known.
    """
    width, height = size
    paper = _paper(page, width, height)
    grey = paper.mean(axis=2)
    ink = grey < np.percentile(grey, 90) - _INK
    rows = np.flatnonzero(ink[: max(1, round(ink.shape[0] * (1 - BOTTOM)))].mean(axis=1) > 0.005)
    columns = np.flatnonzero(ink.mean(axis=0) > 0.005)
    spread = paper.max(axis=2).astype(np.float32) - paper.min(axis=2)
    top_rows = max(1, round(ink.shape[0] * TOP))
    layout = (
        rows[0] / ink.shape[0] if len(rows) else 1.0,
        (rows[-1] + 1) / ink.shape[0] if len(rows) else 0.0,
        ink.mean(),
        columns[0] / ink.shape[1] if len(columns) else 1.0,
        (columns[-1] + 1) / ink.shape[1] if len(columns) else 0.0,
        spread.mean() / 255,
        ink[:top_rows].mean(),
    )
    bottom_rows = max(1, round(ink.shape[0] * BOTTOM))
    image = PageCues(
        width, height, _band(grey[:top_rows]), _band(grey[-bottom_rows:]), np.array(layout, dtype=np.float32)
    )
    text = text[:LONGEST_TEXT]
    letters = sum(map(str.isalpha, text))
    if letters < FEWEST_LETTERS:
        return image
    first, last = edge_lines(text)
    body = text.strip()
    return PageCues(
        image.width, image.height, image.top, image.bottom, image.layout,
        words=hashed(text),
        first_lines=_trigrams(" ".join(first)),
        last_lines=_trigrams(" ".join(last)),
        numbers=page_numbers(text),
        begins_small=body[:1].islower(),
        ends_open=body[-1:] not in ".!?。:;)",
        heading=first[0].isupper() and len(first[0]) < 60,
        length=float(np.log1p(letters)),
    )  # fmt: skip


def hashed(text: str) -> np.ndarray:
    """Words and their trigrams, hashed and counted; square roots of the counts, float32 [`BUCKETS`].

    Scripts without spaces are compared by their trigrams.
    """
    counts: Counter[int] = Counter()
    for word in _WORD.findall(text.lower()):
        counts[zlib.crc32(word.encode()) % BUCKETS] += 1
        if len(word) > 12:
            counts.update(zlib.crc32(word[at : at + 3].encode()) % BUCKETS for at in range(len(word) - 2))
    found = np.zeros(BUCKETS, dtype=np.float32)
    found[list(counts)] = np.sqrt(list(counts.values()))
    return found


def image_cues(before: PageCues, after: PageCues) -> np.ndarray:
    """How the images of two neighbouring pages compare, float64 [len(`IMAGE_CUES`)]."""
    first, second = before.layout.astype(np.float64), after.layout.astype(np.float64)
    change = np.abs(first - second)
    area = np.log((after.width * after.height) / (before.width * before.height))
    shape = np.log((after.width / after.height) / (before.width / before.height))
    turned = (before.width > before.height) != (after.width > after.height)
    return np.array([
        _alike(before.top, after.top), _alike(before.bottom, after.bottom), change[6], first[1], second[1], second[0], change[2],
        change[3], change[4], change[5], float(turned), min(abs(area), 1.0), min(abs(shape), 1.0),
    ])  # fmt: skip


def text_cues(before: PageCues, after: PageCues) -> np.ndarray:
    """How the texts of two neighbouring pages compare, float64 [len(`TEXT_CUES`)]; both pages have text."""
    return np.array([
        _overlap(before.first_lines, after.first_lines), _overlap(before.last_lines, after.last_lines),
        *number_cues(before.numbers, after.numbers),
        float(after.begins_small), float(before.ends_open), before.length, after.length, float(after.heading),
    ])  # fmt: skip


def _paper(page: np.ndarray, width: float, height: float) -> np.ndarray:
    """The part of a letterboxed square that is paper."""
    side, longest = page.shape[0], max(width, height)
    across, down = max(1, round(side * width / longest)), max(1, round(side * height / longest))
    left, above = (side - across) // 2, (side - down) // 2
    return page[above : above + down, left : left + across]


def _band(grey: np.ndarray) -> np.ndarray:
    """A band of a page in a common size, blurred by it, with mean 0; float32 `BAND`."""
    rows = np.linspace(0, grey.shape[0], BAND[0] + 1).astype(int)[:-1]
    columns = np.linspace(0, grey.shape[1], BAND[1] + 1).astype(int)[:-1]
    band = grey[np.minimum(rows, grey.shape[0] - 1)][:, np.minimum(columns, grey.shape[1] - 1)].astype(np.float32)
    return band - band.mean()


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two bands, the best of small shifts; 0 where one is blank and 1 where both are."""
    blank = one.std() < 2, other.std() < 2
    if any(blank):
        return float(all(blank))
    best = -1.0
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            moved = np.roll(other, (down, across), (0, 1))
            best = max(best, float((one * moved).sum() / np.sqrt((one**2).sum() * (moved**2).sum())))
    return best


def _trigrams(text: str) -> frozenset[str]:
    text = _DIGITS.sub("#", text.lower())
    return frozenset(text[at : at + 3] for at in range(len(text) - 2))


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Share of the trigrams of the shorter text that are in both; 0 where one is empty."""
    return len(one & other) / max(1, min(len(one), len(other)))
