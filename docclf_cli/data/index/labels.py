"""Class names, and the texts of a label column that mean them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from docclf_cli.data.index.tables import SHOWN, examples, read_table, row_number
from docclf_cli.errors import InputError
from docclf_cli.registry import did_you_mean
from docclf_cli.text import and_more, normalised, plural

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = -1
_NAMED = 30  # classes that a hint lists


@dataclass(frozen=True)
class Classes:
    """The class axis, and the index of each label text.

    Attributes:
        names: Along the class axis.
        index_of: Class index by label text.
    """

    names: tuple[str, ...]
    index_of: Mapping[str, int]

    @classmethod
    def of_labels(cls, labels: Sequence[str]) -> Classes:
        """The distinct labels, sorted; as numbers where all are numbers."""
        distinct = {normalised(label) for label in labels} - {""}
        numbers = all(label.isdecimal() and label.isascii() for label in distinct)
        names = tuple(sorted(distinct, key=(lambda label: (int(label), label)) if numbers else None))
        return cls(names, {name: index for index, name in enumerate(names)})

    @classmethod
    def of_names(cls, names: Sequence[str]) -> Classes:
        """Labels that are one of `names`. A number is a name like any other: only a `meta.csv` makes it an index."""
        return cls(tuple(names), {normalised(name): index for index, name in enumerate(names)})

    def onto(self, names: Sequence[str]) -> Classes:
        """The same labels on the class axis of a model; labels of classes it does not know become unknown."""
        place = {normalised(name): index for index, name in enumerate(names)}
        known = {text: self.names[index] for text, index in self.index_of.items()}
        return Classes(tuple(names), {text: place[name] for text, name in known.items() if name in place})

    def encode(self, labels: np.ndarray) -> np.ndarray:
        """Class indices of label texts, int64 [n]; `UNKNOWN` where a label is blank or no class."""
        import pandas as pd

        codes, distinct = pd.factorize(labels)
        indices = [self.index_of.get(normalised(text), UNKNOWN) for text in distinct]
        return np.asarray(indices, dtype=np.int64)[codes]

    def faults(self, labels: np.ndarray, targets: np.ndarray) -> list[str]:
        """Describe the labels that were encoded as unknown, one line a kind of fault."""
        unknown = np.flatnonzero(targets == UNKNOWN).tolist()
        blank = [row for row in unknown if not labels[row].strip()]
        wrong = [row for row in unknown if labels[row].strip()]
        faults = []
        if blank:
            faults.append(f"{plural(len(blank), 'label is', 'labels are')} blank: {_rows(blank)}")
        if wrong:
            guess = did_you_mean(labels[wrong[0]], self.names)
            what = plural(len(wrong), "label is no class", "labels are no class")
            faults.append(f"{what}: {examples(labels, wrong)}{guess}")
        return faults

    def hint(self, labels: np.ndarray, targets: np.ndarray) -> str:
        """A hint on how to correct labels that were encoded as unknown."""
        known = f"classes: {and_more(list(self.names[:_NAMED]), len(self.names))}"
        wrong = [normalised(labels[row]) for row in np.flatnonzero(targets == UNKNOWN).tolist()]
        if any(text.isdecimal() for text in wrong) and not any(name.isdecimal() for name in self.index_of):
            return f"{known}; numbers are class indices only where a meta.csv (target,class_name) says so"
        return known


def read_meta(path: Path) -> Classes:
    """The classes of a `meta.csv` (`target,class_name`): labels are indices, or names.

    Raises:
        InputError: The targets are not 0, 1, … each once, or a name is blank or stands twice.
    """
    table = read_table(path)
    names = [normalised(name) for name in table["class_name"]]
    targets = [target.strip() for target in table["target"]]
    if sorted(targets) != sorted(map(str, range(len(targets)))):
        raise InputError(
            f"{path}: the targets are not 0 to {len(targets) - 1}, each once",
            f"it has: {and_more(targets[:9], len(targets))}",
        )
    if "" in names:
        raise InputError(f"{path}: the class name of target {targets[names.index('')]} is blank")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{path}: the class name {twice!r} appears more than once")
    ordered = tuple(name for _, name in sorted(zip(map(int, targets), names, strict=True)))
    indices = {str(index): index for index in range(len(ordered))}
    return Classes(ordered, {name: index for index, name in enumerate(ordered)} | indices)


def _rows(records: Sequence[int]) -> str:
    return and_more([f"row {row_number(record)}" for record in records[:SHOWN]], len(records))
