"""Teaches a run to read: the text of its pages, the text model, and whether and how it joins the image."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.splits import stratified_sample
from docclf_cli.data.loading.prepared_pages import PreparedPages
from docclf_cli.data.loading.texts import has_layers, page_texts, text_pages
from docclf_cli.data.text.ocr import ocr_engine, require_ocr
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.trained_model import fold_checkpoints
from docclf_cli.engine.training.text_fit import TextFit, fit_text_model
from docclf_cli.ensembling.fusion import TEXT_ALONE, Fusion, cross_fitted_fusion, enough_documents, fit_fusion, gain_of
from docclf_cli.ensembling.text_branch import LAYER, OCR, TextBranch
from docclf_cli.events import Emit, silent
from docclf_cli.metrics.intervals import unit_of
from docclf_cli.models.factory import TEXT_MODEL
from docclf_cli.models.text_features import TextPage
from docclf_cli.page_ids import document_of
from docclf_cli.profile.schema import Profile
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag

TRIAL_PAGES = 40  # first pages that a trial of OCR reads
TRIAL_SECONDS = 45.0
MOST_OCR_MINUTES = 30.0  # that all pages may take where `text: auto` decides; of `train.minutes` a quarter
SHARE_OF_MINUTES = 0.25
FEWEST_WITH_TEXT = 10  # training documents with text below which nothing is learned from it
logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class RunTexts:
    """The texts of a run's pages.

    Attributes:
        pages: One a row of the index.
        source: `layer`, or `ocr` where pages without a layer were read by OCR.
    """

    pages: tuple[TextPage, ...]
    source: str


def reads_only(profile: Profile) -> bool:
    """Whether the model of a run looks at nothing but text."""
    return profile.model.model_name == TEXT_MODEL


def run_texts(
    profile: Profile, prepared: PreparedPages, workers: int, emit: Emit = silent, stop: StopFlag = NEVER
) -> RunTexts | None:
    """The texts of all pages of a run, as `text` in the profile says; None where it is not to read.

    With `auto` only the layers of PDF files are read, which costs nothing where there is no PDF; pages without a layer
    beside them are read by OCR where a trial on some of them shows that it pays.

    Raises:
        InputError: `text: ocr`, and no engine is installed.
        Interrupted: `stop` was set.
    """
    mode = profile.text if profile.text != "off" or not reads_only(profile) else "auto"
    index, config = prepared.index, profile.data
    if mode == "off":
        return None
    if mode == "ocr":
        require_ocr()
        return RunTexts(tuple(text_pages(index, config, OCR, workers, emit, stop)), OCR)
    if not has_layers(index) and not (reads_only(profile) and mode == "auto"):
        return None
    pages = text_pages(index, config, LAYER, workers, emit, stop)
    if mode == "auto" and _ocr_pays(prepared, profile, pages, workers, emit, stop):
        return RunTexts(tuple(text_pages(index, config, OCR, workers, emit, stop)), OCR)
    return RunTexts(tuple(pages), LAYER)


def _ocr_pays(
    prepared: PreparedPages, profile: Profile, pages: list[TextPage], workers: int, emit: Emit, stop: StopFlag
) -> bool:
    """Whether OCR of the pages without a layer tells their classes, by a trial on some first pages; the answer is said."""
    index, engine = prepared.index, ocr_engine()
    without = np.array([row for row, page in enumerate(pages) if not page.text], dtype=np.int64)
    without = np.setdiff1d(without, np.array(list(prepared.unreadable), dtype=np.int64))
    if engine is None or not len(without):
        return False
    if reads_only(profile) and len(without) == len(pages):
        logger.info("text: no page has a text layer, and the model only reads: all are read by %s", engine)
        return True
    allowed = _ocr_minutes(profile)
    if allowed < TRIAL_SECONDS / 60:
        logger.info(
            "text: %d pages without a text layer are not read by OCR in so short a run (text: ocr does)", len(without)
        )
        return False
    first = np.array([row for row in without if pages[row].first], dtype=np.int64)
    drawn = first[stratified_sample(index.labels[first], TRIAL_PAGES, profile.data.split_seed)]
    if len(drawn) < FEWEST_WITH_TEXT:
        return False
    started, found = time.monotonic(), list(pages)
    read = 0
    for some in np.array_split(np.random.default_rng(0).permutation(drawn), max(1, len(drawn) // 4)):
        texts = page_texts(index.take(some), profile.data, "auto", workers=workers, emit=emit, stop=stop)
        for row, text in zip(some.tolist(), texts, strict=True):
            found[row] = TextPage(text.text)
        read += len(some)
        if time.monotonic() - started > TRIAL_SECONDS:
            break
    seconds = (time.monotonic() - started) / read
    minutes = seconds * len(without) / 60
    rows = np.array([row for row, page in enumerate(found) if page.text], dtype=np.int64)
    gain = _trial_gain(found, index, rows, np.intersect1d(rows, drawn)) if len(rows) >= FEWEST_WITH_TEXT else 0.0
    pays = gain > 0 and minutes <= allowed
    logger.info(
        "text: a trial of OCR (%s) on %d of %d pages without a text layer took %.1f s a page (all: %.0f minutes) and %s: OCR is %s",
        engine, read, len(without), seconds, minutes,
        "tells classes" if gain > 0 else "does not show that it tells classes",
        "used" if pays else "not used (text: ocr uses it all the same)",
    )  # fmt: skip
    return pays


def _ocr_minutes(profile: Profile) -> float:
    """How long OCR of all pages may take where `text: auto` decides."""
    train = profile.train
    if train.minutes is not None:
        return SHARE_OF_MINUTES * train.minutes
    return 0.0 if train.only_probes and not reads_only(profile) else MOST_OCR_MINUTES


def _trial_gain(pages: list[TextPage], index: DocumentIndex, rows: np.ndarray, scored: np.ndarray) -> float:
    """How much better than class frequencies the text of some pages tells their classes, at least; by models that left them out."""
    labels, gains = index.labels, list[float]()
    units = unit_of(len(index), index.groups)
    _, documents = np.unique(index.documents.astype(np.str_), return_inverse=True)
    part = np.random.default_rng(0).permutation(units.max() + 1)[units] % 3
    for number in range(3):
        rest, out = rows[part[rows] != number], scored[part[scored] == number]
        if not len(out) or not len(rest):
            continue
        fit = fit_text_model(
            [pages[row] for row in rest], labels[rest], documents[rest], units[rest], len(index.class_names)
        )
        if fit is None:
            continue
        counts = np.bincount(labels[rest], minlength=len(index.class_names)) + 1.0
        own = np.arange(len(out)), labels[out]
        gains += (
            fit.model.log_probs([pages[row] for row in out])[own] - np.log(counts / counts.sum())[labels[out]]
        ).tolist()
    if len(gains) < 2:
        return 0.0
    return float(np.mean(gains) - 1.645 * np.std(gains, ddof=1) / np.sqrt(len(gains)))


@dataclass(frozen=True, eq=False)
class TextLearner:
    """What one fit learns from text.

    Attributes:
        profile: Of the run.
        index: All pages.
        train_rows: Rows to learn from, int64 [n].
        texts: Of all pages.
    """

    profile: Profile
    index: DocumentIndex
    train_rows: np.ndarray
    texts: RunTexts

    @functools.cached_property
    def fitted(self) -> TextFit | None:
        """The text model of the training pages; None where too few of them have text."""
        rows, labels = self.train_rows, self.index.labels
        _, documents = np.unique(self.index.documents.astype(np.str_), return_inverse=True)
        with_text = [row for row in rows.tolist() if self.texts.pages[row].text]
        if len(np.unique(documents[with_text])) < FEWEST_WITH_TEXT:
            return None
        units = unit_of(len(self.index), self.index.groups)
        pages = [self.texts.pages[row] for row in rows.tolist()]
        return fit_text_model(
            pages, labels[rows], documents[rows], units[rows], len(self.index.class_names), self.profile.data.split_seed
        )

    def alone(self, predictions: Predictions) -> Predictions:
        """Predictions by the text alone, for a model that only reads; pages without text have all classes alike."""
        fit = self.fitted
        if fit is None:
            return predictions
        text = fit.model.log_probs(self.pages_of(predictions))
        return _joined(predictions, text, TEXT_ALONE, keep_sides=False)

    def pages_of(self, predictions: Predictions) -> list[TextPage]:
        """The texts of predicted pages."""
        row_of = {name: row for row, name in enumerate(self.index.ids.tolist())}
        return [self.texts.pages[row_of[name]] for name in predictions.ids.tolist()]

    def learn(self, held_out: Predictions) -> TextBranch | None:
        """The text branch of the fit: whether text helps is measured on pages that neither image nor text was trained on.

        Args:
            held_out: What the image says about the held-out pages.

        Returns:
            None where there is too little text, or it is not shown to help.
        """
        fit = self.fitted
        if fit is None:
            logger.info(
                "text: fewer than %d training documents have text that tells classes apart: not used", FEWEST_WITH_TEXT
            )
            return None
        if reads_only(self.profile):
            return TextBranch(fit.model, TEXT_ALONE, self.texts.source)
        text = fit.model.log_probs(self.pages_of(held_out))
        documents = document_numbers(held_out)
        targets = held_out.labels
        if enough_documents(text, documents):
            fusion = fit_fusion(held_out.log_probs, text, targets, documents)
        else:
            fusion = Fusion()
        nested = cross_fitted_fusion(held_out.log_probs, text, targets, documents)
        image = log_softmax(held_out.log_probs.astype(np.float64), axis=1)
        gain = gain_of(image, nested, text, targets, documents)
        how = (
            "weights fitted to other documents"
            if gain.fitted
            else "both sides count alike: too few documents to fit weights"
        )
        logger.info(
            "text: log loss of %d held-out documents with text is lower by %.3f (at least %.3f; %s): text is %s",
            gain.documents, gain.log_loss, gain.low, how, "used" if gain.shown else "not shown to help, and left off",
        )  # fmt: skip
        return TextBranch(fit.model, fusion, self.texts.source, gain) if gain.shown else None

    def refitted(self, run: RunFolder) -> Mapping[str, np.ndarray]:
        """The text branch for a refit on all pages: its model is fitted to them, its weights are those of the best epoch.

        Args:
            run: Holds the checkpoint of the best epoch, or folds; of these the first one that reads counts.

        Returns:
            Its arrays; empty where none reads.
        """
        for path in [run.best] if run.best.is_file() else fold_checkpoints(run.path):
            branch, fit = Checkpoint.load(path).text_branch(path), self.fitted
            if branch is not None and fit is not None:
                return replace(branch, model=fit.model).to_arrays()
        return {}

    def joined(self, predictions: Predictions, branch: TextBranch) -> Predictions:
        """Predictions of the image with those of the text."""
        text = branch.model.log_probs(self.pages_of(predictions))
        return _joined(predictions, text, branch.fusion, keep_sides=not branch.alone)


def _joined(predictions: Predictions, text: np.ndarray, fusion: Fusion, *, keep_sides: bool) -> Predictions:
    image = predictions.log_probs
    log_probs = fusion(image, text)
    if not keep_sides:
        return replace(predictions, log_probs=log_probs)
    return replace(predictions, log_probs=log_probs, image=image, text=text)


def document_numbers(predictions: Predictions) -> np.ndarray:
    """Number of each page's document, int64 [n]."""
    names = np.array([document_of(name) for name in predictions.ids.tolist()])
    return np.asarray(np.unique(names, return_inverse=True)[1])
