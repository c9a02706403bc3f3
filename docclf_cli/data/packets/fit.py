"""Fits a `BoundaryModel` to synthetic packets: documents of a training set, one after another in random order."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from docclf_cli.data.packets.boundary_model import (
    IMAGE,
    TEXT,
    BoundaryModel,
    HeldOutGaps,
    KindModel,
    PacketPage,
    PageScorers,
    Scorer,
)
from docclf_cli.data.packets.cues import BUCKETS, IMAGE_CUES, TEXT_CUES
from docclf_cli.metrics.boosted_trees import BoostedTrees

PARTNERS = 4  # documents that follow each one, half of them of its class
FOLDS = 4
FEWEST_DOCUMENTS, FEWEST_LONG = 8, 3  # held out: in all, and of several pages
FEWEST_TRAINED, FEWEST_TRAINED_LONG = 20, 8
_FEWEST_PAIRS = 8  # of each outcome, for a kind to have a model
_PENALTIES = {"features": 5e-4, "words": 1.0}  # scikit-learn's C: 1280 features of few documents must weigh little
_CALIBRATION_PENALTY = 1.0


@dataclass(frozen=True, eq=False)
class PacketDocument:
    """A document that synthetic packets are made of.

    Attributes:
        label: Its class.
        unit: Number of its group: documents of one group are on one side of every fold.
        copies: Its pages in order, once as they are and again as a scanner would deliver them.
    """

    label: int
    unit: int
    copies: tuple[tuple[PacketPage, ...], ...]


@dataclass(frozen=True, eq=False)
class _Pair:
    before: PacketPage
    after: PacketPage
    is_boundary: bool
    weight: float
    unit: int
    other_unit: int


def fit_boundaries(trained: Sequence[PacketDocument], held_out: Sequence[PacketDocument], seed: int) -> BoundaryModel:
    """Fit the trees to documents that a network was trained on, and calibrate on documents it has not seen.

    Args:
        trained: At least `FEWEST_TRAINED`, `FEWEST_TRAINED_LONG` of them with several pages.
        held_out: At least `FEWEST_DOCUMENTS`, `FEWEST_LONG` of them with several pages.
        seed: Moves the order of the synthetic packets.
    """
    scorers = _fit_scorers(trained)
    kinds = {}
    for kind in (TEXT, IMAGE):
        pairs = list(_pairs(trained, kind, seed))
        checks = list(_pairs(held_out, kind, seed))
        if min(_rarest(pairs), _rarest(checks)) < _FEWEST_PAIRS and kind == TEXT:
            continue
        rows = _cross_fitted_rows(trained, pairs, kind)
        targets = np.array([pair.is_boundary for pair in pairs])
        trees = BoostedTrees.fit(rows, targets, np.array([pair.weight for pair in pairs]), seed)
        kinds[kind] = _calibrated(scorers, trees, checks, kind)
    return BoundaryModel(scorers, kinds)


def _rarest(pairs: Sequence[_Pair]) -> int:
    boundaries = sum(pair.is_boundary for pair in pairs)
    return min(boundaries, len(pairs) - boundaries)


def _pairs(documents: Sequence[PacketDocument], kind: str, seed: int) -> Iterable[_Pair]:
    """Neighbouring pages of synthetic packets, weighted as often as they occur where each document comes once.

    Pages with text are compared as they are; images as they are, and as a scanner would deliver them.
    """
    by_label: dict[int, list[int]] = defaultdict(list)
    for number, document in enumerate(documents):
        by_label[document.label].append(number)
    for number, document in enumerate(documents):
        copies = document.copies if kind == IMAGE else document.copies[:1]
        for copy, pages in enumerate(copies):
            share = 1 / len(copies)
            for before, after in itertools.pairwise(pages):
                if _is_of(kind, before, after):
                    yield _Pair(before, after, False, share, document.unit, document.unit)
            rng = np.random.default_rng((seed, number, copy))
            for partner in range(PARTNERS):
                pool = by_label[document.label] if partner % 2 == 0 else range(len(documents))
                others = [one for one in pool if one != number]
                if not others:
                    continue
                other = documents[others[int(rng.integers(len(others)))]]
                after = other.copies[copy][0]
                if _is_of(kind, pages[-1], after):
                    yield _Pair(pages[-1], after, True, share / PARTNERS, document.unit, other.unit)


def _is_of(kind: str, before: PacketPage, after: PacketPage) -> bool:
    return kind == IMAGE or (before.cues.has_text and after.cues.has_text)


def _fit_scorers(documents: Sequence[PacketDocument]) -> PageScorers:
    pages = [
        (page, number == 0, number == len(copy) - 1)
        for document in documents
        for copy in document.copies
        for number, page in enumerate(copy)
    ]
    features = np.stack([page.features for page, _, _ in pages])
    firsts, lasts = np.array([first for _, first, _ in pages]), np.array([last for _, _, last in pages])
    written = np.array([page.cues.has_text for page, _, _ in pages])
    seen = np.zeros(BUCKETS)
    for page, _, _ in pages:
        if page.cues.words is not None:
            seen += page.cues.words > 0
    no_words = Scorer(np.zeros(BUCKETS, dtype=np.float32), 0.0)
    scorers = PageScorers(
        idf=np.log((1 + written.sum()) / (1 + seen)).astype(np.float32),
        centre=features.mean(axis=0),
        first=_fit_scorer(features, firsts, _PENALTIES["features"], scaled=True),
        last=_fit_scorer(features, lasts, _PENALTIES["features"], scaled=True),
        first_words=no_words,
        last_words=no_words,
    )
    if not written.any():
        return scorers
    words = np.stack([scorers.words_of(page.cues) for page, _, _ in pages if page.cues.has_text])
    return replace(
        scorers,
        first_words=_fit_scorer(words, firsts[written], _PENALTIES["words"], scaled=False),
        last_words=_fit_scorer(words, lasts[written], _PENALTIES["words"], scaled=False),
    )


def _fit_scorer(features: np.ndarray, targets: np.ndarray, penalty: float, *, scaled: bool) -> Scorer:
    """A logistic regression with balanced classes; `scaled` gives all features one variance first."""
    from sklearn.linear_model import LogisticRegression

    scale = np.maximum(features.std(axis=0), 1e-6) if scaled else np.ones(features.shape[1])
    centre = features.mean(axis=0) if scaled else np.zeros(features.shape[1])
    if features.shape[1] == 0 or targets.all() or not targets.any():
        return Scorer(np.zeros(features.shape[1], dtype=np.float32), 0.0)
    fit = LogisticRegression(C=penalty, class_weight="balanced", max_iter=300).fit((features - centre) / scale, targets)
    weights = fit.coef_[0] / scale
    return Scorer(weights.astype(np.float32), float(fit.intercept_[0] - weights @ centre))


def _folds(units: Iterable[int]) -> Callable[[int], int]:
    """The fold of each unit: they are dealt in turn."""
    fold_of = {unit: number % FOLDS for number, unit in enumerate(sorted(set(units)))}
    return lambda unit: fold_of[unit]


def _cross_fitted_rows(documents: Sequence[PacketDocument], pairs: Sequence[_Pair], kind: str) -> np.ndarray:
    """What the trees look at, with scores of pages by scorers that have not seen their documents."""
    fold_of = _folds(document.unit for document in documents)
    scorers = []
    for fold in range(FOLDS):
        others = [document for document in documents if fold_of(document.unit) != fold]
        scorers.append(_fit_scorers(others or documents))
    rows = []
    for pair in pairs:
        own, other = fold_of(pair.unit), fold_of(pair.other_unit)
        row = scorers[own].row(pair.before, pair.after, kind)
        if own != other:  # scores of the second page come from scorers that have not seen its document either
            second = scorers[other].row(pair.before, pair.after, kind)
            row[_of_second(kind)] = second[_of_second(kind)]
        rows.append(row)
    return np.stack(rows)


def _of_second(kind: str) -> list[int]:
    """The columns of `PageScorers.row` that score the second page."""
    first = len(IMAGE_CUES)
    return [first] if kind == IMAGE else [first, first + 2 + len(TEXT_CUES) + 1]


def _calibrated(scorers: PageScorers, trees: BoostedTrees, pairs: Sequence[_Pair], kind: str) -> KindModel:
    """Calibrate log-odds on held-out pairs, and note what a calibration on other documents says of each."""
    rows = np.stack([scorers.row(pair.before, pair.after, kind) for pair in pairs])
    own = np.array([scorers.own_view(pair.before, pair.after) for pair in pairs])
    columns = np.column_stack([trees.log_odds(rows), own])
    targets = np.array([pair.is_boundary for pair in pairs])
    weights = np.array([pair.weight for pair in pairs])
    fold_of = _folds(pair.unit for pair in pairs)
    folds = np.array([[fold_of(pair.unit), fold_of(pair.other_unit)] for pair in pairs])
    log_odds = np.empty(len(pairs))
    for fold in range(FOLDS):
        judged = folds[:, 0] == fold
        fitted = ~(folds == fold).any(axis=1)
        log_odds[judged] = _with_one(columns[judged]) @ _fit_calibration(
            columns[fitted], targets[fitted], weights[fitted]
        )
    calibration = _fit_calibration(columns, targets, weights)
    return KindModel(trees, calibration, HeldOutGaps(expit(log_odds), targets, weights))


def _with_one(columns: np.ndarray) -> np.ndarray:
    return np.column_stack([columns, np.ones(len(columns))])


def _fit_calibration(columns: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights of three columns and a constant, by a logistic regression on their standardised values, float64 [4]."""
    from sklearn.linear_model import LogisticRegression

    if len(columns) == 0 or targets.all() or not targets.any():
        return np.array([1.0, 0.0, 0.0, 0.0])
    centre, scale = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-6)
    fit = LogisticRegression(C=_CALIBRATION_PENALTY).fit((columns - centre) / scale, targets, sample_weight=weights)
    found = fit.coef_[0] / scale
    return np.append(found, fit.intercept_[0] - found @ centre)
