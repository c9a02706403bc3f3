"""Multinomial logistic regression on features, whose penalty is chosen by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn

from docclf_cli.data.index.splits import placed
from docclf_cli.hardware import one_thread

FOLDS = 3
# Weights of the squared norm of the classifier beside the mean loss, for features of variance 1; the strongest first.
PENALTIES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
TRIAL_ITERATIONS, ITERATIONS = 25, 100
_FOLDS = 3  # keeps this random stream apart from those of training


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """A multinomial logistic regression.

    Attributes:
        weight: float32 [num_classes, features].
        bias: float32 [num_classes].
        penalty: The one of `PENALTIES` that was chosen.
        cross_validated: Its mean log loss on pages that were left out.
        loss: Mean log loss on the pages it was fitted to.
    """

    weight: np.ndarray
    bias: np.ndarray
    penalty: float
    cross_validated: float
    loss: float


@one_thread()
def fit_logistic(
    features: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    weights: np.ndarray,
    num_classes: int,
    offsets: np.ndarray | None = None,
) -> LogisticFit:
    """Fit a classifier to features; the penalty is the one with the least log loss on folds that are left out.

    Args:
        features: float32 [n, features].
        labels: int64 [n].
        folds: Fold of each row, int64 [n]; rows of one fold are left out together.
        weights: Weight of each row in the loss, float [n].
        num_classes: Length of the class axis.
        offsets: Logits that another model gives, float32 [n, num_classes]; the fit then is what is added to them.
    """
    mean = features.mean(axis=0)
    deviation = features.std(axis=0)
    # What hardly varies here may vary on other pages: scaled by its own deviation, it would drown all the rest there.
    deviation = np.maximum(deviation, max(float(np.median(deviation)) / 2, 1e-6))
    standard = ((features - mean) / deviation).astype(np.float32)
    # The penalty keeps the solution in the span of the rows: fewer rows than features are as many coordinates.
    basis = np.linalg.qr(standard.T)[0] if len(standard) < standard.shape[1] else None
    rows = _Rows(
        torch.as_tensor(standard if basis is None else standard @ basis, dtype=torch.float32),
        torch.as_tensor(labels),
        torch.as_tensor(weights, dtype=torch.float32),
        torch.zeros(1, num_classes).expand(len(labels), -1) if offsets is None else torch.as_tensor(offsets),
    )
    losses = _cross_validated(rows, folds, num_classes)
    best = int(np.argmin(losses))
    start = np.zeros((num_classes, rows.features.shape[1] + 1))
    for penalty in PENALTIES[:best]:  # each from the solution of the stronger one
        start, _ = _minimised(start, rows, penalty, TRIAL_ITERATIONS)
    start, loss = _minimised(start, rows, PENALTIES[best], ITERATIONS)
    weight = (start[:, :-1] if basis is None else start[:, :-1] @ basis.T) / deviation
    bias = start[:, -1] - weight @ mean
    return LogisticFit(weight.astype(np.float32), bias.astype(np.float32), PENALTIES[best], losses[best], loss)


@dataclass(frozen=True, eq=False)
class _Rows:
    """What a regression is fitted to.

    Attributes:
        features: float32 [n, features].
        labels: int64 [n].
        weights: float32 [n].
        offsets: float32 [n, num_classes], added to the logits.
    """

    features: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    offsets: torch.Tensor

    def __getitem__(self, chosen: torch.Tensor) -> _Rows:
        return _Rows(self.features[chosen], self.labels[chosen], self.weights[chosen], self.offsets[chosen])

    def logits(self, solution: torch.Tensor) -> torch.Tensor:
        """float32 [n, num_classes] of weights and, as the last column, biases."""
        return self.offsets + self.features @ solution[:, :-1].T + solution[:, -1]


def _cross_validated(rows: _Rows, folds: np.ndarray, num_classes: int) -> list[float]:
    """Mean log loss of the rows that were left out, for the penalties up to where weaker ones no longer help.

    Rows of a class that no other fold has are not counted: nothing can be learned about them.
    """
    parts = []
    for fold in np.unique(folds):
        out = torch.as_tensor(folds == fold)
        known = torch.isin(rows.labels, rows.labels[~out].unique())
        if bool((out & known).any()) and bool((~out).any()):
            parts.append((rows[~out], rows[out & known]))
    if not parts:
        return [0.0]
    starts = [np.zeros((num_classes, rows.features.shape[1] + 1)) for _ in parts]
    losses: list[float] = []
    for penalty in PENALTIES:
        total, weight = 0.0, 0.0
        for number, (fitted, scored) in enumerate(parts):
            starts[number], _ = _minimised(starts[number], fitted, penalty, TRIAL_ITERATIONS)
            logits = scored.logits(torch.as_tensor(starts[number], dtype=torch.float32))
            loss = nn.functional.cross_entropy(logits, scored.labels, reduction="none")
            total += float((loss * scored.weights).sum())
            weight += float(scored.weights.sum())
        losses.append(total / max(weight, 1e-12))
        if losses[-1] > min(losses):
            break
    return losses


def _minimised(start: np.ndarray, rows: _Rows, penalty: float, iterations: int) -> tuple[np.ndarray, float]:
    """Minimise mean loss + penalty / 2 * |weight|² by L-BFGS.

    Returns:
        Weights and, as the last column, biases, float64 [num_classes, features + 1]; and the mean loss there.
    """
    total = rows.weights.sum()
    mean_loss = 0.0

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal mean_loss
        solution = torch.as_tensor(flat.reshape(start.shape), dtype=torch.float32)
        weight = solution[:, :-1]
        log_probs = torch.log_softmax(rows.logits(solution), dim=1)
        mean_loss = float(-(log_probs.gather(1, rows.labels[:, None])[:, 0] * rows.weights).sum() / total)
        error = log_probs.exp()
        error[torch.arange(len(rows.labels)), rows.labels] -= 1
        error *= (rows.weights / total)[:, None]
        gradient = torch.cat([error.T @ rows.features + penalty * weight, error.sum(dim=0)[:, None]], dim=1)
        value = mean_loss + penalty / 2 * float((weight**2).sum())
        return value, gradient.double().numpy().ravel()

    found = minimize(
        objective,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations, "ftol": 1e-6, "gtol": 1e-5},
    )
    objective(found.x)
    return found.x.reshape(start.shape), mean_loss


def probe_folds(labels: np.ndarray, groups: np.ndarray | None, num_classes: int, seed: int) -> np.ndarray:
    """Fold of each page, int64 [n]; pages of a group share one.

    Args:
        labels: int64 [n].
        groups: Name of the group of each page [n]; None where each page is alone.
        num_classes: Length of the class axis.
        seed: Decides between groups that fit equally well.
    """
    _, of_row = np.unique(np.arange(len(labels)) if groups is None else groups, return_inverse=True)
    counts = np.zeros((of_row.max() + 1, num_classes), dtype=np.int64)
    np.add.at(counts, (of_row, labels), 1)
    return placed(counts, FOLDS, np.random.default_rng((seed, _FOLDS)))[of_row]
