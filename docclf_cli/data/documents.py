"""The index of a set of pages: IDs, files, labels, groups."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class DocumentIndex:
    """Pages in the order of their source.

    Attributes:
        root: Folder that no page may leave.
        ids: Object array of `str` [n], each once.
        paths: Object array of `str` [n]: image files relative to the folder `below`.
        targets: int64 [n] class indices; None for unlabelled pages.
        class_names: Names along the class axis.
        groups: Text [n]: pages that belong together; None where each page stands for itself.
        below: Folder of the image files, relative to `root`.
    """

    root: Path
    ids: np.ndarray
    paths: np.ndarray
    targets: np.ndarray | None
    class_names: tuple[str, ...]
    groups: np.ndarray | None = None
    below: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, row: int) -> Path:
        """The image file of a row."""
        return self.root / self.below / str(self.paths[row])

    def take(self, rows: np.ndarray | Sequence[int]) -> DocumentIndex:
        """The given rows (indices or a boolean mask), in that order."""
        pick = np.asarray(rows)
        return replace(
            self,
            ids=self.ids[pick],
            paths=self.paths[pick],
            targets=None if self.targets is None else self.targets[pick],
            groups=None if self.groups is None else self.groups[pick],
        )

    def counts(self) -> np.ndarray:
        """Pages per class, int64 [num_classes].

        Raises:
            ValueError: The pages have no labels.
        """
        if self.targets is None:
            raise ValueError("these pages have no labels")
        return np.bincount(self.targets, minlength=len(self.class_names))

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits for what the index says (not for the content of the images)."""
        digest = hashlib.sha256("\0".join((self.below, *self.class_names)).encode())
        for column in (self.ids, self.paths, self.groups):
            digest.update(b"\1" if column is None else "\0".join(column.tolist()).encode())
        digest.update(b"\1" if self.targets is None else np.ascontiguousarray(self.targets, np.int64).tobytes())
        return digest.hexdigest()[:16]
