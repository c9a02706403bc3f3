"""The metrics of a set of predictions, over all pages and class by class."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from docclf_cli.errors import InputError
from docclf_cli.metrics.calibration import calibration_error, confidences
from docclf_cli.metrics.clusters import dependence_of_metric, dependence_within_classes, share_of
from docclf_cli.metrics.confusion import MATRIX_METRICS, Counts, confusion_of, counts_of, f1_scores, recalls
from docclf_cli.metrics.intervals import bootstrap_mean, clusters_of, wilson
from docclf_cli.metrics.posterior import DRAWN, f1_of_classes, metrics_of_classes
from docclf_cli.results.metrics import ClassRow, Estimate, Scores
from docclf_cli.results.predictions import Predictions

TOP_K = 3
# scikit-learn's log_loss limits probabilities in the same way: one hopeless page must not make the mean infinite.
MAX_LOSS = float(-np.log(np.finfo(np.float64).eps))


def per_sample_loss(predictions: Predictions, temperature: float = 1.0) -> np.ndarray:
    """Plain cross entropy of each page, whatever loss trained the model.

    Args:
        predictions: n pages.
        temperature: Divides the logits.

    Returns:
        float64 [n]; NaN for pages without a label or that could not be read. At most `MAX_LOSS`.
    """
    losses = np.full(len(predictions), np.nan)
    if predictions.targets is None:
        return losses
    rows = np.flatnonzero(predictions.targets >= 0)
    logits = predictions.log_probs[rows].astype(np.float64) / temperature
    truth = logits[np.arange(len(rows)), predictions.targets[rows]]
    losses[rows] = np.minimum(logsumexp(logits, axis=1) - truth, MAX_LOSS)
    return losses


def top_k_correct(predictions: Predictions, k: int) -> np.ndarray:
    """Whether the true class is among the k most probable, bool [n]; of equals the first class counts as higher."""
    targets = predictions.targets
    assert targets is not None
    own = np.take_along_axis(predictions.log_probs, targets[:, None], axis=1)
    ahead = predictions.log_probs > own
    ahead |= (predictions.log_probs == own) & (np.arange(predictions.num_classes) < targets[:, None])
    return ahead.sum(axis=1) < k


def top_k(num_classes: int) -> int:
    """The k of `top{k}_accuracy`: 3, or as many as leave one class out."""
    return max(1, min(TOP_K, num_classes - 1))


def compute_metrics(predictions: Predictions, *, temperature: float = 1.0) -> dict[str, float]:
    """The metrics of `score` without their intervals: quick enough for every epoch.

    Raises:
        InputError: No page is both readable and labelled.
    """
    scored = predictions.scored()
    counts = counts_of(confusion_of(scored))
    k = top_k(scored.num_classes)
    found = {name: float(metric(counts)) for name, metric in MATRIX_METRICS.items()}
    found["log_loss"] = float(per_sample_loss(scored, temperature).mean())
    found[f"top{k}_accuracy"] = float(top_k_correct(scored, k).mean())
    found["ece"] = calibration_error(*confidences(scored, temperature), scored.groups).value
    return found


def score(predictions: Predictions, *, temperature: float = 1.0, confidence: float = 0.95, seed: int = 0) -> Scores:
    """All metrics with their intervals.

    Accuracy, recall, precision and top-k have Wilson intervals; F1, its means and balanced accuracy have those of
    `sampling_interval`, from tables drawn at posterior rates of confusion; log loss is bootstrapped; the
    calibration error is approximate (see `calibration_error`). Where groups are known, pages count by their
    effective number (see `clusters`), and the bootstrap draws groups.

    Args:
        predictions: Labelled pages; unreadable ones and those without a label are left out.
        temperature: Divides the logits, for log loss and calibration error.
        confidence: Two-sided level of the intervals.
        seed: Of the draws.

    Raises:
        InputError: No page is both readable and labelled.
    """
    scored = predictions.scored()
    losses = per_sample_loss(scored, temperature)
    return Scores(
        metrics=_metrics(scored, losses, temperature, confidence, seed),
        classes=_class_rows(scored, losses, confidence, seed),
        support=len(scored),
        unreadable=int(np.isnan(predictions.log_probs).any(axis=1).sum()),
    )


def headline_metrics(
    scored: Predictions, losses: np.ndarray, confidence: float = 0.95, seed: int = 0
) -> dict[str, Estimate]:
    """Accuracy, the metrics over all classes and log loss as `score` gives them: all that comparisons show.

    Args:
        scored: Predictions whose rows are all scored.
        losses: Of each page.
        confidence: Two-sided level of the intervals.
        seed: Of the draws.
    """
    unit = clusters_of(scored.groups)
    found = {"accuracy": share_of(scored.predicted() == scored.labels, unit, confidence)}
    found |= _metrics_of_classes(scored, unit, confidence, seed)
    found["log_loss"] = bootstrap_mean(losses, scored.groups, np.random.default_rng((seed, 1)), confidence)
    return found


def _metrics_of_classes(
    scored: Predictions, unit: np.ndarray | None, confidence: float, seed: int
) -> dict[str, Estimate]:
    """The metrics over all classes; of pages in groups, each from the matrix of its effective number of pages."""
    matrix = confusion_of(scored)

    def estimates(scale: float) -> dict[str, Estimate]:
        return metrics_of_classes(matrix * scale, np.random.default_rng((seed, 0)), confidence)

    if unit is None:
        return estimates(1)
    found = {name: dependence_of_metric(scored, name, unit) for name in DRAWN}
    pages = {name: one.effective_pages(unit, (1 - confidence) / 2) for name, one in found.items()}
    return {name: estimates(pages[name] / len(scored))[name] for name in DRAWN}


def _metrics(
    scored: Predictions, losses: np.ndarray, temperature: float, confidence: float, seed: int
) -> dict[str, Estimate]:
    found, k = headline_metrics(scored, losses, confidence, seed), top_k(scored.num_classes)
    found[f"top{k}_accuracy"] = share_of(top_k_correct(scored, k), clusters_of(scored.groups), confidence)
    found["ece"] = calibration_error(*confidences(scored, temperature), scored.groups, level=confidence, seed=seed)
    return found


def _class_rows(scored: Predictions, losses: np.ndarray, confidence: float, seed: int) -> tuple[ClassRow, ...]:
    """One row a class: without pages its recall and loss are NaN, never predicted its precision is."""
    matrix = confusion_of(scored)
    counts = counts_of(matrix)
    of_class, named, scale = _effective_pages(scored, counts, (1 - confidence) / 2)
    f1 = f1_of_classes(matrix * scale, np.random.default_rng((seed, 2)), confidence)
    summed = np.bincount(scored.labels, weights=losses, minlength=scored.num_classes)
    return tuple(
        ClassRow(
            name=name,
            support=int(counts.support[index]),
            accuracy=wilson(counts.hits[index], counts.support[index], confidence, of_class[index]),
            precision=wilson(counts.hits[index], counts.predicted[index], confidence, named[index]),
            f1=f1[index],
            loss=float(summed[index] / counts.support[index]) if counts.support[index] else np.nan,
        )
        for index, name in enumerate(scored.class_names)
    )


def _effective_pages(scored: Predictions, counts: Counts, tail: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Effective pages of each class and of each class predicted, [num_classes] both, and a share of pages for F1."""
    unit = clusters_of(scored.groups)
    if unit is None:
        return counts.support, counts.predicted, 1
    found = dependence_within_classes(scored, unit)

    def each(classes: np.ndarray, unit: np.ndarray) -> np.ndarray:
        pages = np.bincount(classes, minlength=scored.num_classes)
        parts = np.split(unit[np.argsort(classes, kind="stable")], np.cumsum(pages)[:-1])
        return np.array([found.effective_pages(part, tail) if len(part) else 0.0 for part in parts])

    true, named = scored.labels, scored.predicted()
    mistaken = true != named
    either = each(np.concatenate([true, named[mistaken]]), np.concatenate([unit, unit[mistaken]]))
    return each(true, unit), each(named, unit), float(either.sum()) / (len(unit) + int(mistaken.sum()))


def single_class(predictions: Predictions, target_class: int) -> dict[str, float]:
    """One class alone: `accuracy` (recall), `f1`, `loss` (mean cross entropy of its pages) and `support`.

    Raises:
        InputError: There is no page of the class.
    """
    scored = predictions.scored()
    counts = counts_of(confusion_of(scored))
    if not 0 <= target_class < scored.num_classes or not counts.support[target_class]:
        raise InputError(f"no page of class {target_class} is there", f"classes: 0 to {scored.num_classes - 1}")
    return {
        "accuracy": float(recalls(counts)[target_class]),
        "f1": float(f1_scores(counts)[target_class]),
        "loss": float(per_sample_loss(scored)[scored.targets == target_class].mean()),
        "support": int(counts.support[target_class]),
    }
