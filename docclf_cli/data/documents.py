"""The index of a set of pages: IDs, files, labels, groups."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from docclf_cli.data.left_out import LeftOut
from docclf_cli.errors import InputError


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
        left_out: What lies in the folders and is no page.
    """

    root: Path
    ids: np.ndarray
    paths: np.ndarray
    targets: np.ndarray | None
    class_names: tuple[str, ...]
    groups: np.ndarray | None = None
    below: str = ""
    left_out: LeftOut = field(default_factory=LeftOut)

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

    def joined(self, other: DocumentIndex) -> DocumentIndex:
        """These pages and then those of another index with the same classes.

        Raises:
            InputError: A page is in both.
        """
        if shared := set(self.ids.tolist()) & set(other.ids.tolist()):
            raise InputError(f"{len(shared)} pages are in both sets, such as {sorted(shared)[0]}")
        root = Path(os.path.commonpath([self.root.absolute(), other.root.absolute()]))
        sides = (self, other)
        paths = np.concatenate(
            [
                np.array([str(side.path(row).absolute().relative_to(root)) for row in range(len(side))], object)
                for side in sides
            ]
        )
        groups = None
        if any(side.groups is not None for side in sides):
            groups = np.concatenate(
                [(side.ids if side.groups is None else side.groups).astype(np.str_) for side in sides]
            )
        return DocumentIndex(
            root, np.concatenate([side.ids for side in sides]), paths,
            np.concatenate([side.labels for side in sides]), self.class_names, groups,
            left_out=self.left_out.joined(other.left_out),
        )  # fmt: skip

    @property
    def labels(self) -> np.ndarray:
        """The targets of labelled pages.

        Raises:
            ValueError: The pages have no labels.
        """
        if self.targets is None:
            raise ValueError("these pages have no labels")
        return self.targets

    def counts(self) -> np.ndarray:
        """Pages per class, int64 [num_classes].

        Raises:
            ValueError: The pages have no labels.
        """
        return np.bincount(self.labels, minlength=len(self.class_names))

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits for what the index says (not for the content of the images)."""
        digest = hashlib.sha256("\0".join((self.below, *self.class_names)).encode("utf-8", "surrogateescape"))
        for column in (self.ids, self.paths, self.groups):
            digest.update(b"\1" if column is None else "\0".join(column.tolist()).encode("utf-8", "surrogateescape"))
        digest.update(b"\1" if self.targets is None else np.ascontiguousarray(self.targets, np.int64).tobytes())
        return digest.hexdigest()[:16]
