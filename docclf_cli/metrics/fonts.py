"""A font that can draw the class names, or names that the font can draw."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache

logger = logging.getLogger("docclf")
_HANGUL = "가"
_PREFERRED = (
    "NanumGothic",
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "UnDotum",
    "Baekmuk",
)
# Revised Romanisation of Korean (Ministry of Culture 2000), letter by letter.
_INITIAL = ["g", "kk", "n", "d", "tt", "r", "m", "b", "pp", "s", "ss", "", "j", "jj", "ch", "k", "t", "p", "h"]
_VOWEL = [
    "a",
    "ae",
    "ya",
    "yae",
    "eo",
    "e",
    "yeo",
    "ye",
    "o",
    "wa",
    "wae",
    "oe",
    "yo",
    "u",
    "wo",
    "we",
    "wi",
    "yu",
    "eu",
    "ui",
    "i",
]
_FINAL = [
    "",
    "k",
    "k",
    "k",
    "n",
    "n",
    "n",
    "t",
    "l",
    "k",
    "m",
    "l",
    "l",
    "l",
    "p",
    "l",
    "m",
    "p",
    "p",
    "t",
    "t",
    "ng",
    "t",
    "t",
    "k",
    "t",
    "p",
    "t",
]


def font_family(texts: Iterable[str]) -> list[str]:
    """Font families to draw `texts` with: a Hangul font first where one is needed and there."""
    korean = hangul_family() if any(map(has_hangul, texts)) else None
    return [family for family in (korean, "DejaVu Sans") if family]


def drawable(text: str) -> str:
    """The text itself, or romanised where it has Hangul and the system has no font for it."""
    if not has_hangul(text) or hangul_family():
        return text
    _say_once()
    return romanised(text)


@cache
def hangul_family() -> str | None:
    """The family of an installed font with Hangul, or None."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    fonts = {entry.name: entry.fname for entry in font_manager.fontManager.ttflist}
    for name in (*(name for name in _PREFERRED if name in fonts), *sorted(fonts)):
        try:
            if FT2Font(fonts[name]).get_char_index(ord(_HANGUL)):
                return name
        except (OSError, RuntimeError):
            continue
    return None


def has_hangul(text: str) -> bool:
    """Whether any character is a Hangul syllable."""
    return any("가" <= char <= "힣" for char in text)


def romanised(text: str) -> str:
    """Hangul syllables in Latin letters, everything else as it is."""
    return "".join(_syllable(char) if "가" <= char <= "힣" else char for char in text)


def _syllable(char: str) -> str:
    # Unicode lays syllables out as initial x vowel x final (The Unicode Standard, 3.12).
    number = ord(char) - ord("가")
    return _INITIAL[number // 588] + _VOWEL[number % 588 // 28] + _FINAL[number % 28]


@cache
def _say_once() -> None:
    logger.warning("no font with Hangul is installed, so class names are romanised in plots (Debian: fonts-nanum)")
