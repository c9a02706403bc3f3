"""Fits the text model: penalty, class weights and pages to learn from are chosen by grouped cross-validation."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from docclf_cli.data.index.splits import placed
from docclf_cli.models.text_features import TextPage, counted
from docclf_cli.models.text_model import TextFeatures, TextModel, scaled

FOLDS = 5
PENALTIES = (3.0, 10.0, 30.0, 100.0)  # scikit-learn's C: the larger, the weaker the penalty
FEWEST_PER_FEATURE = 2  # documents that an n-gram must be in; of what only one has nothing can be learned
MOST_FEATURES = 150_000
MOST_EXACT = 2_500  # pages whose products with each other fit into memory; of more, a sample chooses
MOST_PAGES = 20_000  # to fit the final weights to: first pages, then others
ITERATIONS = 200
SCALES = (0.05, 50.0)
_MISSING = -20.0  # logit of a class that had no page to learn from
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class TextChoice:
    """What cross-validation chooses.

    Attributes:
        penalty: scikit-learn's C.
        balanced: Whether each class counts the same.
        first_only: Whether only first pages are learned from.
    """

    penalty: float = 10.0
    balanced: bool = True
    first_only: bool = False


@dataclass(frozen=True, eq=False)
class TextFit:
    """A fitted text model.

    Attributes:
        model: Ready to predict.
        choice: What was chosen.
        log_loss: Mean over documents that were left out, of what their pages say together.
    """

    model: TextModel
    choice: TextChoice
    log_loss: float


@dataclass(frozen=True, eq=False)
class _Pages:
    """Training pages with text: labels, document and unit (group) of each, int64 [n]; whether it is a first page."""

    labels: np.ndarray
    documents: np.ndarray
    units: np.ndarray
    first: np.ndarray
    num_classes: int

    def take(self, rows: np.ndarray) -> _Pages:
        return _Pages(self.labels[rows], self.documents[rows], self.units[rows], self.first[rows], self.num_classes)

    @property
    def shares(self) -> np.ndarray:
        """Weight of each page: documents count the same, however long they are; the mean is 1."""
        found = 1 / np.bincount(self.documents)[self.documents]
        return np.asarray(found / found.mean())


def fit_text_model(
    pages: Sequence[TextPage],
    labels: np.ndarray,
    documents: np.ndarray,
    units: np.ndarray,
    num_classes: int,
    seed: int = 0,
) -> TextFit | None:
    """Fit a text model to labelled pages.

    Args:
        pages: Their texts; those without text are left out.
        labels: int64 [n].
        documents: Number of each page's document, int64 [n].
        units: Number of what must not be divided between folds (a group, or a document), int64 [n].
        num_classes: Length of the class axis.
        seed: Moves the folds.

    Returns:
        None where fewer than two classes have text.
    """
    rows = np.array([row for row, page in enumerate(pages) if page.text], dtype=np.int64)
    if len(np.unique(labels[rows])) < 2:
        return None
    first = np.array([pages[row].first for row in rows])
    known = _Pages(labels[rows], documents[rows], units[rows], first, num_classes)
    order = np.argsort(~first, kind="stable")[:MOST_PAGES]  # first pages, then others
    rows, known = rows[np.sort(order)], known.take(np.sort(order))
    counts = counted([pages[row].text for row in rows])
    features = _learn_features(counts, known.documents)
    inputs = features.of_counts(counts)
    sample = np.sort(np.random.default_rng(seed).permutation(len(rows))[:MOST_EXACT])
    few = known.take(sample)
    dense = _coordinates(inputs[sample])
    folds = _folds(few, seed)
    choice, logits, log_loss = _chosen(dense, few, folds)
    scale = _fit_scale(logits, few)
    if len(sample) == len(rows):
        combination, bias = _solved(dense.values, few, choice)
        weight = inputs[sample].T @ (dense.back @ combination)
    else:
        weight, bias = _solved(inputs, known, choice)
    model = TextModel(features, np.asarray(weight, dtype=np.float32), bias.astype(np.float32), scale)
    logger.info(
        "text: %d pages of %d documents, %d n-grams, C %g, %s, log loss %.3f on documents left out",
        len(rows), len(np.unique(known.documents)), len(features.columns), choice.penalty,
        "first pages" if choice.first_only else "all pages", log_loss,
    )  # fmt: skip
    return TextFit(model.stored(), choice, log_loss)


def _learn_features(counts: Any, documents: np.ndarray) -> TextFeatures:
    """The n-grams that enough documents have, with their inverse document frequency (as scikit-learn smooths it)."""
    from scipy.sparse import csr_matrix

    _, of_page = np.unique(documents, return_inverse=True)
    total = int(of_page.max()) + 1
    members = csr_matrix((np.ones(len(of_page), np.float32), (of_page, np.arange(len(of_page)))))
    present = members @ counts
    columns, frequency = np.unique(present.tocsr().indices, return_counts=True)
    enough = frequency >= min(FEWEST_PER_FEATURE, total)
    if enough.sum() > MOST_FEATURES:
        enough &= frequency >= np.sort(frequency)[-MOST_FEATURES]
    columns, frequency = columns[enough], frequency[enough]
    if len(columns) > MOST_FEATURES:  # many have the lowest frequency that is kept
        keep = np.sort(np.argsort(-frequency, kind="stable")[:MOST_FEATURES])
        columns, frequency = columns[keep], frequency[keep]
    return TextFeatures(columns.astype(np.int64), (np.log((1 + total) / (1 + frequency)) + 1).astype(np.float32))


@dataclass(frozen=True, eq=False)
class _Coordinates:
    """Pages in the space that they span: the same regression, with as many features as pages.

    Attributes:
        values: [n, rank], whose products are those of the features.
        back: [n, rank]: weights of these, times this, weight the pages' features.
    """

    values: np.ndarray
    back: np.ndarray


def _coordinates(inputs: Any) -> _Coordinates:
    products = (inputs @ inputs.T).toarray().astype(np.float64)
    values, vectors = np.linalg.eigh(products)
    keep = values > 1e-6 * values[-1]
    root = np.sqrt(values[keep])
    return _Coordinates(vectors[:, keep] * root, vectors[:, keep] / root)


def _folds(pages: _Pages, seed: int) -> np.ndarray:
    """Fold of each page; those of a unit share one."""
    _, unit = np.unique(pages.units, return_inverse=True)
    counts = np.zeros((int(unit.max()) + 1, pages.num_classes), dtype=np.int64)
    _, one_each = np.unique(pages.documents, return_index=True)
    np.add.at(counts, (unit[one_each], pages.labels[one_each]), 1)
    return placed(counts, min(FOLDS, len(counts)), np.random.default_rng(seed))[unit]


def _chosen(dense: _Coordinates, pages: _Pages, folds: np.ndarray) -> tuple[TextChoice, np.ndarray, float]:
    """The choice with the least log loss of documents that are left out, and its logits for all pages."""
    best = TextChoice()
    if len(np.unique(folds)) < 2:
        return best, np.zeros((len(folds), pages.num_classes)), float("nan")
    found: dict[TextChoice, tuple[float, np.ndarray]] = {}

    def tried(choice: TextChoice) -> float:
        if choice not in found:
            logits = _left_out(dense.values, pages, folds, choice)
            found[choice] = _document_loss(logits, pages, _fit_scale(logits, pages)), logits
        return found[choice][0]

    best = min((replace(best, penalty=penalty) for penalty in PENALTIES), key=tried)
    others = [replace(best, balanced=False)]
    if pages.first.any() and not pages.first.all():
        others.append(replace(best, first_only=True))
    best = min([best, *others], key=tried)
    return best, found[best][1], found[best][0]


def _left_out(values: np.ndarray, pages: _Pages, folds: np.ndarray, choice: TextChoice) -> np.ndarray:
    """Logits of each page by a model that its fold had no part in; NaN where nothing could be learned of its class."""
    logits = np.full((len(folds), pages.num_classes), np.nan)
    for fold in np.unique(folds):
        out = folds == fold
        rest = pages.take(~out)
        if len(np.unique(rest.labels)) < 2:
            continue
        weight, bias = _solved(values[~out], rest, choice)
        known = out & np.isin(pages.labels, rest.labels)
        logits[known] = values[known] @ weight + bias
    return logits


def _solved(values: Any, pages: _Pages, choice: TextChoice) -> tuple[np.ndarray, np.ndarray]:
    """Weights [features, num_classes] and biases [num_classes] of the regression."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if choice.first_only and len(np.unique(pages.labels[pages.first])) == len(np.unique(pages.labels)):
        values, pages = values[pages.first], pages.take(pages.first)
    model = LogisticRegression(
        C=choice.penalty, class_weight="balanced" if choice.balanced else None, max_iter=ITERATIONS, tol=1e-3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(values, pages.labels, sample_weight=pages.shares)
    weight, bias = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn has one logit then
        weight, bias = np.hstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    every = np.zeros((values.shape[1], pages.num_classes))
    biases = np.full(pages.num_classes, _MISSING)
    every[:, model.classes_] = weight
    biases[model.classes_] = bias
    return every, biases


def _document_log_probs(logits: np.ndarray, pages: _Pages, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the pages of each document say together (their geometric mean), and its label; left out where not known."""
    known = ~np.isnan(logits).any(axis=1)
    _, at, of_page = np.unique(pages.documents[known], return_index=True, return_inverse=True)
    total = np.zeros((len(at), pages.num_classes))
    np.add.at(total, of_page, scaled(logits[known], pages.first[known], scale))
    return log_softmax(total / np.bincount(of_page)[:, None], axis=1), pages.labels[known][at]


def _document_loss(logits: np.ndarray, pages: _Pages, scale: np.ndarray) -> float:
    log_probs, labels = _document_log_probs(logits, pages, scale)
    return float(-log_probs[np.arange(len(labels)), labels].mean()) if len(labels) else float("inf")


def _fit_scale(logits: np.ndarray, pages: _Pages) -> np.ndarray:
    """Scales of first and later pages that suit documents and single pages: the least sum of both log losses.

    Scales are pulled towards 1 by the weight of one document; without pages that were left out they are 1.
    """
    known = ~np.isnan(logits).any(axis=1)
    if not known.any() or not np.ptp(logits[known]):
        return np.ones(2)
    share = pages.shares[known] / known.sum()
    own = np.arange(known.sum()), pages.labels[known]
    documents = len(np.unique(pages.documents[known]))

    def loss(log_scale: np.ndarray) -> float:
        scale = np.exp(log_scale)
        of_pages = -float((share * scaled(logits[known], pages.first[known], scale)[own]).sum())
        return _document_loss(logits, pages, scale) + of_pages + float((log_scale**2).sum()) / (2 * documents)

    limits = np.log(SCALES)
    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[tuple(limits)] * 2)
    return np.exp(found.x)
