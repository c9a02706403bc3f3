"""Turns stored probabilities into one prediction per page, and one per document of several pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from docclf_cli.data.images.orientation import Orientation
from docclf_cli.data.index.file_list import PageList
from docclf_cli.ensembling.pooling import floored
from docclf_cli.metrics.costs import Costs
from docclf_cli.results.prediction import DocumentRow, PageRow
from docclf_cli.tasks.predict.shards import ShardPlan, ShardStore
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
class PagePredictions:
    """All predictions, in the order of the input, computed from the shards on each iteration.

    Attributes:
        shards: The probabilities.
        plan: Which pages each part holds.
        pages: Whose they are.
        top_k: How many classes are named.
        threshold: Less confident pages need review; None without a threshold.
        unknown_rule: Which pages are called unknown.
        costs: Decides by prices, instead of a threshold.
    """

    shards: ShardStore
    plan: ShardPlan
    pages: PageList
    top_k: int
    threshold: float | None
    unknown_rule: UnknownRule = NO_RULE
    costs: Costs | None = None

    @property
    def _reviews(self) -> bool:
        """Whether some rule says which pages need review."""
        return self.threshold is not None or self.unknown_rule.active or self.costs is not None

    def of_pages(self) -> Iterator[PagePrediction]:
        """One prediction per page."""
        for row, page, log_probs, log_odds, lies, reason in self._rows():
            shown, opened = self.pages.files[row].shown, self.pages.counts[row] > 0
            found = self._prediction(shown, page + 1 if opened else 0, log_probs, log_odds, reason, row)
            yield replace(found, lies=((page, lies),))

    def of_documents(self) -> Iterator[PagePrediction]:
        """One prediction per file: the mean of the log-probabilities of its readable pages, normalised.

        Its log-odds of being unknown are their mean, too. A document with an unreadable page needs review.
        """
        total, log_odds, count, reasons, first = np.zeros(0), list[float](), 0, list[str](), -1
        lies = list[tuple[int, Orientation | None]]()
        for row, page, log_probs, page_log_odds, page_lies, reason in self._rows():
            if row != first and self.pages.first_of_document[row]:
                if count:
                    yield replace(self._document(first, total, log_odds, count, reasons), lies=tuple(lies))
                total, log_odds, count, reasons, first = np.zeros(len(log_probs)), [], 0, [], row
                lies = []
            count += 1
            lies.append((page, page_lies))
            if reason:
                reasons.append(reason)
            else:
                total = total + floored(log_probs)
                log_odds.append(page_log_odds)
        if count:
            yield replace(self._document(first, total, log_odds, count, reasons), lies=tuple(lies))

    def _document(
        self, row: int, total: np.ndarray, log_odds: list[float], count: int, reasons: list[str]
    ) -> PagePrediction:
        shown = self.pages.files[row].shown
        if not log_odds:
            opened = count if self.pages.counts[row] else 0
            return self._prediction(shown, opened, total, math.nan, reasons[0], row)
        log_probs = log_softmax(total / len(log_odds))
        prediction = self._prediction(shown, count, log_probs, float(np.mean(log_odds)), "", row)
        if not reasons:
            return prediction
        needs_review = True if self._reviews else None
        return replace(prediction, needs_review=needs_review, status=f"{len(reasons)} of {count} pages cannot be read")

    def _prediction(
        self, shown: str, page: int, log_probs: np.ndarray, log_odds: float, reason: str, row: int
    ) -> PagePrediction:
        if reason:
            return PagePrediction(shown, page, (), True if self._reviews else None, reason, row)
        order = np.argsort(-log_probs, kind="stable")[: self.top_k]
        top = tuple((int(index), float(np.exp(log_probs[index]))) for index in order)
        unknown, is_unknown = self.unknown_rule.probability(log_odds), log_odds > self.unknown_rule.threshold
        decided = top[0][0] if self.costs is None else self.costs.decide(np.exp(log_probs), unknown)
        unsure = decided is None or (self.threshold is not None and top[0][1] < self.threshold)
        needs_review = is_unknown or unsure if self._reviews else None
        return PagePrediction(shown, page, top, needs_review, "", row, unknown, is_unknown, decided)

    def _rows(self) -> Iterator[tuple[int, int, np.ndarray, float, Orientation | None, str]]:
        """Yield row of the list, page in the file, log probabilities, log-odds of being unknown, how it lies, and why it was not read."""
        row, page = 0, 0
        for part in range(self.plan.shards):
            shard = self.shards.read(part)
            columns = shard.unknown.tolist(), shard.orientations.tolist(), shard.reasons.tolist()
            for one, log_odds, number, reason in zip(shard.log_probs.astype(np.float64), *columns, strict=True):
                lies = None if number < 0 else Orientation.numbered(number)
                yield row, page + self.pages.files.first_page(row), one, log_odds, lies, reason
                row, page = (row, page + 1) if page + 1 < self.pages.counts[row] else (row + 1, 0)
