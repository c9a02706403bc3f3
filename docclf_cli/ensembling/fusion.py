"""Late fusion: what the image and the text of a page say becomes one, with weights fitted on pages that trained neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

from docclf_cli.ensembling.pooling import floored

FEWEST_DOCUMENTS = 50  # with text that fit weights; fewer would fit themselves
FIXED = 1.0  # weight of each side where none is fitted: both are calibrated, so their log-probabilities add up
PARTS = 5
DRAWS = 2000
_PULL = 2.0  # of the penalty that keeps weights near `FIXED`: about two documents


@dataclass(frozen=True)
class Fusion:
    """The weights of both sides in the sum of their log-probabilities.

    Attributes:
        image: Of the image, on pages with text.
        text: Of the text.
        image_alone: Of the image on pages without text.
    """

    image: float = FIXED
    text: float = FIXED
    image_alone: float = FIXED

    def __call__(self, image: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Log-probabilities of pages by both sides, float32 [n, num_classes], rows normalised.

        Args:
            image: [n, num_classes]; a row of NaN, a page that cannot be read, stays one.
            text: [n, num_classes]; a row of NaN is a page without text.
        """
        with_text = ~np.isnan(text).any(axis=1)
        logits = floored(image) * np.where(with_text, self.image, self.image_alone)[:, None]
        logits[with_text] += floored(text[with_text]) * self.text
        return log_softmax(logits, axis=1).astype(np.float32)

    def to_array(self) -> np.ndarray:
        """What a checkpoint stores."""
        return np.array([self.image, self.text, self.image_alone])

    @classmethod
    def from_array(cls, array: np.ndarray) -> Fusion:
        """Read what `to_array` made.

        Raises:
            ValueError: It is something else.
        """
        if array.shape != (3,) or not np.isfinite(array).all() or (array < 0).any():
            raise ValueError("not the weights of a fusion")
        return cls(*map(float, array))


TEXT_ALONE = Fusion(0.0, 1.0, 0.0)


def enough_documents(text: np.ndarray, documents: np.ndarray) -> bool:
    """Whether so many documents have text that weights are fitted.

    Args:
        text: [n, num_classes], NaN for pages without text.
        documents: Number of each page's document, int64 [n].
    """
    return len(np.unique(documents[~np.isnan(text).any(axis=1)])) >= FEWEST_DOCUMENTS


def fit_fusion(image: np.ndarray, text: np.ndarray, targets: np.ndarray, documents: np.ndarray) -> Fusion:
    """The weights with the least log loss on held-out pages, where every document counts once.

    Pages with text and without fit their own; weights are at least 0, and are pulled towards `FIXED`.

    Args:
        image: Log-probabilities of the image, [n, num_classes].
        text: Those of the text, NaN for pages without.
        targets: int64 [n]; pages of -1, and those that cannot be read, are left out.
        documents: Number of each page's document, int64 [n].
    """
    scored = (targets >= 0) & ~np.isnan(image).any(axis=1)
    with_text = scored & ~np.isnan(text).any(axis=1)
    of_image = of_text = FIXED
    if with_text.any():
        sides = np.stack([floored(image[with_text]), floored(text[with_text])])
        of_image, of_text = _fitted(sides, targets[with_text], documents[with_text]).tolist()
    without = scored & ~with_text
    alone = FIXED
    if without.any():
        (alone,) = _fitted(floored(image[without])[None], targets[without], documents[without]).tolist()
    return Fusion(of_image, of_text, alone)


def _fitted(sides: np.ndarray, targets: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Weights of the sides, [sides, n, num_classes], by L-BFGS."""
    share = 1 / np.bincount(documents)[documents]
    own = sides[:, np.arange(len(targets)), targets]

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.tensordot(weights, sides, axes=1)
        normaliser = logsumexp(logits, axis=1)
        loss = float((share * (normaliser - weights @ own)).sum()) + _PULL / 2 * float(((weights - FIXED) ** 2).sum())
        expected = (sides * np.exp(logits - normaliser[:, None])).sum(axis=2)
        return loss, ((expected - own) * share).sum(axis=1) + _PULL * (weights - FIXED)

    start = np.full(len(sides), FIXED)
    bounds = [(0.0, 20.0)] * len(sides)
    return np.asarray(minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds).x)


def cross_fitted_fusion(
    image: np.ndarray, text: np.ndarray, targets: np.ndarray, documents: np.ndarray, seed: int = 0
) -> np.ndarray:
    """What both sides say together with weights fitted on other documents; the fixed ones where documents are few.

    Returns:
        Log-probabilities, float32 [n, num_classes].
    """
    if not enough_documents(text, documents):
        return Fusion()(image, text)
    part = np.random.default_rng(seed).permutation(documents.max() + 1)[documents] % PARTS
    found = np.empty(image.shape, dtype=np.float32)
    for number in range(PARTS):
        out = part == number
        fusion = fit_fusion(image[~out], text[~out], targets[~out], documents[~out])
        found[out] = fusion(image[out], text[out])
    return found


@dataclass(frozen=True)
class Gain:
    """What text adds on held-out documents.

    Attributes:
        documents: How many of them have text.
        log_loss: By how much the log loss of a document is lower with text, with its one-sided 95 % lower bound.
        low: That bound, from documents drawn with repetition.
        fitted: Whether the weights were fitted, each on other documents.
    """

    documents: int
    log_loss: float
    low: float
    fitted: bool

    @property
    def shown(self) -> bool:
        """Whether text is shown to help."""
        return self.low > 0

    def to_dict(self) -> Mapping[str, float]:
        """For checkpoints and JSON."""
        return {"documents": self.documents, "log_loss": self.log_loss, "low": self.low, "fitted": float(self.fitted)}


def gain_of(
    image: np.ndarray, fused: np.ndarray, text: np.ndarray, targets: np.ndarray, documents: np.ndarray, seed: int = 0
) -> Gain:
    """Compare the log loss with text and without on the documents that have text, each counted once."""
    rows = (targets >= 0) & ~np.isnan(image).any(axis=1) & ~np.isnan(text).any(axis=1)
    fitted = enough_documents(text, documents)
    if not rows.any():
        return Gain(0, 0.0, 0.0, fitted)
    place = np.arange(rows.sum())
    better = (floored(fused[rows]) - floored(image[rows]))[place, targets[rows]]
    _, of_page = np.unique(documents[rows], return_inverse=True)
    by_document = np.bincount(of_page, weights=better) / np.bincount(of_page)
    count = len(by_document)
    draws = np.random.default_rng(seed).integers(0, count, (DRAWS, count))
    low = float(np.quantile(by_document[draws].mean(axis=1), 0.05)) if count > 1 else 0.0
    return Gain(count, float(by_document.mean()), min(low, float(by_document.mean())), fitted)
