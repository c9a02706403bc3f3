"""Turns stored probabilities into one prediction per page, and one per document of several pages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from docclf_cli.data.images.orientation import Orientation
from docclf_cli.data.index.file_list import PageList
from docclf_cli.ensembling.pooling import pooled
from docclf_cli.metrics.costs import Costs
from docclf_cli.results.prediction import DocumentRow, PageRow
from docclf_cli.tasks.predict.shards import Shard, ShardPlan
from docclf_cli.tasks.unknown import NO_RULE, UnknownRule

UNREADABLE = -1
UNKNOWN, REVIEW, UNREADABLE_PAGE = "unknown", "review", "unreadable"  # decisions that are no class


@dataclass(frozen=True)
class PagePrediction:
    """The prediction for a page, or for a document.

    Attributes:
        shown: ID, or path as the user named it.
        page: Number of the page, counted from 1; 0 where the file could not be opened. Of a document: its pages.
        top: Class indices with their probabilities, the most probable first; empty for what could not be read.
        needs_review: Whether a person should look at it; None where no rule says so.
        status: Empty for what was read, otherwise why not.
        row: The file, in the order of the input.
        unknown: Probability of belonging to no class; None where that is not known.
        is_unknown: Whether it is called unknown.
        decided: The class it is sorted as, unless it needs review; None is the most probable one.
        lies: Number of each page in its file, counted from 0, and how it lies; None where that is not known.
    """

    shown: str
    page: int
    top: tuple[tuple[int, float], ...]
    needs_review: bool | None
    status: str
    row: int
    unknown: float | None = None
    is_unknown: bool = False
    decided: int | None = None
    lies: tuple[tuple[int, Orientation | None], ...] = ()

    @property
    def orientation(self) -> Orientation | None:
        """How a page lies; of a document how all its pages lie. None where that is not known."""
        ways = {orientation for _, orientation in self.lies}
        return ways.pop() if len(ways) == 1 else None

    @property
    def chosen(self) -> int:
        """The most probable class, or `UNREADABLE`."""
        return self.top[0][0] if self.top else UNREADABLE

    def decision(self, names: Sequence[str]) -> str:
        """What becomes of it: the name of a class, `unknown`, `review`, or `unreadable`."""
        if not self.top:
            return UNREADABLE_PAGE
        if self.is_unknown:
            return UNKNOWN
        return REVIEW if self.needs_review else names[self.chosen if self.decided is None else self.decided]

    def as_row(self, names: Sequence[str]) -> PageRow:
        """The prediction as a row with class names."""
        predicted, confidence = (names[self.top[0][0]], self.top[0][1]) if self.top else (None, None)
        lies = self.orientation
        turn, mirrored = (None, None) if lies is None else (lies.turn, lies.mirrored)
        return PageRow(
            self.shown, self.page or None, predicted, confidence, self.needs_review, self.status, self.unknown,
            self.decision(names), turn, mirrored,
        )  # fmt: skip

    def as_document(self, names: Sequence[str]) -> DocumentRow:
        """The same of a document."""
        row = self.as_row(names)
        return DocumentRow(row.path, row.page, row.predicted, row.confidence, row.needs_review, row.status)


@dataclass(frozen=True, eq=False)
class DecisionRule:
    """How probabilities become predictions, for whoever computes them: `predict`, `serve` and `watch`.

    Attributes:
        top_k: How many classes are named.
        threshold: Less confident pages need review; None without a threshold.
        unknown: Which pages are called unknown.
        costs: Decides by prices, instead of a threshold.
    """

    top_k: int = 3
    threshold: float | None = None
    unknown: UnknownRule = NO_RULE
    costs: Costs | None = None

    @property
    def reviews(self) -> bool:
        """Whether it says which pages need review."""
        return self.threshold is not None or self.unknown.active or self.costs is not None

    def of_page(
        self, shown: str, page: int, log_probs: np.ndarray, log_odds: float, reason: str = "", row: int = 0
    ) -> PagePrediction:
        """The prediction for a page.

        Args:
            shown: ID, or path as the user named it.
            page: Its number, as `PagePrediction.page`.
            log_probs: Calibrated, [num_classes].
            log_odds: Of belonging to no class; NaN where that is not known.
            reason: Why it could not be read; empty where it was.
            row: The file, in the order of the input.
        """
        if reason:
            return PagePrediction(shown, page, (), True if self.reviews else None, reason, row)
        order = np.argsort(-log_probs, kind="stable")[: self.top_k]
        top = tuple((int(index), float(np.exp(log_probs[index]))) for index in order)
        unknown, is_unknown = self.unknown.probability(log_odds), log_odds > self.unknown.threshold
        decided = top[0][0] if self.costs is None else self.costs.decide(np.exp(log_probs), unknown)
        unsure = decided is None or (self.threshold is not None and top[0][1] < self.threshold)
        needs_review = is_unknown or unsure if self.reviews else None
        return PagePrediction(shown, page, top, needs_review, "", row, unknown, is_unknown, decided)

    def of_document(self, shown: str, pages: Sequence[PageScores], row: int = 0, opened: bool = True) -> PagePrediction:
        """The prediction for a file: the mean of the log-probabilities of its readable pages, normalised.

        Its log-odds of being unknown are their mean, too. A document with an unreadable page needs review.

        Args:
            shown: ID, or path as the user named it.
            pages: Its pages, at least one.
            row: The file, in the order of the input.
            opened: Whether the file could be opened.
        """
        reasons = [page.reason for page in pages if page.reason]
        read = [page for page in pages if not page.reason]
        if not read:
            return self.of_page(shown, len(pages) if opened else 0, np.zeros(0), math.nan, reasons[0], row)
        log_odds = float(np.mean([page.log_odds for page in read]))
        found = self.of_page(shown, len(pages), pooled([page.log_probs for page in read]), log_odds, "", row)
        if not reasons:
            return found
        status = f"{len(reasons)} of {len(pages)} pages cannot be read"
        return replace(found, needs_review=True if self.reviews else None, status=status)


@dataclass(frozen=True, eq=False)
class PageScores:
    """What a model says of one page.

    Attributes:
        log_probs: Calibrated, [num_classes].
        log_odds: Of belonging to no class; NaN where that is not known.
        reason: Why it could not be read; empty where it was.
        lies: How it lies; None where that is not known.
    """

    log_probs: np.ndarray
    log_odds: float = math.nan
    reason: str = ""
    lies: Orientation | None = None


class StoredShards(Protocol):
    """Shards that can be read by their number."""

    def read(self, shard: int, /) -> Shard:
        """One of them."""
        ...


@dataclass(frozen=True, eq=False)
class PagePredictions:
    """The predictions of a list of files, page by page or document by document, made anew each time they are asked for.

    Attributes:
        shards: The probabilities.
        plan: Which pages each shard holds.
        pages: Whose they are.
        rule: How they become predictions.
    """

    shards: StoredShards
    plan: ShardPlan
    pages: PageList
    rule: DecisionRule

    def of_pages(self) -> Iterator[PagePrediction]:
        """One prediction per page."""
        for row, page, scores in self._rows():
            shown, opened = self.pages.files[row].shown, self.pages.counts[row] > 0
            number = page + 1 if opened else 0
            found = self.rule.of_page(shown, number, scores.log_probs, scores.log_odds, scores.reason, row)
            yield replace(found, lies=((page, scores.lies),))

    def of_documents(self) -> Iterator[PagePrediction]:
        """One prediction per file."""
        first, pages = -1, dict[int, PageScores]()
        for row, page, scores in self._rows():
            if row != first and self.pages.first_of_document[row]:
                if pages:
                    yield self._document(first, pages)
                first, pages = row, {}
            pages[page] = scores
        if pages:
            yield self._document(first, pages)

    def _document(self, row: int, pages: Mapping[int, PageScores]) -> PagePrediction:
        opened = bool(self.pages.counts[row])
        found = self.rule.of_document(self.pages.files[row].shown, [*pages.values()], row, opened)
        return replace(found, lies=tuple((number, scores.lies) for number, scores in pages.items()))

    def _rows(self) -> Iterator[tuple[int, int, PageScores]]:
        """Yield row of the list, page in the file, and what is said of the page."""
        row, page = 0, 0
        for part in range(self.plan.shards):
            shard = self.shards.read(part)
            columns = shard.unknown.tolist(), shard.reasons.tolist(), shard.orientations.tolist()
            for one, log_odds, reason, number in zip(shard.log_probs.astype(np.float64), *columns, strict=True):
                lies = None if number < 0 else Orientation.numbered(number)
                yield row, page + self.pages.files.first_page(row), PageScores(one, log_odds, reason, lies)
                row, page = (row, page + 1) if page + 1 < self.pages.counts[row] else (row + 1, 0)


def pages_to_explain(pages: Iterable[PagePrediction], most: int) -> tuple[list[PagePrediction], bool]:
    """The first pages that need review, of all readable pages where no threshold was asked for, and whether there are more.

    Args:
        pages: Predictions; they are read as far as needed.
        most: At most so many.
    """
    wanted = (page for page in pages if page.top and page.needs_review is not False)
    chosen = list(itertools.islice(wanted, most + 1))
    return chosen[:most], len(chosen) > most
