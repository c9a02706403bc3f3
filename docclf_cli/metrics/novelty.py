"""How foreign a page is to a model: distances to what it was trained on, combined into one calibrated score.

All of it works on arrays: `features` are what the classifier of a network takes (float [n, width]), `logits` what it
gives (float [n, num_classes]). A higher score means a more foreign page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.special import expit, log_softmax, logit, logsumexp

from docclf_cli.metrics.clusters import share_of
from docclf_cli.metrics.intervals import clusters_of
from docclf_cli.results.metrics import Estimate

SCORES = ("energy", "nearest", "margin")
DIMENSIONS = 64  # principal components that are kept of the features
GALLERY = 1000  # at most so many training pages are remembered
NEIGHBOUR = 5  # the distance to this neighbour counts; less in smaller galleries
DRIFT_DIMENSIONS = 16  # leading components that summaries of predictions hold
_LEAST_CLASSES = 3  # with two, leaving one out leaves nothing to tell apart
_RIDGE = 1.0  # L2 penalty of the slope, as in scikit-learn with C=1
_FLOOR = 1e-9


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """The training pages of a model as points: where its classes are, and how they spread.

    Attributes:
        centre: Mean of the training features, float32 [width].
        basis: Principal components of the training features, float32 [width, dimensions].
        means: Mean of each class along the components, float32 [num_classes, dimensions]; NaN without pages.
        whitening: After it, pages spread around the mean of their class by about one, float32 [dimensions, dimensions].
        gallery: Some training pages along the components, float32 [m, dimensions].
        gallery_targets: Their classes, int64 [m].
    """

    centre: np.ndarray
    basis: np.ndarray
    means: np.ndarray
    whitening: np.ndarray
    gallery: np.ndarray
    gallery_targets: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, targets: np.ndarray, num_classes: int) -> FeatureSpace:
        """Learn from training pages.

        Args:
            features: float [n, width].
            targets: Class indices, int64 [n].
            num_classes: Length of the class axis.
        """
        features = features.astype(np.float64)
        centre = features.mean(axis=0)
        basis = _principal_components(features - centre)
        gallery = ((features - centre) @ basis).astype(np.float32)
        return cls._of_gallery(centre.astype(np.float32), basis.astype(np.float32), gallery, targets, num_classes)

    @classmethod
    def _of_gallery(
        cls, centre: np.ndarray, basis: np.ndarray, gallery: np.ndarray, targets: np.ndarray, num_classes: int
    ) -> FeatureSpace:
        means = class_means(gallery, targets, num_classes)
        return cls(centre, basis, means, whitening(gallery - means[targets]), gallery, targets.astype(np.int64))

    def without(self, target: int) -> FeatureSpace:
        """The same as if a class had no training pages; the principal components stay."""
        rest = self.gallery_targets != target
        gallery, targets = self.gallery[rest], self.gallery_targets[rest]
        return self._of_gallery(self.centre, self.basis, gallery, targets, len(self.means))

    def project(self, features: np.ndarray) -> np.ndarray:
        """Features along the components, float32 [n, dimensions]."""
        return np.asarray((features.astype(np.float32) - self.centre) @ self.basis)


def class_means(points: np.ndarray, targets: np.ndarray, num_classes: int) -> np.ndarray:
    """The mean of each class, float32 [num_classes, dimensions]; NaN without pages."""
    means = np.full((num_classes, points.shape[1]), np.nan, dtype=np.float32)
    for target in np.unique(targets):
        means[target] = points[targets == target].mean(axis=0)
    return means


def whitening(deviations: np.ndarray) -> np.ndarray:
    """The matrix after which deviations have about unit covariance, float32 [dimensions, dimensions].

    The covariance is shrunk towards a multiple of the identity (Ledoit and Wolf 2004), because classes of some ten
    pages do not determine it.

    Args:
        deviations: Of training pages from the mean of their class, [n, dimensions].
    """
    values, vectors = np.linalg.eigh(shrunk_covariance(deviations.astype(np.float64)))
    return (vectors / np.sqrt(np.maximum(values, _FLOOR))).astype(np.float32)


def shrunk_covariance(centred: np.ndarray) -> np.ndarray:
    """Ledoit and Wolf's estimate of a covariance, "A well-conditioned estimator" (2004), of centred rows [n, width]."""
    pages, width = centred.shape
    sample = centred.T @ centred / pages
    scale = np.trace(sample) / width
    distance = ((sample - scale * np.eye(width)) ** 2).sum()
    noise = ((centred**2).sum(axis=1) ** 2).sum() / pages**2 - (sample**2).sum() / pages
    share = 0.0 if distance <= 0 else min(1.0, max(0.0, noise / distance))
    return (1 - share) * sample + share * scale * np.eye(width)


