"""Where documents begin in a packet: the probability that two neighbouring pages belong to two documents.

Boosted trees look at what the pages show (`cues`) and at how much each looks like a first or a last page. They are fitted to the
documents a model was trained on. What the model itself says of the two pages, their classes and features, is worth more on pages
it has trained on than on others; so it comes in only when the log-odds are calibrated, on held-out documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logsumexp

from docclf_cli.data.packets.cues import BUCKETS, IMAGE_CUES, TEXT_CUES, PageCues, image_cues, text_cues
from docclf_cli.metrics.boosted_trees import BoostedTrees

TEXT, IMAGE = "text", "image"  # pairs of which both pages have text, and all others
KINDS = (TEXT, IMAGE)
_COLUMNS = {TEXT: len(IMAGE_CUES) + len(TEXT_CUES) + 5, IMAGE: len(IMAGE_CUES) + 2}
_RARE = 1e-4  # probability that a shared class has at least
UNSURE = 0.5
_SCORERS = ("first", "last", "first_words", "last_words")


@dataclass(frozen=True, eq=False)
class PacketPage:
    """A page of a packet, as the boundary model looks at it.

    Attributes:
        cues: What it shows.
        features: What the classifier of the network takes, float32 [width].
        log_probs: Calibrated log-probabilities of its class, float64 [classes].
    """

    cues: PageCues
    features: np.ndarray
    log_probs: np.ndarray


@dataclass(frozen=True, eq=False)
class Scorer:
    """How much a page looks like the first (or last) one of its document: a logistic regression.

    Attributes:
        weights: Of the features, float32 [width].
        bias: Log-odds of a page without any.
    """

    weights: np.ndarray
    bias: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Log-odds of features [..., width]."""
        return features @ self.weights + self.bias


@dataclass(frozen=True, eq=False)
class PageScorers:
    """Scorers of pages by their features and by their words.

    Attributes:
        idf: Weight of each bucket of hashed words, float32 [`BUCKETS`].
        centre: Mean features of pages, float32 [width].
        first: By features, whether it is a first page.
        last: Likewise a last page.
        first_words: By words, whether it is a first page; all weights are 0 where no page had text.
        last_words: Likewise a last page.
    """

    idf: np.ndarray
    centre: np.ndarray
    first: Scorer
    last: Scorer
    first_words: Scorer
    last_words: Scorer

    def words_of(self, page: PageCues) -> np.ndarray:
        """Weighted words of a page with text, of length 1, float32 [`BUCKETS`]."""
        assert page.words is not None
        found = page.words * self.idf
        return found / max(float(np.linalg.norm(found)), 1e-9)

    def row(self, before: PacketPage, after: PacketPage, kind: str) -> np.ndarray:
        """What the trees of a kind look at, float64 [columns]."""
        first, second = before.cues, after.cues
        columns = [*image_cues(first, second), float(self.first(after.features)), float(self.last(before.features))]
        if kind == TEXT:
            words = self.words_of(first), self.words_of(second)
            columns += [*text_cues(first, second), float(words[0] @ words[1])]
            columns += [float(self.first_words(words[1])), float(self.last_words(words[0]))]
        return np.array(columns)

    def own_view(self, before: PacketPage, after: PacketPage) -> tuple[float, float]:
        """What the network says: log-probability of one class for both pages, and the cosine of their features."""
        shared = max(float(logsumexp(before.log_probs + after.log_probs)), float(np.log(_RARE)))
        one, other = before.features - self.centre, after.features - self.centre
        return shared, float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9))


@dataclass(frozen=True, eq=False)
class HeldOutGaps:
    """What was found for gaps between pages of held-out documents, each by a calibration that had not seen its documents.

    Attributes:
        probability: Of a boundary, float64 [n].
        boundary: Whether there was one, bool [n].
        weight: How often each occurs in a packet of these documents, float64 [n].
    """

    probability: np.ndarray
    boundary: np.ndarray
    weight: np.ndarray

    def cut_from(self, precision: float) -> float:
        """The lowest probability, at least a half, from which on cuts are as often right; above 1 where none is."""
        return self._limit(self.probability, self.boundary, precision)

    def join_to(self, precision: float) -> float:
        """The highest probability, at most a half, up to which joins are as often right; below 0 where none is."""
        return 1 - self._limit(1 - self.probability, ~self.boundary, precision)

    def _limit(self, sure: np.ndarray, right: np.ndarray, precision: float) -> float:
        decided = sure >= UNSURE
        order = np.argsort(-sure[decided], kind="stable")
        values, weight = sure[decided][order], self.weight[decided][order]
        share = np.cumsum(weight * right[decided][order]) / np.maximum(np.cumsum(weight), 1e-12)
        last = np.append(np.diff(values) != 0, True) if len(values) else np.empty(0, bool)
        good = np.flatnonzero(last & (share >= precision))
        if not len(good):
            return 1.5
        return UNSURE if good[-1] == len(values) - 1 else float(values[good[-1]])


