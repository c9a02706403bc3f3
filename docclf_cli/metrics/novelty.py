"""How foreign a page is to a model: distances to what it was trained on, combined into one calibrated score.

All of it works on arrays: `features` are what a network computes on its way (float [n, width], parts of several depths
side by side, the input of the classifier first), `logits` what it gives (float [n, num_classes]). A higher score means a
more foreign page.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.special import expit, log_softmax, logit, logsumexp

from docclf_cli.metrics.clusters import share_of
from docclf_cli.metrics.intervals import clusters_of
from docclf_cli.results.metrics import Estimate

SCORES = ("energy", "margin", "nearest", "sparseness")
DIMENSIONS = 64  # principal components that are kept of the features
GALLERY = 1000  # at most so many training pages are remembered, and an altered copy of each
NEIGHBOUR = 5  # the distance to this neighbour counts; less in smaller galleries
CONFIDENT = 0.95  # pages with this confidence or more have a bar of their own
DRIFT_DIMENSIONS = 16  # leading components that summaries of predictions hold
_LEAST_CLASSES = 3  # with two, leaving one out leaves nothing to tell apart
_LEAST_ROWS = 20  # of confident pages, and of others, for bars of their own
_RIDGE = 1.0  # L2 penalty of the slope, as in scikit-learn with C=1
_FLOOR = 1e-9


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """The training pages of a model as points in one part of its features: where its classes are, and how they spread.

    Attributes:
        centre: Mean of the training features, float32 [width].
        basis: Principal components of the standardised training features, float32 [width, dimensions]; each row is
            divided by the standard deviation of its feature, so it takes features as they are.
        means: Mean of each class along the components, float32 [num_classes, dimensions]; NaN without pages.
        whitening: After it, pages spread around the mean of their class by about one, float32 [dimensions, dimensions].
        gallery: Some training pages along the components, float32 [m, dimensions].
        gallery_targets: Their classes, int64 [m].
        spacing: Distance of each to a near page of the gallery that is no copy of it, float32 [m].
    """

    centre: np.ndarray
    basis: np.ndarray
    means: np.ndarray
    whitening: np.ndarray
    gallery: np.ndarray
    gallery_targets: np.ndarray
    spacing: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, targets: np.ndarray, pages: np.ndarray, num_classes: int) -> FeatureSpace:
        """Learn from training pages.

        Args:
            features: float [n, width].
            targets: Class indices, int64 [n].
            pages: Which page each row shows, int64 [n]; an altered copy of a page has its number.
            num_classes: Length of the class axis.
        """
        features = features.astype(np.float64)
        centre, deviation = features.mean(axis=0), features.std(axis=0)
        weight = np.where(deviation > _FLOOR, 1 / np.maximum(deviation, _FLOOR), 0)
        basis = weight[:, None] * _principal_components((features - centre) * weight)
        gallery = ((features - centre) @ basis).astype(np.float32)
        means = class_means(gallery, targets, num_classes)
        return cls(
            centre=centre.astype(np.float32),
            basis=basis.astype(np.float32),
            means=means,
            whitening=whitening(gallery - means[targets]),
            gallery=gallery,
            gallery_targets=targets.astype(np.int64),
            spacing=_spacing(gallery, pages),
        )

    def without(self, target: int) -> FeatureSpace:
        """The same as if a class had no training pages; the principal components, and the spacing of others, stay."""
        rest = self.gallery_targets != target
        gallery, targets = self.gallery[rest], self.gallery_targets[rest]
        means = class_means(gallery, targets, len(self.means))
        return replace(
            self,
            means=means,
            whitening=whitening(gallery - means[targets]),
            gallery=gallery,
            gallery_targets=targets,
            spacing=self.spacing[rest],
        )

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


def nearest_and_sparseness(points: np.ndarray, space: FeatureSpace) -> tuple[np.ndarray, np.ndarray]:
    """How far the training pages are from each page, as such and for the place where it lies, [n] and [n].

    `nearest` is the distance to a near training page after scaling both to unit length (Sun et al. 2022). `sparseness`
    is the same in units of the spacing that training pages have there: degraded pages lie far from one another, so a
    distance that is nothing there is much among clean ones (the idea of Breunig et al. 2000, "LOF").
    """
    distances, places = _neighbours(points, space)
    nearest = distances[:, -1]
    return nearest, nearest / np.maximum(space.spacing[places].mean(axis=1), _FLOOR)


def _neighbours(points: np.ndarray, space: FeatureSpace) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the nearest pages of the gallery, the furthest last, and their places, [n, NEIGHBOUR] (or fewer)."""
    count = min(NEIGHBOUR, len(space.gallery))
    similarities = _unit(points) @ _unit(space.gallery).T
    places = np.argpartition(-similarities, count - 1, axis=1)[:, :count]
    found = np.take_along_axis(similarities, places, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    distances = np.sqrt(np.maximum(2 - 2 * np.take_along_axis(found, order, axis=1), 0.0))
    return distances, np.take_along_axis(places, order, axis=1)


def _spacing(gallery: np.ndarray, pages: np.ndarray) -> np.ndarray:
    """Distance of each page of a gallery to a near one that shows another page, float32 [m]."""
    unit = _unit(gallery)
    similarities = np.where(pages[:, None] == pages, -np.inf, unit @ unit.T)
    place = min(NEIGHBOUR, len(gallery)) - 1
    kth = -np.partition(-similarities, place, axis=1)[:, place]
    return np.sqrt(np.clip(2 - 2 * kth, 0.0, 4.0)).astype(np.float32)


def energy(logits: np.ndarray) -> np.ndarray:
    """The free energy of the logits (Liu et al. 2020), [n]."""
    return -logsumexp(logits.astype(np.float64), axis=1)


def raw_scores(
    features: np.ndarray, logits: np.ndarray, spaces: Sequence[FeatureSpace], left_out: int | None = None
) -> np.ndarray:
    """Each of `SCORES` for each page, float64 [n, scores].

    The margin is taken where the classifier looks. The neighbours are taken in the stages before it, which know more
    of a page than what tells the classes apart.

    Args:
        features: float [n, width].
        logits: float [n, num_classes].
        spaces: The training pages in each part of the features.
        left_out: A class that the model is to know nothing of.
    """
    if left_out is not None:
        spaces = [space.without(left_out) for space in spaces]
        logits = np.delete(logits, left_out, axis=1)
    ends = np.cumsum([len(space.centre) for space in spaces])
    parts = np.split(features, ends[:-1], axis=1)
    points = [space.project(part) for space, part in zip(spaces, parts, strict=True)]
    stages = list(zip(points, spaces, strict=True))[1:] or [(points[0], spaces[0])]
    nearest, sparseness = np.mean([nearest_and_sparseness(*stage) for stage in stages], axis=0)
    return np.column_stack([energy(logits), margin(points[0], spaces[0]), nearest, sparseness])


@dataclass(frozen=True, eq=False)
class NoveltyModel:
    """What a checkpoint keeps to say how foreign a page is.

    Attributes:
        spaces: Its training pages in each part of the features.
        temperature: Divides the logits, for the confidence of a page.
        bar: What is added to the score of a page that the model is confident about (`CONFIDENT`), so that as few of
            these are lost as of the others (Mondrian conformal prediction, Vovk et al. 2005).
        location: Median of each score on known held-out pages, float64 [scores].
        scale: Their spread, float64 [scores].
        slope: Of the mean of the scaled scores, in the log-odds of being unknown at even odds; not negative.
        intercept: Of these log-odds.
        held_out: What the scores say of held-out pages.
        leading: Held-out pages along the leading components (`leading_of`), float32 [n, dimensions].
    """

    spaces: tuple[FeatureSpace, ...]
    temperature: float
    bar: float
    location: np.ndarray
    scale: np.ndarray
    slope: float
    intercept: float
    held_out: HeldOutNovelty
    leading: np.ndarray

    def log_odds(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Log-odds of being unknown if half of the pages were, float64 [n]."""
        scores = combined(raw_scores(features, logits, self.spaces), self.location, self.scale)
        confident = confidences_of(logits, self.temperature) >= CONFIDENT
        return (scores + self.bar * confident) * self.slope + self.intercept

    def leading_of(self, features: np.ndarray) -> np.ndarray:
        """Features along the leading components, float32 [n, dimensions]: what summaries of predictions hold."""
        space = self.spaces[0]
        return space.project(features[:, : len(space.centre)])[:, :DRIFT_DIMENSIONS]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays by name."""
        own = {name: np.asarray(getattr(self, name)) for name in _OWN}
        spaces = [_arrays_of(space, _SPACE.format(place)) for place, space in enumerate(self.spaces)]
        return dict(ChainMap(own, *spaces, _arrays_of(self.held_out, _HELD_OUT)))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> NoveltyModel | None:
        """What `to_arrays` made; None where there is nothing, or what an earlier version made.

        Raises:
            KeyError: An array is missing.
        """
        if "bar" not in arrays:
            return None
        own: dict[str, Any] = {name: arrays[name] for name in _OWN}
        own |= {name: float(own[name]) for name in ("temperature", "bar", "slope", "intercept")}
        count = sum(name.startswith("space") and name.endswith(".centre") for name in arrays)
        spaces = [
            FeatureSpace(**{one.name: arrays[_SPACE.format(place) + one.name] for one in fields(FeatureSpace)})
            for place in range(count)
        ]
        held_out = {one.name: tuple(arrays[_HELD_OUT + one.name].tolist()) for one in fields(HeldOutNovelty)}
        return cls(spaces=tuple(spaces), held_out=HeldOutNovelty(**held_out), **own)


_OWN = ("temperature", "bar", "location", "scale", "slope", "intercept", "leading")
_SPACE, _HELD_OUT = "space{}.", "held_out."


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
        pages: Which page each row shows, int64 [n]; an altered copy has the number of its page.
        widths: Of the parts that the features consist of.
    """

    features: np.ndarray
    logits: np.ndarray
    targets: np.ndarray
    pages: np.ndarray
    widths: tuple[int, ...]

    def __add__(self, other: Observed) -> Observed:
        """These pages, then the others."""
        if not len(other.pages):
            return self
        features, logits, targets, pages = (
            np.concatenate([getattr(self, name), getattr(other, name)])
            for name in ("features", "logits", "targets", "pages")
        )
        return Observed(features, logits, targets, pages, self.widths)


def fit_novelty(
    trained: Observed, held_out: Observed, units: np.ndarray, degraded: np.ndarray, temperature: float
) -> NoveltyModel | None:
    """Learn to tell foreign pages from a model's training pages and from pages that it held out.

    Foreign pages are not at hand. So each class is left out in turn: its held-out pages are scored as if the model had
    never seen its training pages, and the probability is calibrated on these and the held-out pages as they are.

    Args:
        trained: Pages that the model was trained on, and altered copies of them.
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
    spaces = tuple(
        FeatureSpace.fit(part, trained.targets, trained.pages, num_classes)
        for part in np.split(trained.features, np.cumsum(trained.widths)[:-1], axis=1)
    )
    known = raw_scores(features, logits, spaces)
    foreign, foreign_confidence = np.empty_like(known), np.empty(len(known))
    for target in classes:
        own = targets == target
        foreign[own] = raw_scores(features[own], logits[own], spaces, int(target))
        foreign_confidence[own] = confidences_of(np.delete(logits[own], target, axis=1), temperature)
    location, scale = _location_and_scale(known)
    known, foreign = combined(known, location, scale), combined(foreign, location, scale)
    confidence = confidences_of(logits, temperature)
    bar = _bar(known, confidence >= CONFIDENT)
    known, foreign = known + bar * (confidence >= CONFIDENT), foreign + bar * (foreign_confidence >= CONFIDENT)
    slope, intercept = calibrate(known, foreign, targets)
    found = HeldOutNovelty(
        targets=tuple(targets.tolist()),
        predicted=tuple(logits.argmax(axis=1).tolist()),
        confidence=_rounded(confidence),
        log_odds=_rounded(known * slope + intercept),
        left_out_confidence=_rounded(foreign_confidence),
        left_out_log_odds=_rounded(foreign * slope + intercept),
        units=tuple(units[rows].tolist()),
        degraded=tuple(degraded[rows].tolist()),
    )
    leading = spaces[0].project(features[:, : len(spaces[0].centre)])[:, :DRIFT_DIMENSIONS]
    return NoveltyModel(spaces, temperature, bar, location, scale, slope, intercept, found, leading)


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


def _bar(scores: np.ndarray, confident: np.ndarray) -> float:
    """How much lower known pages score that the model is confident about; 0 where there are too few on either side."""
    if min(confident.sum(), (~confident).sum()) < _LEAST_ROWS:
        return 0.0
    return max(0.0, float(np.quantile(scores[~confident], 0.95) - np.quantile(scores[confident], 0.95)))


def _location_and_scale(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, middle, high = np.quantile(scores, [0.16, 0.5, 0.84], axis=0)
    return middle, np.maximum((high - low) / 2, _FLOOR**0.5)


def _unit(points: np.ndarray) -> np.ndarray:
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), _FLOOR)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """Numbers with the digits of float32, as they are stored."""
    return tuple(values.astype(np.float32).tolist())
