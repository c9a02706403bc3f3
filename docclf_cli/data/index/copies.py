"""Find files with the same content; only files of equal size are read."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

_BLOCK = 1 << 20


def copies_of(files: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """For each file, the position in `known` of a file with the same content, int64 [n]; -1 where there is none.

    A file that cannot be read has no copies.
    """
    of_size: dict[int, list[int]] = defaultdict(list)
    for place, path in enumerate(known):
        if (size := _size(path)) is not None:
            of_size[size].append(place)
    digests: dict[str, bytes | None] = {}
    found = np.full(len(files), -1, dtype=np.int64)
    for row, path in enumerate(files):
        candidates = of_size.get(_size(path) or -1, ())  # empty files are no pages
        found[row] = next((place for place in candidates if _same(path, known[place], digests)), -1)
    return found


def _same(path: str, other: str, digests: dict[str, bytes | None]) -> bool:
    if path == other:
        return True
    for each in (path, other):
        if each not in digests:
            digests[each] = _digest(each)
    return digests[path] is not None and digests[path] == digests[other]


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116  (of millions, pathlib takes much longer)
    except OSError:
        return None


def _digest(path: str) -> bytes | None:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return None
    return digest.digest()
