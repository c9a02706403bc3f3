"""Means of members' (or views') probabilities, computed from logarithms.

A page that one of them could not read is a row of NaN, and stays one in every mean.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import log_softmax, logsumexp

Score = Callable[[np.ndarray, np.ndarray], float]  # (log_probs [n, num_classes], targets [n]) -> larger is better

# The logarithm of float32's smallest normal number: what a probability that rounded to 0 counts as, so that one
# member cannot veto a class for all others.
LOG_FLOOR = float(np.log(np.finfo(np.float32).tiny))


def floored(log_probs: np.ndarray) -> np.ndarray:
    """Log-probabilities as float64, none below `LOG_FLOOR`."""
    return np.maximum(log_probs.astype(np.float64), LOG_FLOOR)


def arithmetic(log_probs: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Logarithm of the weighted arithmetic mean.

    Args:
        log_probs: [members, n, num_classes].
        weights: [members], their sum 1; None for equal weights.

    Returns:
        float64 [n, num_classes], rows normalised.
    """
    with np.errstate(divide="ignore"):
        log_weights = np.log(_weights(weights, len(log_probs)))
    return log_softmax(logsumexp(floored(log_probs) + log_weights[:, None, None], axis=0), axis=1)


def geometric(log_probs: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Logarithm of the weighted geometric mean, normalised; arguments as for `arithmetic`."""
    return log_softmax(np.tensordot(_weights(weights, len(log_probs)), floored(log_probs), axes=1), axis=1)


def pooled(log_probs: Sequence[np.ndarray]) -> np.ndarray:
    """Log-probabilities of a document, float64 [num_classes]: the mean of those of its pages, normalised.

    Pages are added one after another, so that the sum is the same, bit by bit, however they were stored.
    """
    total = np.zeros(len(log_probs[0]))
    for page in log_probs:
        total = total + floored(page)
    return np.asarray(log_softmax(total / len(log_probs)))


def maximum(log_probs: np.ndarray) -> np.ndarray:
    """Logarithm of the largest probability any member gives, normalised."""
    return log_softmax(floored(log_probs).max(axis=0), axis=1)


def log_loss(log_probs: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-probability of the true class: log_probs [n, num_classes], targets int64 [n]."""
    return float(-log_probs[np.arange(len(targets)), targets].mean())


def by_log_loss(log_probs: np.ndarray, targets: np.ndarray) -> float:
    """The default score of all choices: the negative log loss."""
    return -log_loss(log_probs, targets)


def _weights(weights: np.ndarray | None, members: int) -> np.ndarray:
    return np.full(members, 1 / members) if weights is None else np.asarray(weights, dtype=np.float64)
