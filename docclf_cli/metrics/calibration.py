"""Whether confidence means what it says: temperature, reliability, calibration error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import erf, logsumexp

from docclf_cli.metrics.clusters import dependence
from docclf_cli.metrics.intervals import DRAWS, clusters_of, wilson
from docclf_cli.results.metrics import Estimate, ReliabilityBin
from docclf_cli.results.predictions import Predictions

BINS = 15
TEMPERATURES = (0.05, 20.0)


def fit_temperature(log_probs: np.ndarray, targets: np.ndarray) -> float:
    """The temperature under which held-out pages are least surprising (Guo et al. 2017).

    Minimises the summed cross entropy plus (ln T)²/2: the weight of about one page for T = 1. Without it, a few
    pages that are all right would drive T to its bound, and with it every confidence to 1.

    Args:
        log_probs: [n, num_classes]; rows of NaN are left out.
        targets: int [n]; rows of -1 are left out.

    Returns:
        Within `TEMPERATURES`; 1.0 without any page.
    """
    rows = (targets >= 0) & ~np.isnan(log_probs).any(axis=1)
    logits, truth = log_probs[rows].astype(np.float64), targets[rows]
    own = logits[np.arange(len(truth)), truth]
    reachable = np.isfinite(own)  # no temperature changes a probability of zero
    logits, own = logits[reachable], own[reachable]

    def surprise(log_temperature: float) -> float:
        beta = np.exp(-log_temperature)
        return float((logsumexp(logits * beta, axis=1) - own * beta).sum() + log_temperature**2 / 2)

    found = minimize_scalar(surprise, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if len(own) else 1.0


def temperature_of_mean(out_of_fold: Predictions, trained_on: Sequence[Predictions]) -> float:
    """An estimate of the temperature of the mean of a run's folds, though no page is held out from all of them.

    A temperature belongs to the mean and is fitted after averaging (Rahaman & Thiery 2021, "Uncertainty quantification
    and deep ensembles"): averaging makes predictions less sharp and more often right, so that one fitted to single
    folds leaves the mean too cautious. Held out from all folds is no page. What averaging does to a temperature is
    therefore looked at on pages that several folds were trained on, where the level of confidence is too high but the
    same for both sides, and carried over to the level of the held-out pages:

        T(out of fold, single) * T(trained on, mean) / T(trained on, single)

    The ratio is taken as at most 1, and is 1 where no page was trained on by two folds (`folds: 2`). It is an
    estimate: where the folds have all but memorised their pages, these say little about how much the folds differ on
    new ones. On classifiers over features of 753 real pages (six kinds, three draws of training and new pages each) it
    missed the best temperature for the mean by factors of 1.03 to 1.17, the one of single folds by 1.03 to 1.24.

    Args:
        out_of_fold: Uncalibrated; each page by the fold that did not train on it.
        trained_on: Uncalibrated, of each fold about pages that it was trained on; the folds' pages overlap.
    """
    alone = fit_temperature(out_of_fold.log_probs, out_of_fold.labels)
    ids = np.concatenate([one.ids for one in trained_on])
    log_probs = np.concatenate([one.log_probs for one in trained_on]).astype(np.float64)
    labels = np.concatenate([one.labels for one in trained_on])
    _, first, page, folds = np.unique(ids, return_index=True, return_inverse=True, return_counts=True)
    shared = folds[page] > 1
    if not shared.any():
        return alone
    summed = np.zeros((len(first), log_probs.shape[1]))
    np.add.at(summed, page, np.exp(log_probs))
    with np.errstate(divide="ignore"):
        mean = np.log(summed / folds[:, None])[folds > 1]
    together = fit_temperature(mean, labels[first][folds > 1])
    ratio = min(together / fit_temperature(log_probs[shared], labels[shared]), 1.0)
    return float(np.clip(alone * ratio, *TEMPERATURES))


def at_bound(temperature: float) -> bool:
    """Whether a fitted temperature is as small or large as any that is tried, so that the best one may lie beyond."""
    return bool(np.abs(np.log(temperature) - np.log(TEMPERATURES)).min() < 1e-3)


def cross_fitted(predictions: Predictions, *, parts: int = 5, seed: int = 0) -> Predictions:
    """Predictions at the temperature that other pages fit: what log loss and calibration error are of new pages.

    The pages that fitted a temperature suit it better than others do. So they are cut into parts, stratified by class
    and with groups kept whole, and each part is read at the temperature fitted to the others.

    Args:
        predictions: Uncalibrated, of labelled pages; the others are read at the temperature of all that are.
        parts: At most so many.
        seed: Of the cut.

    Returns:
        The same pages in the same order; their log-probabilities need no temperature any more.
    """
    part = _parts(predictions, parts, seed)
    log_probs, labels = predictions.log_probs.copy(), predictions.labels
    for number in np.unique(part):
        others = (part != number) & (part >= 0)
        rows = part == number
        temperature = fit_temperature(predictions.log_probs[others], labels[others])
        log_probs[rows] = predictions.take(rows).at_temperature(temperature).log_probs
    return replace(predictions, log_probs=log_probs)


def _parts(predictions: Predictions, parts: int, seed: int) -> np.ndarray:
    """The part of each page, int64 [n]; -1 where it cannot be scored."""
    rows = np.flatnonzero((predictions.labels >= 0) & ~np.isnan(predictions.log_probs).any(axis=1))
    names = np.arange(len(rows)) if predictions.groups is None else predictions.groups[rows]
    _, first, unit = np.unique(names, return_index=True, return_inverse=True)
    # Groups are dealt out in turns, class by class and in random order within one.
    order = np.lexsort((np.random.default_rng(seed).random(len(first)), predictions.labels[rows][first]))
    part_of_unit = np.empty(len(first), dtype=np.int64)
    part_of_unit[order] = np.arange(len(first)) % parts
    part = np.full(len(predictions), -1, dtype=np.int64)
    part[rows] = part_of_unit[unit]
    return part


def confidences(predictions: Predictions, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the predicted class and whether it is right, float64 [n] and bool [n], for scored pages."""
    return predictions.probs(temperature).max(axis=1), predictions.predicted() == predictions.targets


def reliability_bins(
    confidence: np.ndarray, correct: np.ndarray, groups: np.ndarray | None = None, *, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Confidence against accuracy in bins of about equally many pages, least certain first.

    Args:
        confidence: [n] probabilities of the predicted classes.
        correct: bool [n].
        groups: Text [n]: pages that belong together, or None.
        bins: At most so many; pages of equal confidence stay together.
    """
    found = _bins(confidence, correct, groups, bins, 0.025)
    return tuple(
        ReliabilityBin(int(n), float(total / n), wilson(float(right), float(n), effective=float(effective)))
        for n, total, right, effective in zip(found.pages, found.sums, found.hits, found.effective, strict=True)
    )


def calibration_error(
    confidence: np.ndarray,
    correct: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    bins: int = BINS,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Expected calibration error over equal-mass bins, debiased, with an approximate interval.

    Chance alone moves the gaps of the bins away from zero, so their mean size overstates the error (Kumar et al.
    2019). The estimate is the error that, with gaps of the shape seen and the noise of each bin, would on
    average show what is seen; 0 where noise alone would show as much. The lower bound is the error under which
    97.5 % of such noise shows less than is seen; the upper one comes from draws of each bin's true share, and is
    rather too high than too low. Pages of a group count by their effective number.

    Args:
        confidence: [n] probabilities of the predicted classes.
        correct: bool [n].
        groups: Text [n]: pages that belong together, or None.
        bins: At most so many.
        level: Two-sided level of the interval.
        seed: Of the noise.
    """
    found = _bins(confidence, correct, groups, bins, (1 - level) / 2)
    pages, sums, hits = found.pages, found.sums, found.hits
    weight = pages / pages.sum()
    gaps = np.abs(sums - hits) / pages
    seen = float(weight @ gaps)
    shape = gaps / seen if seen > 0 else np.ones(len(gaps))
    # One page of what the model expects keeps a small bin without a mistake from looking noiseless.
    right, wrong = hits * found.effective / pages, (pages - hits) * found.effective / pages
    share = np.clip((right + sums / pages) / (found.effective + 1), 1e-6, 1 - 1e-6)
    sigma = np.sqrt(share * (1 - share) / found.effective)
    rng = np.random.default_rng(seed)
    noise = sigma * rng.standard_normal((DRAWS, len(pages)))
    true_share = rng.beta(right + 1 / len(pages), wrong + 1 / len(pages), (DRAWS, len(pages)))

    value = _solve(lambda error: float(weight @ _mean_size(error * shape, sigma)), seen)
    low = _solve(lambda error: float(np.quantile(np.abs(error * shape + noise) @ weight, (1 + level) / 2)), seen)
    high = float(np.quantile(np.abs(sums / pages - true_share) @ weight, (1 + level) / 2))
    return Estimate(value, min(low, value), max(high, value))


class _Bins(NamedTuple):
    """Pages, summed confidence, right predictions and effective pages of each bin that is not empty."""

    pages: np.ndarray
    sums: np.ndarray
    hits: np.ndarray
    effective: np.ndarray


def _bins(confidence: np.ndarray, correct: np.ndarray, groups: np.ndarray | None, bins: int, tail: float) -> _Bins:
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.unique(np.searchsorted(edges, confidence, side="left"), return_inverse=True)[1]
    pages, sums, hits = (np.bincount(place, weights=column) for column in (None, confidence, correct))
    unit = clusters_of(groups)
    if unit is None:
        return _Bins(pages, sums, hits, pages)
    # About the confidence, not about the share of the bin: a bin of one group would seem to vary by nothing.
    gaps, rate = correct - confidence, float(correct.mean())
    found = dependence(gaps - gaps.mean(), len(gaps) * rate * (1 - rate), unit)
    effective = [found.effective_pages(unit[place == number], tail) for number in range(len(pages))]
    return _Bins(pages, sums, hits, np.array(effective))


def _mean_size(mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """E|x| of a normal x (the folded normal distribution)."""
    ratio = mean / sigma
    return sigma * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + mean * erf(ratio / np.sqrt(2))


def _solve(shown: Callable[[float], float], seen: float) -> float:
    """The error in [0, 1] that shows as `seen`; `shown` grows with the error."""
    if shown(0.0) >= seen:
        return 0.0
    return 1.0 if shown(1.0) <= seen else float(brentq(lambda error: shown(error) - seen, 0.0, 1.0, xtol=1e-7))
