"""Labels that are probably wrong: confident learning on predictions that never saw the page in training.

Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 2021). The
library of its authors, cleanlab, finds the same rows as `find_label_issues`
(`find_label_issues(filter_by="low_self_confidence")`, version 2.9); for these few lines it would bring packages for
text, tables and object detection along.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from docclf_cli.results.predictions import Predictions


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """Rows whose label is probably wrong, the surest first.

    Attributes:
        rows: Rows of the predictions, int64 [n].
        suggested: Class index that the page seems to have, int64 [n].
        expected: How many wrong labels there should be among all pages, by the estimated joint distribution.
    """

    rows: np.ndarray
    suggested: np.ndarray
    expected: float


def find_label_issues(predictions: Predictions) -> LabelIssues:
    """The pages whose label is least probable, as many as are confidently of another class.

    A class is as sure as its pages are on average: t_j is the mean probability of j over the pages labelled j. A page
    counts as j where p_j >= t_j (the most probable such j); the confident joint counts pages by label and by this
    class (equations 1 and 2). Its off-diagonal sum is how many labels are doubted; which, the probability of the
    label itself decides (its "self-confidence"). The number expected is the off-diagonal mass of the joint,
    calibrated to the counts of the labels (equation 3).

    Args:
        predictions: Out-of-fold; pages that are unreadable or unlabelled are left out.

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
    return LabelIssues(rows[doubted], probs[doubted].argmax(axis=1), _expected(joint, labels))


def confident_joint(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pages by label and by the class they confidently seem to have.

    Args:
        probs: float64 [n, num_classes].
        labels: Class indices, int64 [n].

    Returns:
        int64 [num_classes, num_classes]; pages that reach no class's usual confidence are not counted.
    """
    classes = probs.shape[1]
    counts = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, weights=probs[np.arange(len(labels)), labels], minlength=classes)
    # A class without pages has no usual confidence, and no page seems to be of it.
    threshold = np.where(counts > 0, own / np.maximum(counts, 1), np.inf)
    sure = np.where(probs >= threshold, probs, -1.0)
    confident = sure.max(axis=1) >= 0
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (labels[confident], sure.argmax(axis=1)[confident]), 1)
    return joint


def _expected(joint: np.ndarray, labels: np.ndarray) -> float:
    counts = np.bincount(labels, minlength=len(joint))
    calibrated = joint * (counts / np.maximum(joint.sum(axis=1), 1))[:, None]
    return float(calibrated.sum() - np.trace(calibrated))
