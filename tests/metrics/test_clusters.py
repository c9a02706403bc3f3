from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from prediction_cases import at_random, naming
from scipy.stats import binom

from docclf_cli.metrics.calibration import calibration_error, confidences, reliability_bins
from docclf_cli.metrics.class_metrics import score
from docclf_cli.metrics.clusters import (
    dependence_of_metric,
    dependence_of_share,
    dependence_within_classes,
    share_of,
)
from docclf_cli.metrics.confusion import Counts, confusion_of, counts_of
from docclf_cli.metrics.intervals import clusters_of, mean_of, wilson
from docclf_cli.metrics.metrics import balanced_accuracy, f1_macro, f1_weighted
from docclf_cli.metrics.thresholds import _earlier, apply_threshold, find_threshold
from docclf_cli.results.predictions import Predictions


def repeated(predictions: Predictions, times: int, *, grouped: bool) -> Predictions:
    """Each page many times over, as the pages of a group or as pages of their own."""
    rows = np.repeat(np.arange(len(predictions)), times)
    ids = np.array([f"p{row}" for row in range(len(rows))])
    return replace(predictions.take(rows), ids=ids, groups=rows.astype(str) if grouped else None)


def widths(predictions: Predictions) -> dict[str, float]:
    scores = score(predictions)
    estimates = {**scores.metrics}
    for row in scores.classes:
        estimates |= {f"{row.name} {name}": getattr(row, name) for name in ("accuracy", "precision", "f1")}
    return {name: one.high - one.low for name, one in estimates.items()}


def test_a_group_of_copies_is_hardly_more_than_one_page() -> None:
    pages = at_random(1, 200, 4, skill=2.0)
    once, loose, tied = widths(pages), *(widths(repeated(pages, 9, grouped=grouped)) for grouped in (False, True))
    for name, width in once.items():
        if name == "ece":  # debiased: its width does not follow the number of pages alone
            continue
        assert loose[name] < 0.5 * width, name
        assert 0.9 * width < tied[name] < 1.5 * width, name


def test_groups_of_one_page_change_nothing() -> None:
    pages = at_random(1, 60, 4)
    alone = replace(pages, groups=pages.ids[::-1])
    assert clusters_of(alone.groups) is None
    assert score(alone) == score(pages)
    assert apply_threshold(alone, 0.5, 0.9) == apply_threshold(pages, 0.5, 0.9)
    assert find_threshold(alone, 0.5) == find_threshold(pages, 0.5)


def test_without_a_mistake_a_group_is_a_page() -> None:
    unit = np.repeat(np.arange(30), 7)
    found = share_of(np.ones(210, dtype=bool), unit)
    assert found == replace(wilson(30, 30), value=1.0)


def test_independent_pages_in_many_groups_count_nearly_as_pages() -> None:
    right = np.random.default_rng(0).random(5000) < 0.8
    unit = np.repeat(np.arange(1000), 5)
    pages = dependence_of_share(right, unit).effective_pages(unit)
    assert 4000 < pages <= 5000


def test_one_group_says_nearly_nothing() -> None:
    found = share_of(np.arange(50) < 40, np.zeros(50, dtype=int))
    assert found.value == 0.8
    assert found.high - found.low > 0.7


def _accuracy(counts: Counts) -> np.ndarray:
    return counts.hits.sum(axis=-1) / counts.support.sum(axis=-1)


@pytest.mark.parametrize("function", [_accuracy, balanced_accuracy, f1_macro, f1_weighted])
def test_the_linearised_variance_of_a_metric_is_that_of_leaving_groups_out(
    function: Callable[[Counts], np.ndarray],
) -> None:
    pages = at_random(3, 3000, 4, skill=1.5)
    pages = replace(pages, groups=np.random.default_rng(0).integers(0, 300, 3000).astype(str))
    unit = clusters_of(pages.groups)
    assert unit is not None

    def metric(rows: np.ndarray) -> float:
        return float(function(counts_of(confusion_of(pages.take(rows)))))

    left_out = [metric(unit != group) for group in range(300)]
    by_page = [metric(np.arange(3000) != row) for row in range(3000)]
    effect = np.var(left_out) * 300**2 / 299 / (np.var(by_page) * 3000)
    found = dependence_of_metric(pages, function, unit)
    sizes = np.bincount(unit)
    raw = 1 + found.correlation * ((sizes**2).sum() / 3000 - 1)
    assert raw == pytest.approx(max(1.0, effect), abs=0.06)


def test_pages_before_of_the_same_group() -> None:
    assert _earlier(np.array([3, 1, 3, 3, 1])).tolist() == [0, 0, 1, 2, 1]


