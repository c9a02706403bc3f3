"""What `audit` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class DuplicatePage:
    """One page of a pair.

    Attributes:
        id: Its ID.
        split: `train`, `val` or `test`; with a run, the part of its split, such as `fold-0`.
        label: Class name; None for an unlabelled page.
    """

    id: str
    split: str
    label: str | None


@dataclass(frozen=True)
class NearDuplicatePair:
    """Two pages that are copies of one another.

    Attributes:
        first: One page.
        second: The other.
        similarity: Correlation of their fine detail, 1 for the very same page.
        conflict: Their labels differ.
        across: They are in different splits, so one tells about the other.
    """

    first: DuplicatePage
    second: DuplicatePage
    similarity: float
    conflict: bool
    across: bool


@dataclass(frozen=True)
class LabelIssue:
    """A label that the out-of-fold prediction strongly contradicts.

    Attributes:
        id: Page.
        given: Its label.
        suggested: The class it seems to have.
        given_probability: Of the label.
        suggested_probability: Of the suggested class.
        settled: The profile's relabel file names this page, so it is left as it is there.
    """

    id: str
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float
    settled: bool


@dataclass(frozen=True)
class LabelCheck:
    """What the out-of-fold predictions say about the labels.

    Attributes:
        run: The folds run.
        pages: Pages of the data that it predicts.
        agreement: Share of the labelled ones whose label it predicts.
        chance: The same share if it knew nothing.
        p_value: Of the hypothesis that it knows nothing.
        refusal: Why it cannot judge labels, so that none is doubtful; None where it can.
        expected: How many wrong labels there should be, estimated from the joint distribution; None with a refusal.
        issues: The pages, the surest first.
    """

    run: Path
    pages: int
    agreement: float
    chance: float
    p_value: float
    refusal: str | None
    expected: float | None
    issues: tuple[LabelIssue, ...]


@dataclass(frozen=True)
class ClassCount:
    """Pages of one class.

    Attributes:
        name: Class name.
        pages: By split.
        groups: Independent groups among those to train and validate on, once twins are one.
    """

    name: str
    pages: Mapping[str, int]
    groups: int


@dataclass(frozen=True)
class Outlier:
    """A page that is unreadable, or unlike the others.

    Attributes:
        id: Page.
        split: Where it is.
        kind: `unreadable`, `blank`, `small`, `shape` or `rotated`.
        detail: What is odd, in words.
    """

    id: str
    split: str
    kind: str
    detail: str


@dataclass(frozen=True)
class AuditResult:
    """What `audit` found in the data; no file of it was changed.

    Attributes:
        folder: Where the files are.
        data: The data root.
        pages: Pages by split.
        near_duplicates: Pairs of copies: conflicting labels first, then pairs across splits, then the most similar.
        duplicate_groups: How many sets of pages the pairs make.
        labels: What a folds run says about the labels; None without one.
        imbalance: Training and validation pages of the largest class for each of the smallest that has any.
        classes: One row a class.
        outliers: Pages that are unreadable or odd.
        left_out: How many files and folders of each kind were left out, such as `.heic`.
        files: What was written, most useful first.
    """

    folder: Path
    data: str
    pages: Mapping[str, int]
    near_duplicates: tuple[NearDuplicatePair, ...]
    duplicate_groups: int
    labels: LabelCheck | None
    imbalance: float
    classes: tuple[ClassCount, ...]
    outliers: tuple[Outlier, ...]
    files: tuple[Path, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
