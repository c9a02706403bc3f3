"""The metrics of a set of predictions, over all pages and class by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from docclf_cli.errors import InputError
from docclf_cli.metrics.clusters import dependence_of_metric, dependence_within_classes, share_of
from docclf_cli.metrics.confusion import Counts, confusion_of, counts_of, f1_scores, recalls
from docclf_cli.metrics.intervals import CONFIDENCE, clusters_of, mean_of, wilson
from docclf_cli.metrics.metrics import (
    ConfusionMetric,
    EstimatedMetric,
    Metric,
    PageMetric,
    cross_entropies,
    metrics_with,
)
from docclf_cli.metrics.posterior import f1_of_classes, metrics_of_classes
from docclf_cli.results.metrics import ClassRow, Estimate, Scores
from docclf_cli.results.predictions import Predictions


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
    losses[rows] = cross_entropies(logits, predictions.targets[rows])
    return losses


def compute_metrics(predictions: Predictions, *, temperature: float = 1.0) -> dict[str, float]:
    """The metrics of `score` without their intervals: quick enough for every epoch.

    Raises:
        InputError: No page is both readable and labelled.
    """
    scored = _scored(predictions, temperature)
    return {name: metric(scored) for name, metric in metrics_with(scored.num_classes).items()}


def score(predictions: Predictions, *, temperature: float = 1.0, seed: int = 0) -> Scores:
    """All metrics with their intervals.

    Accuracy, recall, precision and top-k have Wilson intervals; F1, its means and balanced accuracy have those of
    `sampling_interval`, from tables drawn at posterior rates of confusion; log loss has that of a
    skewed mean (`mean_of`); the calibration error is approximate (see `calibration_error`). Where groups are known,
    pages count by their effective number (see `clusters`), and a mean is one of groups.

    Args:
        predictions: Labelled pages; unreadable ones and those without a label are left out.
        temperature: Divides the logits, for log loss and calibration error.
        seed: Of the draws.

    Raises:
        InputError: No page is both readable and labelled.
    """
    scored = _scored(predictions, temperature)
    return Scores(
        metrics=estimates(scored, metrics_with(scored.num_classes), seed),
        classes=_class_rows(scored, per_sample_loss(scored), seed),
        support=len(scored),
        unreadable=int(np.isnan(predictions.log_probs).any(axis=1).sum()),
    )


def _scored(predictions: Predictions, temperature: float) -> Predictions:
    """The rows that can be scored, their logits divided by the temperature."""
    scored = predictions.scored()
    return replace(scored, log_probs=scored.log_probs.astype(np.float64) / temperature)


def estimates(scored: Predictions, metrics: Mapping[str, Metric], seed: int = 0) -> dict[str, Estimate]:
    """Metrics with their intervals, as `score` gives them.

    Args:
        scored: Predictions whose rows are all scored.
        metrics: Which, by name.
        seed: Of the draws.
    """
    drawn = {name: metric for name, metric in metrics.items() if isinstance(metric, ConfusionMetric)}
    found = _drawn(scored, drawn, seed)
    for name, metric in metrics.items():
        if isinstance(metric, PageMetric):
            values = metric.function(scored.log_probs, scored.labels)
            if values.dtype == bool:
                found[name] = share_of(values, clusters_of(scored.groups))
            else:
                found[name] = mean_of(values, scored.groups, lowest=metric.lowest, highest=metric.highest)
        elif isinstance(metric, EstimatedMetric):
            found[name] = metric.function(scored, CONFIDENCE, seed)
    return {name: found[name] for name in metrics}


def _drawn(scored: Predictions, metrics: Mapping[str, ConfusionMetric], seed: int) -> dict[str, Estimate]:
    """Metrics of the confusion matrix; of pages in groups, each from the matrix of its effective number of pages."""
    matrix, unit = confusion_of(scored), clusters_of(scored.groups)
    functions = {name: metric.function for name, metric in metrics.items()}
    lowest = {name: metric.lowest for name, metric in metrics.items()}
    if unit is None:
        return metrics_of_classes(matrix, functions, np.random.default_rng((seed, 0)), lowest=lowest)
    found: dict[str, Estimate] = {}
    for name, function in functions.items():
        dependence = dependence_of_metric(scored, function, unit)
        scale = dependence.effective_pages(unit, (1 - CONFIDENCE) / 2) / len(scored)
        rng = np.random.default_rng((seed, 0))
        found |= metrics_of_classes(matrix * scale, {name: function}, rng, lowest=lowest)
    return found


def _class_rows(scored: Predictions, losses: np.ndarray, seed: int) -> tuple[ClassRow, ...]:
    """One row a class: without pages its recall and loss are NaN, never predicted its precision is."""
    matrix = confusion_of(scored)
    counts = counts_of(matrix)
    of_class, named, scale = _effective_pages(scored, counts, (1 - CONFIDENCE) / 2)
    f1 = f1_of_classes(matrix * scale, np.random.default_rng((seed, 2)))
    summed = np.bincount(scored.labels, weights=losses, minlength=scored.num_classes)
    return tuple(
        ClassRow(
            name=name,
            support=int(counts.support[index]),
            accuracy=wilson(counts.hits[index], counts.support[index], of_class[index]),
            precision=wilson(counts.hits[index], counts.predicted[index], named[index]),
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
