"""What `audit` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SUMMARY = "summary.json"  # of an audit, in its folder


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
    """Two pages that are near duplicates.

    Attributes:
        first: One page.
        second: The other.
        similarity: Correlation of their fine detail, 1 for the very same page.
        labels_differ: Their labels differ.
        across_splits: They are in different splits, so a model can be scored on a page that trained it.
    """

    first: DuplicatePage
    second: DuplicatePage
    similarity: float
    labels_differ: bool
    across_splits: bool


@dataclass(frozen=True)
class LabelIssue:
    """A label that the out-of-fold prediction strongly contradicts.

    Attributes:
        id: Page.
        given_label: Its label.
        suggested_label: The class that the predictions suggest.
        given_probability: Of the label.
        suggested_probability: Of the suggested class.
        in_relabel_file: The profile's relabel file already gives this page a label, which stays.
    """

    id: str
    given_label: str
    suggested_label: str
    given_probability: float
    suggested_probability: float
    in_relabel_file: bool


@dataclass(frozen=True)
class LabelCheck:
    """The labels compared with out-of-fold predictions.

    Attributes:
        run: The folds run.
        pages: Number of pages of the data that it predicts.
        agreement: Share of the labelled ones whose label it predicts.
        chance_agreement: The same share for a model that guesses.
        p_value: Of the hypothesis that the model is no better than chance.
        skipped_reason: Why the labels were not checked; None if they were.
        expected_issues: Expected number of wrong labels, estimated from the joint distribution; None if not checked.
        expected_issues_low: Lower bound of its 95 % interval.
        expected_issues_high: Upper bound.
        issues: The label issues, the most certain first.
    """

    run: Path
    pages: int
    agreement: float
    chance_agreement: float
    p_value: float
    skipped_reason: str | None
    expected_issues: float | None
    expected_issues_low: float | None
    expected_issues_high: float | None
    issues: tuple[LabelIssue, ...]


@dataclass(frozen=True)
class AuditClass:
    """Pages of one class.

    Attributes:
        name: Class name.
        pages: By split.
        groups: Number of independent groups of training and validation pages; near duplicates are one group.
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
        detail: What is unusual, in words.
    """

    id: str
    split: str
    kind: str
    detail: str


@dataclass(frozen=True)
class AuditResult:
    """What `audit` found in the data; it changes no file of the data.

    Attributes:
        folder: Where the files are.
        data: The data root.
        pages: Pages by split.
        near_duplicates: Pairs with different labels first, then pairs across splits, then the most similar.
        duplicate_groups: How many sets of pages the pairs make.
        labels: What a folds run says about the labels; None without one.
        imbalance: Training and validation pages of the largest class for each of the smallest that has any.
        classes: One row a class.
        outliers: Unreadable and unusual pages.
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
    classes: tuple[AuditClass, ...]
    outliers: tuple[Outlier, ...]
    files: tuple[Path, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
