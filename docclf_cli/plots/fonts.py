"""A font that can draw the class names, or names that the font can draw."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from functools import cache

from matplotlib.font_manager import findfont, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font

logger = logging.getLogger("docclf")

BASE = "DejaVu Sans"  # comes with matplotlib
_PREFERRED = ("NanumGothic", "Noto Sans CJK KR", "Noto Sans KR", "Malgun Gothic", "Apple SD Gothic Neo", "UnDotum")
_NO_LETTERS = ("Last Resort",)  # draws a placeholder for every character there is

# Revised Romanisation of Korean (Ministry of Culture and Tourism 2000), letter by letter.
_INITIALS = "g kk n d tt r m b pp s ss  j jj ch k t p h".split(" ")
_VOWELS = "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i".split(" ")
_FINALS = " k k k n n n t l k m l l l p l m p p t t ng t t k t p t".split(" ")


def font_families(texts: Iterable[str]) -> list[str]:
    """Font families that together draw `texts`, in the order in which they are asked for a character."""
    strange = _missing(findfont(BASE), frozenset(filter(str.isprintable, "".join(texts))))
    hangul = frozenset(filter(is_hangul, strange))
    found = [_family_for(chars) for chars in (hangul, strange - hangul) if chars]
    return [BASE, *(family for family in found if family)]


def drawable(texts: Iterable[str]) -> list[str]:
    """The texts themselves, or with Hangul romanised if no installed font has it; that is said once."""
    texts = list(texts)
    hangul = frozenset(filter(is_hangul, "".join(texts)))
    if not hangul or _family_for(hangul):
        return texts
    _say_once()
    return [romanised(text) for text in texts]


def is_hangul(char: str) -> bool:
    """Whether a character is a Hangul syllable."""
    return "가" <= char <= "힣"


def romanised(text: str) -> str:
    """Hangul syllables in Latin letters, everything else as it is."""
    return "".join(_syllable(char) if is_hangul(char) else char for char in text)


def _syllable(char: str) -> str:
    # Unicode lays syllables out as initial x vowel x final (The Unicode Standard, 3.12).
    number = ord(char) - ord("가")
    return _INITIALS[number // 588] + _VOWELS[number % 588 // 28] + _FINALS[number % 28]


@cache
def _family_for(chars: frozenset[str]) -> str | None:
    """The first installed family that has all the characters; well-known ones are asked first."""
    return _listed_family(chars) or (_listed_family(chars) if _list_new_fonts() else None)


def _listed_family(chars: frozenset[str]) -> str | None:
    files = {entry.name: entry.fname for entry in fontManager.ttflist if not entry.name.startswith(_NO_LETTERS)}
    known = [name for name in _PREFERRED if name in files]
    return next((name for name in (*known, *sorted(files)) if not _missing(files[name], chars)), None)


def _list_new_fonts() -> bool:
    """Add fonts that were installed after matplotlib made its list, which it keeps for good; whether there are any."""
    listed = {entry.fname for entry in fontManager.ttflist}
    found = [file for file in findSystemFonts() if file not in listed]
    for file in found:
        with contextlib.suppress(OSError, RuntimeError):
            fontManager.addfont(file)
    return bool(found)


def _missing(file: str, chars: frozenset[str]) -> frozenset[str]:
    """The characters that a font file cannot draw."""
    try:
        font = FT2Font(file)
    except (OSError, RuntimeError):  # in matplotlib's list, but removed since or not readable
        return chars
    return frozenset(char for char in chars if not font.scalable or not font.get_char_index(ord(char)))


@cache
def _say_once() -> None:
    logger.warning("no font with Hangul is installed, so class names are romanised in plots (Debian: fonts-nanum)")
