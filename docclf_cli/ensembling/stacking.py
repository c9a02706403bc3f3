"""Stacking: a linear model on top of the members (Wolpert 1992)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import log_softmax

from docclf_cli.ensembling.held_out import HeldOut
from docclf_cli.ensembling.pooling import LOG_FLOOR, arithmetic, log_loss
from docclf_cli.hardware import one_thread

# Values of C, the inverse L2 penalty, that are tried: from a nearly constant model to a nearly unregularised one.
PENALTIES = tuple(10.0**power for power in range(-4, 2))
INNER_FOLDS = 3
# Below one in a million, differences between log-probabilities are about how sure a network is of an impossible class.
FEATURE_FLOOR = float(np.log(1e-6))
_Apply = Callable[[np.ndarray], np.ndarray]


def fit_stacking(held_out: HeldOut) -> tuple[_Apply, dict[str, Any]]:
    """Fit a multinomial logistic regression of scikit-learn to the members' standardised log-probabilities.

    The penalty with the smallest cross-validated log loss is used. A class without a page among the held-out ones
    keeps the members' mean probability.

    Args:
        held_out: Members' predictions for pages that no member was trained on.

    Returns:
        A function from log-probabilities [members, n, num_classes] to [n, num_classes], and facts of the fit.
    """
    with one_thread():
        losses = [_cross_validated(held_out, penalty) for penalty in PENALTIES]
        chosen = PENALTIES[int(np.argmin(losses))]
        return _fit(held_out, chosen), {"C": chosen, "cross_validated_log_loss": min(losses)}


def _cross_validated(held_out: HeldOut, penalty: float) -> float:
    fold = held_out.folds(INNER_FOLDS)
    total = 0.0
    for number in np.unique(fold):
        left_out = held_out.take(fold == number)
        apply = _fit(held_out.take(fold != number), penalty)
        total += log_loss(apply(left_out.log_probs), left_out.targets) * len(left_out)
    return total / len(held_out)


def _fit(held_out: HeldOut, penalty: float) -> _Apply:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seen = np.unique(held_out.targets)
    if len(seen) == 1:
        return arithmetic
    model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, solver="newton-cg", max_iter=1000))
    model.fit(_features(held_out.log_probs), held_out.targets)
    return lambda log_probs: _apply(model, seen, log_probs)


def _apply(model: Any, seen: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
    mean = arithmetic(log_probs)
    readable = ~np.isnan(mean).any(axis=1)
    if not readable.any():
        return mean
    scores = model.predict_log_proba(_features(log_probs[:, readable]))
    known = np.isin(np.arange(log_probs.shape[2]), seen)
    out = mean.copy()
    mass = np.log(np.exp(mean[readable][:, known]).sum(axis=1, keepdims=True))
    out[np.ix_(readable, known)] = np.maximum(scores, LOG_FLOOR) + mass
    out[readable] = log_softmax(out[readable], axis=1)
    return out


def _features(log_probs: np.ndarray) -> np.ndarray:
    members, pages, classes = log_probs.shape
    return np.maximum(log_probs, FEATURE_FLOOR).transpose(1, 0, 2).reshape(pages, members * classes)
