"""Whether one set of predictions is better than another on the same pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array, hstack

from docclf_cli.errors import InputError
from docclf_cli.metrics.alignment import align
from docclf_cli.metrics.confusion import Counts, confusion_of, counts_of
from docclf_cli.metrics.intervals import bootstrap_weights, percentile_interval, unit_of, wilson
from docclf_cli.metrics.metrics import METRICS, ComparableMetric, ConfusionMetric, PageMetric, comparable_metric
from docclf_cli.results.metrics import Difference, Estimate
from docclf_cli.results.predictions import Predictions
from docclf_cli.text import Message

TOLERANCE = 0.01  # of macro-F1
TOLERATED_PAGES = 2  # where so many of the held-out pages make more of it, that much
DRAWS = 5000  # more than a single metric takes: here it is decided whether an interval leaves zero
# A table [n, columns] of what each page adds to a metric, and the metric of such totals [..., columns].
_Measure = tuple[csr_array, Callable[[np.ndarray], np.ndarray]]


def scored_together(members: Sequence[Predictions], names: Sequence[str] | None = None) -> tuple[Predictions, ...]:
    """The aligned predictions on the pages that have a label and that every member could read.

    Args:
        members: Predictions of each.
        names: What messages call them.

    Raises:
        InputError: Pages, classes or labels differ, or no page is left.
    """
    aligned = align(members, names=names)
    labels = aligned[0].targets
    unread = np.any([np.isnan(member.log_probs).any(axis=1) for member in aligned], axis=0)
    if labels is None or not (rows := (labels >= 0) & ~unread).any():
        raise InputError("no page is labelled and readable for all of them")
    groups = next((member.groups[rows] for member in aligned if member.groups is not None), None)
    return tuple(replace(member.take(rows), groups=groups) for member in aligned)


def paired_difference(a: Predictions, b: Predictions, metric: str = "f1_macro", *, seed: int = 0) -> Difference:
    """How much larger a metric of `a` is than that of `b` on the same pages, with a bootstrap interval.

    Pages (groups, where groups exist) are weighted at random, the same for both (Bayesian bootstrap, Rubin 1981),
    and each draw adds one further page: one on which the two differ, with their predictions changed over. Where
    the two differ on a handful of pages and `a` is right on all, this makes the interval for accuracy leave zero
    where the exact sign test does, while a plain bootstrap would be certain after a single page.

    Args:
        a: Predictions.
        b: Predictions for the same IDs and classes, in any order. Pages unreadable in either are left out.
        metric: Name of a `ComparableMetric` of `METRICS`.
        seed: Of the weights.

    Raises:
        InputError: Pages, classes or labels differ, no page can be scored, or the metric is unknown.
    """
    a, b = scored_together((a, b))
    kind = comparable_metric(metric)
    (table_a, metric_a), (table_b, metric_b) = _measure(a, kind), _measure(b, kind)
    value = float(metric_a(table_a.sum(axis=0)) - metric_b(table_b.sum(axis=0)))
    unit = unit_of(len(a), a.groups)
    differing = np.unique(unit[abs(table_a - table_b).sum(axis=1) > 0])
    p_value = mcnemar(a, b) if metric == "accuracy" else None
    interval = Estimate(value, value, value)
    if len(differing):
        units = _by_unit(table_a, unit), _by_unit(table_b, unit)
        drawn = [metric_a(totals_a) - metric_b(totals_b) for totals_a, totals_b in _draws(units, differing, seed)]
        interval = percentile_interval(value, np.concatenate(drawn))
    if interval.low == interval.high and math.isfinite(kind.highest):
        # Pages that make a difference may be among those not seen: at most as many as the bound of a share of none.
        reach = wilson(0, int(unit.max()) + 1).high * (kind.highest - kind.lowest)
        interval = Estimate(value, value - reach, value + reach)
    return Difference(metric, value, interval.low, interval.high, len(a), p_value)


def tolerated_loss(pages: int) -> float:
    """The loss of macro-F1 on so many held-out pages that a changed model may have, where the user names none."""
    return max(TOLERANCE, TOLERATED_PAGES / pages)


def mcnemar(a: Predictions, b: Predictions) -> float:
    """The exact two-sided p-value of McNemar's test, on whether the pages that only one gets right are evenly split.

    Where groups are known, the pages of a group change sides together: of a group, the pages that only `a` gets
    right less those that only `b` does, and of the sum its exact distribution were each such difference equally
    likely to have the other sign (Fisher's randomisation test). Of single pages this is McNemar's test.

    Args:
        a: Predictions whose rows are all scored.
        b: The same pages and classes in the same order.
    """
    ahead = (a.predicted() == a.targets).astype(np.int64) - (b.predicted() == b.targets)
    lead = np.bincount(unit_of(len(a), a.groups), weights=ahead).astype(np.int64)
    sizes, groups = np.unique(np.abs(lead[lead != 0]), return_counts=True)
    from scipy.signal import convolve  # takes half a second to import
    from scipy.stats import binom

    # The chance of each number of pages ahead, from all against to all for, in steps of one.
    chances = np.ones(1)
    for size, count in zip(sizes, groups, strict=True):
        spaced = np.zeros(2 * size * count + 1)
        spaced[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = convolve(chances, spaced)
    reach = np.abs(np.arange(len(chances)) - len(chances) // 2)
    return float(min(1.0, chances[reach >= abs(lead.sum())].sum()))


def sentence(difference: Difference) -> str:
    """A difference in words: "better by 1.2 points of macro-F1, 95 % 0.3 … 2.1"."""
    if difference.low <= 0 <= difference.high:
        return Message.of("no significant difference")
    metric = METRICS.get(difference.metric).build
    near, far = sorted((abs(difference.low), abs(difference.high)))
    scale = 100 if metric.in_points else 1
    size, near, far, name = scale * abs(difference.value), scale * near, scale * far, Message.of(metric.label)
    if metric.in_points and is_better(difference):
        return Message.of(
            "better by {size:.1f} points of {metric}, 95 % {near:.1f} … {far:.1f}",
            size=size,
            metric=name,
            near=near,
            far=far,
        )
    if metric.in_points:
        return Message.of(
            "worse by {size:.1f} points of {metric}, 95 % {near:.1f} … {far:.1f}",
            size=size,
            metric=name,
            near=near,
            far=far,
        )
    if is_better(difference):
        return Message.of(
            "better by {size:.3f} of {metric}, 95 % {near:.3f} … {far:.3f}", size=size, metric=name, near=near, far=far
        )
    return Message.of(
        "worse by {size:.3f} of {metric}, 95 % {near:.3f} … {far:.3f}", size=size, metric=name, near=near, far=far
    )


def is_better(difference: Difference) -> bool:
    """Whether the first of the two is the better one, by the value of the difference alone."""
    return (difference.value > 0) == METRICS.get(difference.metric).build.higher_is_better


def _draws(
    units: tuple[csr_array, csr_array], differing: np.ndarray, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weighted totals of both, [some draws, columns] each, with one further unit changed over."""
    units_a, units_b = units
    rng = np.random.default_rng(seed)
    for weights in bootstrap_weights(units_a.shape[0], rng, DRAWS):
        swapped = rng.choice(differing, len(weights))
        extra = rng.standard_exponential((len(weights), 1))
        totals_a = weights @ units_a + extra * units_b[swapped].toarray()
        totals_b = weights @ units_b + extra * units_a[swapped].toarray()
        yield totals_a, totals_b


def _measure(predictions: Predictions, metric: ComparableMetric) -> _Measure:
    if isinstance(metric, PageMetric):
        values = metric.function(predictions.log_probs, predictions.labels).astype(float)
        table = csr_array(np.stack([values, np.ones(len(values))], axis=1))
        return table, lambda totals: totals[..., 0] / totals[..., 1]
    assert isinstance(metric, ConfusionMetric)
    return _counts_measure(predictions, metric)


def _counts_measure(predictions: Predictions, metric: ConfusionMetric) -> _Measure:
    """Columns: recognised, predicted (where the metric looks at them) and true pages of each class."""
    targets, predicted, classes = predictions.labels, predictions.predicted(), predictions.num_classes
    present = counts_of(confusion_of(predictions)).present
    hits = _one_hot(targets, classes, targets == predicted)
    named = hits if metric.of_recall else _one_hot(predicted, classes)
    table = hstack([hits, named, _one_hot(targets, classes)], format="csr")
    return table, lambda totals: metric.function(Counts(*np.split(totals, 3, axis=-1)).take(present))


def _one_hot(index: np.ndarray, classes: int, values: np.ndarray | None = None) -> csr_array:
    rows = np.arange(len(index))
    filled = np.ones(len(index)) if values is None else values.astype(float)
    return csr_array((filled, (rows, index)), shape=(len(index), classes))


def _by_unit(table: csr_array, unit: np.ndarray) -> csr_array:
    membership = csr_array((np.ones(len(unit)), (unit, np.arange(len(unit)))), shape=(int(unit.max()) + 1, len(unit)))
    return csr_array(membership @ table)