def mahalanobis(points: np.ndarray, space: FeatureSpace) -> np.ndarray:
    """Squared Mahalanobis distances to the classes with training pages (Lee et al. 2018), [n, classes]."""
    means, white = space.means[~np.isnan(space.means[:, 0])] @ space.whitening, points @ space.whitening
    return np.asarray(np.maximum((white**2).sum(axis=1)[:, None] - 2 * white @ means.T + (means**2).sum(axis=1), 0.0))


def margin(points: np.ndarray, space: FeatureSpace) -> np.ndarray:
    """Squared Mahalanobis distance to the nearest class less that to the next one, [n].

    Half of it is the log-odds of the two in linear discriminant analysis. The distance itself is no good score: damage
    moves known pages away from every class, further than foreign pages are.
    """
    two = np.partition(mahalanobis(points, space), 1, axis=1)
    return two[:, 0] - two[:, 1]


def nearest(points: np.ndarray, space: FeatureSpace) -> np.ndarray:
    """Distance to a near training page after scaling both to unit length (Sun et al. 2022), [n]."""
    place = min(NEIGHBOUR, len(space.gallery)) - 1
    similarities = _unit(points) @ _unit(space.gallery).T
    kth = -np.partition(-similarities, place, axis=1)[:, place]
    return np.sqrt(np.maximum(2 - 2 * kth, 0.0))


def energy(logits: np.ndarray) -> np.ndarray:
    """The free energy of the logits (Liu et al. 2020), [n]."""
    return -logsumexp(logits.astype(np.float64), axis=1)


def raw_scores(
    features: np.ndarray, logits: np.ndarray, space: FeatureSpace, left_out: int | None = None
) -> np.ndarray:
    """Each of `SCORES` for each page, float64 [n, scores].

    Args:
        features: float [n, width].
        logits: float [n, num_classes].
        space: The training pages.
        left_out: A class that the model is to know nothing of.
    """
    if left_out is not None:
        space, logits = space.without(left_out), np.delete(logits, left_out, axis=1)
    points = space.project(features)
    return np.column_stack([energy(logits), nearest(points, space), margin(points, space)])


