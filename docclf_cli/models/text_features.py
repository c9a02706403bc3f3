"""From text to numbers: hashed n-grams of words and of letters, of the whole page and of its head."""

from __future__ import annotations

import itertools
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

BITS = 18  # of the hash of a field: 262,144 places
SIZE = 1 << BITS
HEAD = 300  # characters; what a page is stands at its top: titles, letterheads, "Invoice"
LONGEST_WORD = 30
_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d")


class TextPage(NamedTuple):
    """The text of a page, and whether it is the first one of its file, which says most about what the file is."""

    text: str
    first: bool = True


@dataclass(frozen=True)
class TextField:
    """One kind of features of a page.

    Attributes:
        name: What explanations call it.
        head: Whether only the first `HEAD` characters count.
        letters: N-grams of 2 to 5 letters within words; otherwise words, and pairs of neighbours.
    """

    name: str
    head: bool
    letters: bool

    def ngrams(self, text: str) -> Iterator[str]:
        """The n-grams of a text, in its order, each as often as it occurs."""
        return (ngram for _, ngram in self.with_words(text))

    def with_words(self, text: str) -> Iterator[tuple[str, str]]:
        """The same, each with the word that it is in; of pairs of words the pair."""
        words = [word[:LONGEST_WORD] for word in _WORD.findall(_folded(text[:HEAD] if self.head else text))]
        if not self.letters:
            yield from zip(words, words, strict=True)
            for pair in map(" ".join, itertools.pairwise(words)):
                yield pair, pair
            return
        for word in words:
            padded = f" {word} "
            for length in range(2, 6):
                if length >= len(padded):
                    yield word, padded
                    break
                for start in range(len(padded) - length + 1):
                    yield word, padded[start : start + length]


FIELDS = (
    TextField("words", head=False, letters=False),
    TextField("letters", head=False, letters=True),
    TextField("words at the top", head=True, letters=False),
    TextField("letters at the top", head=True, letters=True),
)


def _folded(text: str) -> str:
    # Numbers differ from page to page; that there are some, and how long they are, does not.
    return _DIGITS.sub("0", text.lower())


def place_of(ngram: str, field: int) -> int:
    """The column of an n-gram of a field; different ones may share one, which is rare enough to do no harm."""
    return field * SIZE + (zlib.crc32(ngram.encode("utf-8", "surrogatepass")) & (SIZE - 1))


def counted(texts: Sequence[str]) -> Any:
    """How often each n-gram occurs in each text, damped: 1 + ln(count), so that repeating a word gains little.

    Returns:
        A sparse matrix (scipy CSR, float32) [n, SIZE * fields].
    """
    from scipy.sparse import csr_matrix

    columns: list[int] = []
    counts: list[int] = []
    ends = [0]
    for text in texts:
        for number, field in enumerate(FIELDS):
            places: Counter[int] = Counter()
            for ngram, count in Counter(field.ngrams(text)).items():
                places[place_of(ngram, number)] += count
            columns += places
            counts += places.values()
        ends.append(len(columns))
    damped = 1 + np.log(np.array(counts, dtype=np.float32))
    return csr_matrix(
        (damped, np.array(columns, np.int64), np.array(ends, np.int64)), shape=(len(texts), SIZE * len(FIELDS))
    )
