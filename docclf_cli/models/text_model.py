"""The text model: a linear classifier over hashed n-grams, held as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import log_softmax

from docclf_cli.models.text_features import FIELDS, SIZE, TextPage, counted, place_of

_ARRAYS = ("columns", "idf", "weight", "bias", "scale")
MOST_FEATURES = 1_000_000  # of a file; more were not written by docclf


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """From texts to weighted, normalised features: TF-IDF of each field, each of length 1.

    Attributes:
        columns: The n-grams that count, as places of `text_features.counted`, int64 [m], sorted.
        idf: Their inverse document frequency, float32 [m].
    """

    columns: np.ndarray
    idf: np.ndarray

    def __call__(self, texts: Sequence[str]) -> Any:
        """Features of texts, a sparse matrix float32 [n, m]; a row has the length 1, or 0 where nothing is known."""
        return self.of_counts(counted(texts))

    def of_counts(self, counts: Any) -> Any:
        """The same from `counted`."""
        from scipy.sparse import csr_matrix

        counts = counts.tocsr()
        place = np.searchsorted(self.columns, counts.indices)
        place[place == len(self.columns)] = 0
        known = self.columns[place] == counts.indices if len(self.columns) else np.zeros(counts.nnz, dtype=bool)
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))[known]
        columns = place[known]
        values = counts.data[known] * self.idf[columns]
        field = counts.indices[known] // SIZE
        squares = np.zeros((counts.shape[0], len(FIELDS)))
        np.add.at(squares, (rows, field), values.astype(np.float64) ** 2)
        values = values / np.sqrt(np.maximum(squares, 1e-12))[rows, field] / np.sqrt(len(FIELDS))
        return csr_matrix((values.astype(np.float32), (rows, columns)), shape=(counts.shape[0], len(self.columns)))


def scaled(logits: np.ndarray, first: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Log-probabilities, float64 [n, num_classes], of logits that are scaled by the place of their page.

    Args:
        logits: [n, num_classes].
        first: Whether each page is the first of its file, bool [n].
        scale: Of first pages and of later ones, [2].
    """
    return np.asarray(log_softmax(logits * np.where(first, scale[0], scale[1])[:, None], axis=1))


@dataclass(frozen=True, eq=False)
class TextModel:
    """A multinomial logistic regression over the features of a page's text.

    Attributes:
        features: From texts to features.
        weight: float32 [m, num_classes].
        bias: float32 [num_classes].
        scale: Multiplies the logits of first pages and of later ones, so that the pages of a document together are calibrated
            where they were left out, float64 [2].
    """

    features: TextFeatures
    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray

    def log_probs(self, pages: Sequence[TextPage]) -> np.ndarray:
        """Log-probabilities, float32 [n, num_classes]; a row of NaN for a page without text."""
        found = np.full((len(pages), len(self.bias)), np.nan, dtype=np.float32)
        rows = [row for row, page in enumerate(pages) if page.text]
        if rows:
            logits = self.features([pages[row].text for row in rows]) @ self.weight + self.bias
            found[rows] = scaled(logits, np.array([pages[row].first for row in rows]), self.scale)
        return found

    def strongest(self, text: str, label: int, count: int) -> list[tuple[str, float]]:
        """The words, and pairs of neighbouring words, of a text that spoke for a class, the strongest first.

        Each n-gram adds to the logit of the class more or less than to those of the others on average. What n-grams of letters
        add is divided between the words that they are in.
        """
        (row,) = self.features([text])
        others = (
            self.weight.mean(axis=1) if self.weight.shape[1] < 2 else np.delete(self.weight, label, axis=1).mean(axis=1)
        )
        gains = row.data * (self.weight[:, label] - others)[row.indices] * float(self.scale[0])
        gain_of = dict(zip(self.features.columns[row.indices].tolist(), gains.tolist(), strict=True))
        users: dict[int, set[str]] = {}
        for number, field in enumerate(FIELDS):
            for word, ngram in field.with_words(text):
                users.setdefault(place_of(ngram, number), set()).add(word)
        found: dict[str, float] = {}
        for place, words in users.items():
            for word in words:
                found[word] = found.get(word, 0.0) + gain_of.get(place, 0.0) / len(words)
        order = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        return [(word, gain) for word, gain in order[:count] if gain > 0]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint stores: weights as float16, which moves a logit by less than a hundredth."""
        return {
            "columns": self.features.columns.astype(np.int64),
            "idf": self.features.idf.astype(np.float32),
            "weight": self.weight.astype(np.float16),
            "bias": self.bias.astype(np.float32),
            "scale": self.scale.astype(np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], num_classes: int) -> TextModel:
        """Read what `to_arrays` made.

        Raises:
            ValueError: It is something else.
        """
        columns, idf, weight, bias, scale = (np.asarray(arrays[name]) for name in _ARRAYS)
        count = len(columns)
        shapes_fit = (
            columns.shape == idf.shape == (count,)
            and weight.shape == (count, num_classes)
            and bias.shape == (num_classes,)
        )
        if (
            not shapes_fit
            or count > MOST_FEATURES
            or scale.shape != (2,)
            or not ((scale > 0) & np.isfinite(scale)).all()
        ):
            raise ValueError("not the arrays of a text model")
        if (np.diff(columns) <= 0).any() or not (
            np.isfinite(idf).all() and np.isfinite(weight).all() and np.isfinite(bias).all()
        ):
            raise ValueError("not the arrays of a text model")
        features = TextFeatures(columns.astype(np.int64), idf.astype(np.float32))
        return cls(features, weight.astype(np.float32), bias.astype(np.float32), scale.astype(np.float64))

    def stored(self) -> TextModel:
        """The model as it comes back from a checkpoint, so that training scores what predicts later."""
        return replace(self, weight=self.weight.astype(np.float16).astype(np.float32))
