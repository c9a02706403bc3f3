"""Turns stored probabilities into one prediction per page, and one per document of several pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from docclf_cli.data.index.file_list import PageList
from docclf_cli.ensembling.pooling import floored
from docclf_cli.tasks.predict.shards import ShardPlan, ShardStore

UNREADABLE = -1


@dataclass(frozen=True)
class PagePrediction:
    """The prediction for a page or for a document.

    Attributes:
        label: ID, or path as the user named it.
        page: Number of the page, counted from 1; 0 if the file could not be opened. For a document: number of pages.
        top: Class indices with their probabilities, the most probable first; empty if it could not be read.
        review: Whether it needs review; None without a threshold.
        status: Why it could not be read; empty if it could.
        row: Row of the file in the input.
    """

    label: str
    page: int
    top: tuple[tuple[int, float], ...]
    review: bool | None
    status: str
    row: int

    @property
    def predicted(self) -> int:
        """The most probable class, or `UNREADABLE`."""
        return self.top[0][0] if self.top else UNREADABLE


@dataclass(frozen=True, eq=False)
class PagePredictions:
    """All predictions in the order of the input, computed from the shards at each iteration.

    Attributes:
        shards: The stored probabilities.
        plan: Which pages each shard holds.
        pages: The pages.
        top_k: Number of classes in a prediction.
        threshold: Pages below this confidence need review; None reviews none.
    """

    shards: ShardStore
    plan: ShardPlan
    pages: PageList
    top_k: int
    threshold: float | None

    def of_pages(self) -> Iterator[PagePrediction]:
        """Yield one prediction per page."""
        for row, page, log_probs, reason in self._rows():
            number = page + 1 if self.pages.counts[row] > 0 else 0
            yield self._prediction(self.pages.files[row].shown, number, log_probs, reason, row)

    def of_documents(self) -> Iterator[PagePrediction]:
        """Yield one prediction per file: the normalised mean of the log probabilities of its readable pages.

        A document with an unreadable page needs review.
        """
        total, read, reasons = np.zeros(0), 0, list[str]()
        for row, page, log_probs, reason in self._rows():
            if page == 0:
                total, read, reasons = np.zeros(len(log_probs)), 0, []
            if reason:
                reasons.append(reason)
            else:
                total, read = total + floored(log_probs), read + 1
            if self._is_last(row, page):
                yield self._document(row, total, read, reasons)

    def _is_last(self, row: int, page: int) -> bool:
        return bool(page + 1 >= self.pages.counts[row])

    def _document(self, row: int, total: np.ndarray, read: int, reasons: list[str]) -> PagePrediction:
        count = int(self.pages.counts[row])
        label = self.pages.files[row].shown
        if not read:
            return self._prediction(label, count, total, reasons[0], row)
        prediction = self._prediction(label, count, log_softmax(total / read), "", row)
        if not reasons:
            return prediction
        review = None if self.threshold is None else True
        return replace(prediction, review=review, status=f"{len(reasons)} of {count} pages cannot be read")

    def _prediction(self, label: str, page: int, log_probs: np.ndarray, reason: str, row: int) -> PagePrediction:
        if reason:
            return PagePrediction(label, page, (), None if self.threshold is None else True, reason, row)
        order = np.argsort(-log_probs, kind="stable")[: self.top_k]
        top = tuple((int(index), float(np.exp(log_probs[index]))) for index in order)
        review = None if self.threshold is None else top[0][1] < self.threshold
        return PagePrediction(label, page, top, review, "", row)

    def _rows(self) -> Iterator[tuple[int, int, np.ndarray, str]]:
        """Yield row of the file, page, log probabilities, and why the page could not be read."""
        row, page = 0, 0
        for shard in range(self.plan.shards):
            log_probs, reasons = self.shards.read(shard)
            for one, reason in zip(log_probs.astype(np.float64), reasons.tolist(), strict=True):
                yield row, page, one, reason
                row, page = (row + 1, 0) if self._is_last(row, page) else (row, page + 1)
