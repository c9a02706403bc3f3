"""Weights of a mean of probabilities, fitted to held-out pages by log loss."""

import numpy as np
from scipy.optimize import LinearConstraint, minimize

from docclf_cli.ensembling.held_out import HeldOut
from docclf_cli.ensembling.pooling import floored

# How far above its minimum the log loss may stay, and how many steps are taken to get there.
EXACT = 5e-7
MOST_STEPS = 20_000


def optimal_weights(held_out: HeldOut) -> tuple[np.ndarray, float]:
    """The weights on the simplex with the smallest log loss.

    The problem is convex. Sequential quadratic programming comes close, and steps of expectation maximisation
    (multiply each weight by the mean ratio of its member's probability to the mixture's) finish: they never raise the
    loss and stay on the simplex. The largest such ratio minus 1 bounds how far the loss is above the minimum.

    Args:
        held_out: Members' predictions for pages that no member was trained on.

    Returns:
        Weights float64 [members], and that bound.
    """
    probs = _of_true_class(held_out)
    weights = _quadratic_programming(probs)
    for _ in range(MOST_STEPS):
        ratios = _ratios(weights, probs)
        if ratios.max() - 1 <= EXACT:
            break
        weights = weights * ratios
    return weights / weights.sum(), max(0.0, float(ratios.max() - 1))


def greedy_weights(held_out: HeldOut, rounds: int) -> tuple[np.ndarray, list[int]]:
    """Pick, with replacement, the member that lowers the log loss of the mean most; keep the best stage.

    Caruana et al., Ensemble selection from libraries of models (ICML 2004).

    Args:
        held_out: Members' predictions for pages that no member was trained on.
        rounds: How many picks are tried.

    Returns:
        The share of picks each member has, float64 [members], and the picks in order.
    """
    probs = _of_true_class(held_out)
    total, picks, losses = np.zeros(probs.shape[1]), [], []
    for count in range(1, rounds + 1):
        candidates = -np.log((total + probs) / count).mean(axis=1)
        picks.append(int(candidates.argmin()))
        losses.append(float(candidates.min()))
        total += probs[picks[-1]]
    best_picks = picks[: int(np.argmin(losses)) + 1]
    return np.bincount(best_picks, minlength=len(probs)) / len(best_picks), best_picks


def _of_true_class(held_out: HeldOut) -> np.ndarray:
    rows = np.arange(len(held_out))
    return np.exp(floored(held_out.log_probs[:, rows, held_out.targets]))


def _ratios(weights: np.ndarray, probs: np.ndarray) -> np.ndarray:
    return (probs / (weights @ probs)).mean(axis=1)


def _quadratic_programming(probs: np.ndarray) -> np.ndarray:
    members = len(probs)
    equal = np.full(members, 1 / members)

    def loss(weights: np.ndarray) -> float:
        return float(-np.log(np.maximum(weights @ probs, np.finfo(float).tiny)).mean())

    found = minimize(
        loss,
        equal,
        jac=lambda weights: -_ratios(np.maximum(weights, 0) + np.finfo(float).tiny, probs),
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints=LinearConstraint(np.ones(members), 1, 1),
        options={"ftol": 1e-14, "maxiter": 500},
    )
    weights = np.maximum(found.x, 0)
    weights /= weights.sum()
    better = weights if np.isfinite(found.fun) and loss(weights) < loss(equal) else equal
    # Expectation maximisation cannot bring back a member whose weight is exactly 0.
    return better if _ratios(better, probs).max() - 1 <= EXACT else 0.999 * better + 0.001 * equal
