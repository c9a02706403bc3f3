"""Names as they are compared, and short texts about counts.

Hangul that is written composed (NFC) and decomposed (NFD, as macOS writes it) is one name.

Class names, labels and groups are composed where they are read. An ID stays spelled as its file or table spells it,
and is composed where it is compared.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def normalised(name: str) -> str:
    """A class name or label as it is compared: composed and trimmed."""
    return composed(name).strip()


def and_more(shown: Sequence[str], count: int) -> str:
    """`a, b, … and 7 more`, where `shown` are the first of `count`."""
    listed = ", ".join(shown)
    return f"{listed}, … and {count - len(shown)} more" if count > len(shown) else listed


def split_name(split: str) -> str:
    """What people call the pages of a split."""
    return {"val": "held-out", "train": "training"}.get(split, split)


def plural(count: int, one: str, many: str) -> str:
    """`1 page`, `2 pages`."""
    return f"{count} {one if count == 1 else many}"


class Message(str):
    """An English text with values in it, which the display can say in another language.

    Attributes:
        template: The text with `{names}` in the place of the values.
        values: The values by name, some of which may be messages; a template of another language may use others of them.
    """

    template: str
    values: Mapping[str, object]

    @classmethod
    def of(cls, template: str, **values: object) -> Message:
        """Put values into a text."""
        message = cls(template.format(**values) if values else template)
        message.template = template
        message.values = values
        return message

    @classmethod
    def counted(cls, count: int, one: str, many: str, **values: object) -> Message:
        """One of two texts about a number, which both name `{count}`."""
        return cls.of(one if count == 1 else many, count=count, **values)

    @classmethod
    def joined(cls, parts: Sequence[str], between: str = " ") -> Message:
        """Several texts, one after the other; those that are messages are said in another language too."""
        names = [f"part{number}" for number in range(len(parts))]
        return cls.of(between.join(f"{{{name}}}" for name in names), **dict(zip(names, parts, strict=True)))


def format_bytes(count: float) -> str:
    """Bytes in decimal units, as S3 bills them ("1.5 MB")."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"


def all_composed(names: np.ndarray) -> np.ndarray:
    """The names of an array, each composed: an object array of `str` of the same length."""
    import numpy as np

    found = np.empty(len(names), dtype=object)
    found[:] = [composed(name) for name in names.tolist()]
    return found
