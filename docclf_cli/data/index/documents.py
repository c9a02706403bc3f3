"""The index of a set of pages: IDs, files, labels, groups."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from docclf_cli.data.index.left_out import LeftOut
from docclf_cli.errors import InputError
from docclf_cli.page_ids import document_of
from docclf_cli.text import composed


def within(split: str, ids: np.ndarray) -> np.ndarray:
    """The IDs with their split in front (`val/a.jpg`): an object array of `str`."""
    return np.array([f"{split}/{name}" for name in ids.tolist()], dtype=object)


def alone(page: str) -> str:
    """The group name of a page that belongs to no group with others."""
    return f"page {page}"


def _groups(side: DocumentIndex, ids: np.ndarray) -> np.ndarray:
    """The groups of pages whose IDs change to `ids`, text [n]; pages on their own get a group of the new ID."""
    if side.groups is None:
        return ids.astype(np.str_)
    pages = zip(side.groups.tolist(), side.ids.tolist(), ids.tolist(), strict=True)
    return np.array([alone(new) if group == alone(old) else group for group, old, new in pages], dtype=np.str_)


@dataclass(frozen=True, eq=False)
class DocumentIndex:
    """Pages in the order of their source.

    Attributes:
        root: Folder that no page may leave.
        ids: Object array of `str` [n], each once.
        paths: Object array of `str` [n]: image files relative to the folder `below`.
        targets: int64 [n] class indices; None for unlabelled pages.
        class_names: Names along the class axis.
        groups: Text [n]: pages that belong together; None where each page is on its own.
        below: Folder of the image files, relative to `root`.
        left_out: Counts of files and folders that are no pages.
        numbers: int64 [n]: number of the page in its file, counted from 0; None where no file can have several.
    """

    root: Path
    ids: np.ndarray
    paths: np.ndarray
    targets: np.ndarray | None
    class_names: tuple[str, ...]
    groups: np.ndarray | None = None
    below: str = ""
    left_out: LeftOut = field(default_factory=LeftOut)
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, row: int) -> Path:
        """The image file of a row."""
        return self.root / self.below / str(self.paths[row])

    def page(self, row: int) -> int:
        """The number of a row's page in its file, counted from 0."""
        return 0 if self.numbers is None else int(self.numbers[row])

    @property
    def documents(self) -> np.ndarray:
        """The document of each page (`docclf_cli.page_ids`), an object array of `str` [n]."""
        names = np.empty(len(self), dtype=object)
        names[:] = [document_of(name) for name in self.ids.tolist()]
        return names

    def files(self) -> list[str]:
        """The absolute paths of all image files, as text: of millions, pathlib takes much longer."""
        folder = (self.root / self.below).absolute()
        return [f"{folder}/{name}" for name in self.paths.tolist()]

    @cached_property
    def rows_of_document(self) -> Mapping[str, list[int]]:
        """The rows of each document that has several pages, by its name in composed form."""
        rows: dict[str, list[int]] = {}
        if self.numbers is not None:
            for row, name in enumerate(self.ids.tolist()):
                if (document := document_of(name)) != name:
                    rows.setdefault(composed(document), []).append(row)
        return rows

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """The row of each ID, as IDs are compared (`docclf_cli.text.composed`)."""
        return {composed(name): row for row, name in enumerate(self.ids.tolist())}

    def take(self, rows: np.ndarray | Sequence[int]) -> DocumentIndex:
        """The given rows (indices or a boolean mask), in that order."""
        pick = np.asarray(rows)
        return replace(
            self,
            ids=self.ids[pick],
            paths=self.paths[pick],
            targets=None if self.targets is None else self.targets[pick],
            groups=None if self.groups is None else self.groups[pick],
            numbers=None if self.numbers is None else self.numbers[pick],
        )

    def joined(self, other: DocumentIndex) -> DocumentIndex:
        """The pages of the train split and then those of a validation set with the same classes.

        Where a name stands in both, all IDs start with their split: `train/form/0000.jpg`, `val/form/0000.jpg`.

        Raises:
            InputError: A file is in both.
        """
        mine, theirs = self.ids, other.ids
        if set(map(composed, self.documents)) & set(map(composed, other.documents)):
            mine, theirs = within("train", mine), within("val", theirs)
        root = Path(os.path.commonpath([self.root.absolute(), other.root.absolute()]))
        sides = (self, other)
        files = [[str(side.path(row).absolute().relative_to(root)) for row in range(len(side))] for side in sides]
        if shared := sorted(set(files[0]) & set(files[1])):
            raise InputError(f"{len(shared)} pages are in both sets, such as {shared[0]}")
        numbers = None
        if any(side.numbers is not None for side in sides):
            numbers = np.array([side.page(row) for side in sides for row in range(len(side))], dtype=np.int64)
        paths = np.array([*files[0], *files[1]], dtype=object)
        groups = None
        if any(side.groups is not None for side in sides):
            groups = np.concatenate([_groups(side, ids) for side, ids in zip(sides, (mine, theirs), strict=True)])
        return DocumentIndex(
            root, np.concatenate([mine, theirs]), paths,
            np.concatenate([side.labels for side in sides]), self.class_names, groups,
            left_out=self.left_out.joined(other.left_out), numbers=numbers,
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
        """Sixteen hexadecimal digits of the index: IDs, paths, groups and targets, not the content of the images."""
        digest = hashlib.sha256("\0".join((self.below, *self.class_names)).encode("utf-8", "surrogateescape"))
        for column in (self.ids, self.paths, self.groups):
            digest.update(b"\1" if column is None else "\0".join(column.tolist()).encode("utf-8", "surrogateescape"))
        digest.update(b"\1" if self.targets is None else np.ascontiguousarray(self.targets, np.int64).tobytes())
        return digest.hexdigest()[:16]