@dataclass(frozen=True, eq=False)
class KindModel:
    """The model of one kind of pairs.

    Attributes:
        trees: Log-odds of a boundary by what pages show.
        calibration: Weights of these log-odds, of the two values of `PageScorers.own_view`, and a constant, float64 [4].
        held_out: What it found on held-out documents.
    """

    trees: BoostedTrees
    calibration: np.ndarray
    held_out: HeldOutGaps


@dataclass(frozen=True, eq=False)
class Gap:
    """What is said of the place between two pages.

    Attributes:
        probability: That a document ends and another one begins there.
        kind: `text` or `image`; empty where one of the pages could not be read.
    """

    probability: float
    kind: str


@dataclass(frozen=True, eq=False)
class BoundaryModel:
    """The probability of a boundary between two pages of a packet.

    Attributes:
        scorers: Whether pages look like first or last ones.
        kinds: The model of each kind; `image` is always there.
    """

    scorers: PageScorers
    kinds: Mapping[str, KindModel]

    def gap(self, before: PacketPage, after: PacketPage) -> Gap:
        """What is said of the place between two neighbouring pages."""
        has_text = before.cues.has_text and after.cues.has_text
        kind = TEXT if has_text and TEXT in self.kinds else IMAGE
        model = self.kinds[kind]
        log_odds = float(model.trees.log_odds(self.scorers.row(before, after, kind)[None])[0])
        row = np.array([log_odds, *self.scorers.own_view(before, after), 1.0])
        return Gap(float(expit(row @ model.calibration)), kind)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays by name, as a checkpoint holds them."""
        found = {"idf": self.scorers.idf, "centre": self.scorers.centre}
        for name in _SCORERS:
            scorer: Scorer = getattr(self.scorers, name)
            found |= {f"{name}.weights": scorer.weights, f"{name}.bias": np.array(scorer.bias)}
        for kind, model in self.kinds.items():
            found |= {f"{kind}.trees.{name}": array for name, array in model.trees.to_arrays().items()}
            found[f"{kind}.calibration"] = model.calibration
            for name in ("probability", "boundary", "weight"):
                found[f"{kind}.held_out.{name}"] = getattr(model.held_out, name)
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> BoundaryModel:
        """The inverse of `to_arrays`.

        Raises:
            ValueError: Arrays are missing, or do not fit together.
        """
        found = {name: np.asarray(array) for name, array in arrays.items()}
        try:
            scorers = {name: Scorer(found[f"{name}.weights"], float(found[f"{name}.bias"])) for name in _SCORERS}
            kinds = {kind: _kind(found, f"{kind}.") for kind in KINDS if f"{kind}.calibration" in found}
            model = cls(PageScorers(found["idf"], found["centre"], **scorers), kinds)
        except (KeyError, TypeError) as error:
            raise ValueError(f"a boundary model without {error}") from error
        whole = model.scorers.idf.shape == (BUCKETS,) and IMAGE in kinds
        whole = whole and all(one.trees.feature.max(initial=-1) < _COLUMNS[kind] for kind, one in kinds.items())
        if not whole:
            raise ValueError("a boundary model of another version")
        return model


def _kind(found: Mapping[str, np.ndarray], prefix: str) -> KindModel:
    own = {name.removeprefix(prefix): array for name, array in found.items() if name.startswith(prefix)}
    trees = {name.removeprefix("trees."): array for name, array in own.items() if name.startswith("trees.")}
    gaps = (own["held_out.probability"], own["held_out.boundary"].astype(bool), own["held_out.weight"])
    return KindModel(BoostedTrees.from_arrays(trees), own["calibration"], HeldOutGaps(*gaps))


def pool(pages: Sequence[np.ndarray]) -> np.ndarray:
    """The log-probabilities of a document from those of its pages: their mean, normalised, float64 [classes]."""
    from docclf_cli.ensembling.pooling import geometric

    return geometric(np.stack(pages)[:, None])[0]
