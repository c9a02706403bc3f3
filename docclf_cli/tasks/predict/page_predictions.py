"""Turns stored probabilities into one prediction per page, and one per document of several pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from docclf_cli.data.index.file_list import PageList
from docclf_cli.ensembling.pooling import floored
from docclf_cli.results.prediction import DocumentRow, PageRow
from docclf_cli.tasks.predict.shards import ShardPlan, ShardStore

UNREADABLE = -1


@dataclass(frozen=True)
class PagePrediction:
    """The prediction for a page, or for a document.

    Attributes:
        shown: ID, or path as the user named it.
        page: Number of the page, counted from 1; 0 where the file could not be opened. Of a document: its pages.
        top: Class indices with their probabilities, the most probable first; empty for what could not be read.
        needs_review: Whether a person should look at it; None where no threshold was asked for.
        status: Empty for what was read, otherwise why not.
        row: The file, in the order of the input.
    """

    shown: str
    page: int
    top: tuple[tuple[int, float], ...]
    needs_review: bool | None
    status: str
    row: int

    @property
    def chosen(self) -> int:
        """The most probable class, or `UNREADABLE`."""
        return self.top[0][0] if self.top else UNREADABLE

    def as_row(self, names: Sequence[str]) -> PageRow:
        """The prediction as a row with class names."""
        predicted, confidence = (names[self.top[0][0]], self.top[0][1]) if self.top else (None, None)
        return PageRow(self.shown, self.page or None, predicted, confidence, self.needs_review, self.status)

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
    """

    shards: ShardStore
    plan: ShardPlan
    pages: PageList
    top_k: int
    threshold: float | None

    def of_pages(self) -> Iterator[PagePrediction]:
        """One prediction per page."""
        for row, page, log_probs, reason in self._rows():
            shown, opened = self.pages.files[row].shown, self.pages.counts[row] > 0
            yield self._prediction(shown, page + 1 if opened else 0, log_probs, reason, row)

    def of_documents(self) -> Iterator[PagePrediction]:
        """One prediction per file: the mean of the log-probabilities of its readable pages, normalised.

        A document with an unreadable page needs review.
        """
        total, count, reasons, first = np.zeros(0), 0, list[str](), -1
        for row, _, log_probs, reason in self._rows():
            if row != first and self.pages.first_of_document[row]:
                if count:
                    yield self._document(first, total, count, reasons)
                total, count, reasons, first = np.zeros(len(log_probs)), 0, [], row
            count += 1
            if reason:
                reasons.append(reason)
            else:
                total = total + floored(log_probs)
        if count:
            yield self._document(first, total, count, reasons)

    def _document(self, row: int, total: np.ndarray, count: int, reasons: list[str]) -> PagePrediction:
        shown, read = self.pages.files[row].shown, count - len(reasons)
        if not read:
            return self._prediction(shown, count if self.pages.counts[row] else 0, total, reasons[0], row)
        prediction = self._prediction(shown, count, log_softmax(total / read), "", row)
        if not reasons:
            return prediction
        needs_review = None if self.threshold is None else True
        return replace(prediction, needs_review=needs_review, status=f"{len(reasons)} of {count} pages cannot be read")

    def _prediction(self, shown: str, page: int, log_probs: np.ndarray, reason: str, row: int) -> PagePrediction:
        if reason:
            return PagePrediction(shown, page, (), None if self.threshold is None else True, reason, row)
        order = np.argsort(-log_probs, kind="stable")[: self.top_k]
        top = tuple((int(index), float(np.exp(log_probs[index]))) for index in order)
        needs_review = None if self.threshold is None else top[0][1] < self.threshold
        return PagePrediction(shown, page, top, needs_review, "", row)

    def _rows(self) -> Iterator[tuple[int, int, np.ndarray, str]]:
        """Yield row of the list, page in the file, log probabilities, and why the page could not be read."""
        row, page = 0, 0
        for part in range(self.plan.shards):
            log_probs, reasons = self.shards.read(part)
            for one, reason in zip(log_probs.astype(np.float64), reasons.tolist(), strict=True):
                yield row, page + self.pages.files.first_page(row), one, reason
                row, page = (row, page + 1) if page + 1 < self.pages.counts[row] else (row + 1, 0)
