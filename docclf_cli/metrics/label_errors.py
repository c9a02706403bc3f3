"""Labels that are probably wrong: confident learning on predictions that never saw the page in training.

Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 2021). The
library of its authors, cleanlab, finds the same rows as `find_label_issues` with a margin of 0
(`find_label_issues(filter_by="low_self_confidence")`, version 2.9); for these few lines it would bring packages for
text, tables and object detection along.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from docclf_cli.metrics.intervals import bootstrap_weights, percentile_interval, unit_of
from docclf_cli.results.metrics import Estimate
from docclf_cli.results.predictions import Predictions

MARGIN = 0.3  # by how much the suggested class must at least be more probable than the label
_DRAWS = 200  # of the interval of the expected number


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """Rows whose label is probably wrong, the surest first.

    Attributes:
        rows: Rows of the predictions, int64 [n].
        suggested: Class index that the page seems to have, int64 [n].
        expected: How many wrong labels there should be among all pages, by the estimated joint distribution.
        low: Lower bound of its 95 % interval, over draws of pages (groups, where they are known).
        high: Upper bound.
    """

    rows: np.ndarray
    suggested: np.ndarray
    expected: float
    low: float
    high: float


def find_label_issues(predictions: Predictions, margin: float = MARGIN) -> LabelIssues:
    """The pages whose label is least probable, as many as are confidently of another class.

    A class is as sure as its pages are on average: t_j is the mean probability of j over the pages labelled j. A page
    counts as j where p_j >= t_j (the most probable such j); the confident joint counts pages by label and by this
    class (equations 1 and 2). Its off-diagonal sum is how many labels are doubted; which, the probability of the
    label itself decides (its "self-confidence"). The number expected is the off-diagonal mass of the joint,
    calibrated to the counts of the labels (equation 3).

    A page whose suggested class is hardly more probable than its label is a hard page, not an issue: below the margin
    none is reported.

    Args:
        predictions: Out-of-fold; pages that are unreadable or unlabelled are left out.
        margin: Least difference of the probabilities of the suggested class and of the label.

    Raises:
        InputError: No page is both readable and labelled.
    """
    known = (predictions.labels >= 0) & ~np.isnan(predictions.log_probs).any(axis=1)
    scored, rows = predictions.scored(), np.flatnonzero(known)
    probs, labels = scored.probs(), scored.labels
    joint = confident_joint(probs, labels)
    most = int(joint.sum() - np.trace(joint))
    contradicted = np.flatnonzero(probs.argmax(axis=1) != labels)
    own = probs[contradicted, labels[contradicted]]
    doubted = contradicted[np.argsort(own, kind="stable")[:most]]
    doubted = doubted[probs[doubted].max(axis=1) - probs[doubted, labels[doubted]] >= margin]
    expected = _expected(joint, np.bincount(labels, minlength=probs.shape[1]))
    found = _interval(expected, probs, labels, scored.groups)
    return LabelIssues(rows[doubted], probs[doubted].argmax(axis=1), found.value, found.low, found.high)


def confident_joint(probs: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Pages by label and by the class they confidently seem to have.

    Args:
        probs: float64 [n, num_classes].
        labels: Class indices, int64 [n].
        weights: How often each page counts, float64 [n]; None is once.

    Returns:
        [num_classes, num_classes], int64 without weights; pages that reach no class's usual confidence are not counted.
    """
    classes = probs.shape[1]
    counts = np.bincount(labels, weights, minlength=classes)
    own = probs[np.arange(len(labels)), labels]
    own = np.bincount(labels, own if weights is None else own * weights, minlength=classes)
    # A class without pages has no usual confidence, and no page seems to be of it.
    threshold = np.divide(own, counts, out=np.full(classes, np.inf), where=counts > 0)
    sure = np.where(probs >= threshold, probs, -1.0)
    confident = sure.max(axis=1) >= 0
    joint = np.zeros((classes, classes), dtype=np.int64 if weights is None else np.float64)
    np.add.at(joint, (labels[confident], sure.argmax(axis=1)[confident]), 1 if weights is None else weights[confident])
    return joint


def _expected(joint: np.ndarray, counts: np.ndarray) -> float:
    """Off-diagonal mass of a joint that is calibrated to the counts of the labels."""
    totals = joint.sum(axis=1)
    calibrated = joint * np.divide(counts, totals, out=np.zeros(len(joint)), where=totals > 0)[:, None]
    return float(calibrated.sum() - np.trace(calibrated))


def _interval(expected: float, probs: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> Estimate:
    """The expected number with its 95 % interval: pages (groups) are weighted at random."""
    unit = unit_of(len(labels), groups)
    drawn = []
    for weights in bootstrap_weights(int(unit.max()) + 1, np.random.default_rng(0), _DRAWS):
        for of_unit in weights:
            own = of_unit[unit] * (len(labels) / of_unit[unit].sum())
            counts = np.bincount(labels, own, minlength=probs.shape[1])
            drawn.append(_expected(confident_joint(probs, labels, own), counts))
    return percentile_interval(expected, np.array(drawn))