def test_calibration_and_its_bins_are_less_sure_of_groups() -> None:
    pages = repeated(at_random(1, 60, 4, skill=1.5), 10, grouped=True)
    both = confidences(pages)
    loose, tied = calibration_error(*both), calibration_error(*both, pages.groups)
    assert tied.value <= loose.value
    assert tied.high > loose.high
    for plain, grouped in zip(reliability_bins(*both), reliability_bins(*both, pages.groups), strict=True):
        assert grouped.accuracy.value == pytest.approx(plain.accuracy.value)
        assert grouped.accuracy.high - grouped.accuracy.low > 1.3 * (plain.accuracy.high - plain.accuracy.low)


def test_shares_of_pages_decided_are_by_group() -> None:
    pages = repeated(at_random(1, 60, 4, skill=1.5), 10, grouped=True)
    loose, tied = (apply_threshold(one, 0.5, 0.9) for one in (replace(pages, groups=None), pages))
    assert tied.coverage.value == loose.coverage.value
    assert tied.coverage.high - tied.coverage.low > 2 * (loose.coverage.high - loose.coverage.low)
    assert tied.precision.high - tied.precision.low > 2 * (loose.precision.high - loose.precision.low)


def test_a_class_leans_on_all_classes_for_its_correlation() -> None:
    # class 1 has no mistake of its own, but elsewhere the pages of a group share their fate
    targets, named = [0] * 60 + [1] * 60, [0] * 30 + [2] * 30 + [1] * 60
    groups = np.repeat(np.arange(12), 10).astype(str)
    pages = replace(naming(targets, named, classes=3), groups=groups)
    unit = clusters_of(groups)
    assert unit is not None
    assert dependence_within_classes(pages, unit).correlation > 0.9
    row = score(pages).classes[1]
    assert row.accuracy.low < wilson(6, 6).low + 0.02


def test_few_groups_widen_the_interval_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        values = np.repeat(rng.normal(3.0, 1.0, 6), 20)
        found = mean_of(values, np.repeat(np.arange(6), 20))
        held += found.low <= 3.0 <= found.high
    assert held >= binom.ppf(0.001, 200, 0.93)


@pytest.mark.parametrize(("groups", "size"), [(100, 1), (100, 5)])
def test_the_interval_of_skewed_losses_of_groups_holds_the_truth(groups: int, size: int) -> None:
    """A small piece of benchmarks/clustered_coverage.py: mistakes are rare, bad, and shared by a group's pages.

    A bootstrap holds .84, Student's interval .80, and pages as independent .55 in groups of five.
    """
    rng, held, repeats = np.random.default_rng(0), 0, 400
    truth = 0.05 * 3.0 + 0.95 * 0.02
    for _ in range(repeats):
        losses = np.where(rng.random(groups) < 0.05, 1.0, 0.0) * rng.exponential(3.0, groups)
        losses = np.repeat(np.where(losses > 0, losses, 0.02), size)
        found = mean_of(losses, np.repeat(np.arange(groups), size).astype(str), lowest=0.0)
        held += found.low <= truth <= found.high
    assert held >= binom.ppf(0.001, repeats, 0.93)


@pytest.mark.parametrize("correlation", [0.4, 1.0])
def test_intervals_of_shares_of_groups_hold_the_truth(correlation: float) -> None:
    """A small piece of benchmarks/clustered_coverage.py; with pages as independent it holds .24 to .65."""
    rng, unit, held, repeats = np.random.default_rng(0), np.repeat(np.arange(30), 10), 0, 300
    for _ in range(repeats):
        fate = rng.random(30)[unit]
        right = np.where(rng.random(300) < correlation, fate, rng.random(300)) < 0.85
        found = share_of(right, unit)
        held += found.low <= 0.85 <= found.high
    assert held >= binom.ppf(0.001, repeats, 0.93)


@pytest.mark.slow
def test_a_precision_that_is_not_there_is_seldom_found_in_groups() -> None:
    rng, repeats, found = np.random.default_rng(0), 120, 0
    unit = np.repeat(np.arange(200), 5)
    for _ in range(repeats):
        confidence = rng.uniform(0.6, 0.99, 200)[unit] + rng.uniform(0, 0.005, 1000)
        right = np.where(rng.random(1000) < 0.95, rng.random(200)[unit], rng.random(1000)) < 0.899
        probs = np.stack([confidence, 1 - confidence], axis=1)
        ids = np.arange(1000).astype(str)
        pages = Predictions(ids, np.log(probs).astype(np.float32), ("a", "b"), np.where(right, 0, 1), unit.astype(str))
        found += find_threshold(pages, 0.9).value is not None
    assert found <= binom.ppf(0.999, repeats, 0.05)