@dataclass(frozen=True, eq=False)
class NoveltyModel:
    """What a checkpoint keeps to say how foreign a page is.

    Attributes:
        space: Its training pages.
        location: Median of each score on known held-out pages, float64 [scores].
        scale: Their spread, float64 [scores].
        slope: Of the mean of the scaled scores, in the log-odds of being unknown at even odds; not negative.
        intercept: Of these log-odds.
        held_out: What the scores say of held-out pages.
        leading: Held-out pages along the leading components (`leading_of`), float32 [n, dimensions].
    """

    space: FeatureSpace
    location: np.ndarray
    scale: np.ndarray
    slope: float
    intercept: float
    held_out: HeldOutNovelty
    leading: np.ndarray

    def log_odds(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Log-odds of being unknown if half of the pages were, float64 [n]."""
        scores = raw_scores(features, logits, self.space)
        return combined(scores, self.location, self.scale) * self.slope + self.intercept

    def leading_of(self, features: np.ndarray) -> np.ndarray:
        """Features along the leading components, float32 [n, dimensions]: what summaries of predictions hold."""
        return self.space.project(features)[:, :DRIFT_DIMENSIONS]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays by name."""
        own = {name: np.asarray(getattr(self, name)) for name in _OWN}
        return own | _arrays_of(self.space, _SPACE) | _arrays_of(self.held_out, _HELD_OUT)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> NoveltyModel:
        """What `to_arrays` made.

        Raises:
            KeyError: An array is missing.
        """
        own: dict[str, Any] = {name: arrays[name] for name in _OWN}
        own |= {name: float(own[name]) for name in ("slope", "intercept")}
        space = FeatureSpace(**{one.name: arrays[_SPACE + one.name] for one in fields(FeatureSpace)})
        held_out = {one.name: tuple(arrays[_HELD_OUT + one.name].tolist()) for one in fields(HeldOutNovelty)}
        return cls(space=space, held_out=HeldOutNovelty(**held_out), **own)


_OWN = ("location", "scale", "slope", "intercept", "leading")
_SPACE, _HELD_OUT = "space.", "held_out."


def _arrays_of(value: Any, prefix: str) -> dict[str, np.ndarray]:
    return {prefix + one.name: np.asarray(getattr(value, one.name)) for one in fields(value)}


@dataclass(frozen=True)
class HeldOutNovelty:
    """What the scores said of pages that a model did not train on: one row per page, and per degraded copy of it.

    `left_out` is what the model would have said had it known nothing of the page's class: without its training pages
    and its logit. Its features were trained on the class, which flatters these rows.

    Attributes:
        targets: Class indices, [n].
        predicted: Predicted class indices, [n].
        confidence: Probability of the predicted class, [n].
        log_odds: Of being unknown, at even odds, [n].
        left_out_confidence: Confidence without the page's class, [n].
        left_out_log_odds: Log-odds without the page's class, [n].
        units: Number of the group (or page) that each row belongs to, [n].
        degraded: Which rows are degraded copies, [n].
    """

    targets: tuple[int, ...]
    predicted: tuple[int, ...]
    confidence: tuple[float, ...]
    log_odds: tuple[float, ...]
    left_out_confidence: tuple[float, ...]
    left_out_log_odds: tuple[float, ...]
    units: tuple[int, ...]
    degraded: tuple[bool, ...]

    def threshold(self, max_lost: float) -> float:
        """The log-odds above which a page is called unknown, so that about a share of the known pages is lost.

        It is the conformal quantile (Vovk et al. 2005): a page drawn like the held-out ones exceeds it with at most
        this probability. The copies of a page, and the pages of a group, weigh as one (Lee, Barber and Willett 2023).
        Infinite where there are too few.

        Args:
            max_lost: In (0, 1).
        """
        _, unit, sizes = np.unique(self.units, return_inverse=True, return_counts=True)
        order = np.argsort(self.log_odds, kind="stable")
        reached = np.cumsum(1 / sizes[unit][order]) / (len(sizes) + 1)
        place = int(np.searchsorted(reached, 1 - max_lost - _FLOOR))
        return float("inf") if place == len(order) else float(self.log_odds[order[place]])

    @property
    def separation(self) -> float:
        """AUROC of the pages whose class is left out against the same pages as they are."""
        return auroc(np.array(self.log_odds), np.array(self.left_out_log_odds))

    def caught(self, threshold: float) -> dict[int, Estimate]:
        """The share of each class that is called unknown when the class is left out, by class index."""
        targets, units = np.array(self.targets), np.array(self.units)
        hits = np.array(self.left_out_log_odds) > threshold
        return {
            int(target): share_of(hits[targets == target], clusters_of(units[targets == target]))
            for target in np.unique(targets)
        }

    def lost(self, threshold: float) -> Estimate:
        """The share of known held-out pages that is called unknown."""
        return share_of(np.array(self.log_odds) > threshold, clusters_of(np.array(self.units)))


def combined(scores: np.ndarray, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The mean of scores in spreads of known pages from their median (beyond 10 they count as 10), [n].

    Each counts the same. Weights that are fitted to classes that are left out follow how these are flattered, and told
    classes that training never saw half as often (docs/unknown.md).
    """
    return np.asarray(np.clip((scores - location) / scale, -10, 10).mean(axis=1))


def calibrate(known: np.ndarray, unknown: np.ndarray, unknown_classes: np.ndarray) -> tuple[float, float]:
    """Logistic regression (Platt 1999) on one score, whose slope is not negative.

    Both sides weigh the same, and so does each class that is unknown.

    Args:
        known: Scores of known pages, [n].
        unknown: Those of unknown pages, [m].
        unknown_classes: Class of each unknown page, int64 [m].

    Returns:
        Slope and intercept, which give log-odds at even odds.
    """
    from scipy.optimize import minimize

    values = np.concatenate([known, unknown])
    sign = np.repeat([-1.0, 1.0], [len(known), len(unknown)])
    _, place, counts = np.unique(unknown_classes, return_inverse=True, return_counts=True)
    pages = len(values) / 2
    share = np.concatenate([np.full(len(known), pages / len(known)), pages / len(counts) / counts[place]])

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, intercept = parameters
        margin = sign * (values * slope + intercept)
        pull = -sign * expit(-margin) * share
        value = float((np.logaddexp(0, -margin) * share).sum() + _RIDGE / 2 * slope**2)
        return value, np.array([values @ pull + _RIDGE * slope, pull.sum()])

    found = minimize(loss, np.array([1.0, -1.0]), jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)]).x
    return float(found[0]), float(found[1])


@dataclass(frozen=True, eq=False)
class Observed:
    """What a trained network gives for some pages.

    Attributes:
        features: float [n, width].
        logits: float [n, num_classes].
        targets: Class indices, int64 [n].
    """

    features: np.ndarray
    logits: np.ndarray
    targets: np.ndarray


def fit_novelty(
    trained: Observed, held_out: Observed, units: np.ndarray, degraded: np.ndarray, temperature: float
) -> NoveltyModel | None:
    """Learn to tell foreign pages from a model's training pages and from pages that it held out.

    Foreign pages are not at hand. So each class is left out in turn: its held-out pages are scored as if the model had
    never seen its training pages, and the probability is calibrated on these and the held-out pages as they are.

    Args:
        trained: Pages that the model was trained on.
        held_out: Pages that it was not trained on, and their degraded copies.
        units: Group (or page) of each held-out row, int64 [n].
        degraded: Which held-out rows are degraded copies, bool [n].
        temperature: Divides the logits.

    Returns:
        None with fewer than three classes on both sides, or where a feature is not finite.
    """
    num_classes = held_out.logits.shape[1]
    classes = np.intersect1d(trained.targets, held_out.targets)
    finite = all(np.isfinite(one).all() for one in (trained.features, held_out.features, held_out.logits))
    if len(classes) < _LEAST_CLASSES or not finite:
        return None
    rows = np.isin(held_out.targets, classes)
    features, logits, targets = held_out.features[rows], held_out.logits[rows], held_out.targets[rows]
    space = FeatureSpace.fit(trained.features, trained.targets, num_classes)
    known = raw_scores(features, logits, space)
    foreign, foreign_confidence = np.empty_like(known), np.empty(len(known))
    for target in classes:
        own = targets == target
        foreign[own] = raw_scores(features[own], logits[own], space, int(target))
        foreign_confidence[own] = confidences_of(np.delete(logits[own], target, axis=1), temperature)
    location, scale = _location_and_scale(known)
    known, foreign = combined(known, location, scale), combined(foreign, location, scale)
    slope, intercept = calibrate(known, foreign, targets)
    found = HeldOutNovelty(
        targets=tuple(targets.tolist()),
        predicted=tuple(logits.argmax(axis=1).tolist()),
        confidence=_rounded(confidences_of(logits, temperature)),
        log_odds=_rounded(known * slope + intercept),
        left_out_confidence=_rounded(foreign_confidence),
        left_out_log_odds=_rounded(foreign * slope + intercept),
        units=tuple(units[rows].tolist()),
        degraded=tuple(degraded[rows].tolist()),
    )
    leading = space.project(features)[:, :DRIFT_DIMENSIONS]
    return NoveltyModel(space, location, scale, slope, intercept, found, leading)


def confidences_of(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probability of the most probable class, [n]."""
    return np.exp(log_softmax(logits.astype(np.float64) / temperature, axis=1).max(axis=1))


def probability(log_odds: np.ndarray, expected_share: float) -> np.ndarray:
    """Probability of being unknown where a share of the pages is, from log-odds at even odds."""
    return expit(log_odds + logit(expected_share))


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """How often an unknown page scores above a known one; ties count half (Mann and Whitney 1947). NaN without pages."""
    if not len(known) or not len(unknown):
        return float("nan")
    ordered = np.sort(known)
    below, up_to = (np.searchsorted(ordered, unknown, side=side) for side in ("left", "right"))
    return float((below + up_to).mean() / 2 / len(known))


def _principal_components(centred: np.ndarray) -> np.ndarray:
    """The leading principal components of centred rows [n, width], float64 [width, dimensions]; each with a fixed sign."""
    pages, width = centred.shape
    count = max(1, min(DIMENSIONS, pages - 1, width))
    if pages <= width:  # the smaller of the two matrices has the same leading values
        values, vectors = np.linalg.eigh(centred @ centred.T)
        vectors = centred.T @ vectors[:, ::-1][:, :count] / np.sqrt(np.maximum(values[::-1][:count], _FLOOR))
    else:
        vectors = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :count]
    return vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(count)])


def _location_and_scale(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, middle, high = np.quantile(scores, [0.16, 0.5, 0.84], axis=0)
    return middle, np.maximum((high - low) / 2, _FLOOR**0.5)


def _unit(points: np.ndarray) -> np.ndarray:
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), _FLOOR)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """Numbers with the digits of float32, as they are stored."""
    return tuple(values.astype(np.float32).tolist())
