"""Tests of change: by hand, against scipy, and how often they raise a false alarm."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency, fisher_exact

from docclf_cli.metrics.drift import Moments, class_mix, holm, mean_test, table_test


def test_tables_are_tested_as_scipy_does() -> None:
    assert table_test([40, 60], [55, 45]) == pytest.approx(fisher_exact([[40, 60], [55, 45]])[1], abs=0.02)
    large = [[400, 300, 300], [360, 330, 310]]
    assert table_test(*large) == pytest.approx(chi2_contingency(large)[1], abs=0.03)
    assert table_test([40, 60, 0], [55, 45, 0]) == table_test([40, 60], [55, 45])
    assert table_test([7, 0], [9, 0]) == 1.0
    assert np.isnan(table_test([0, 0], [3, 4]))


def test_means_are_tested_as_hotelling_did() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(30, 1)), rng.normal(0.5, 1, (40, 1))
    from scipy.stats import ttest_ind

    assert mean_test(Moments.of(first), Moments.of(second)) == pytest.approx(
        ttest_ind(first[:, 0], second[:, 0])[1], rel=1e-3
    )
    assert np.isnan(mean_test(Moments.of(rng.normal(size=(4, 9))), Moments.of(rng.normal(size=(5, 9)))))


def test_moments_add_up() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)) + np.arange(50)[:, None]
    both, whole = Moments.of(points[:13]) + Moments.of(points[13:]), Moments.of(points)
    assert both.count == 50
    assert both.mean == pytest.approx(whole.mean)
    assert both.covariance == pytest.approx(whole.covariance)


def test_holm_by_hand() -> None:
    found = holm([0.01, 0.04, 0.03, float("nan"), 0.9])
    assert found[:3] == pytest.approx([0.04, 0.09, 0.09])
    assert np.isnan(found[3])
    assert found[4] == 0.9


def test_the_mix_of_classes_behind_predictions() -> None:
    confusion = np.array([[90, 10, 0], [20, 80, 0], [0, 0, 100]])
    truth = np.array([0.2, 0.7, 0.1])
    predicted = np.round(2000 * truth @ (confusion / 100)).astype(int)
    found = class_mix(confusion, predicted)
    for share, value in zip(found.shares, truth, strict=True):
        assert share is not None
        assert share.value == pytest.approx(value, abs=0.02)
        assert share.low <= value <= share.high
    assert found.accuracy.value == pytest.approx(truth @ [0.9, 0.8, 1.0], abs=0.02)
    alone = class_mix(np.array([[9, 1, 0], [0, 0, 0], [0, 0, 10]]), np.array([10, 5, 10]))
    assert alone.shares[1] is None


def test_intervals_of_the_mix_hold() -> None:
    rng, inside = np.random.default_rng(0), 0
    likely, truth = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0.3, 0.7])
    for seed in range(24):
        confusion = np.stack([rng.multinomial(40, row) for row in likely])
        share = class_mix(confusion, rng.multinomial(150, truth @ likely), seed).shares[0]
        assert share is not None
        inside += share.low <= 0.3 <= share.high
    assert inside >= 19


def test_all_tests_of_a_call_together_raise_few_false_alarms() -> None:
    """Two samples of one pool, as a call compares them: uneven classes, bounded confidences, heavy-tailed features."""
    rng, alarms, calls = np.random.default_rng(0), 0, 300
    pool_classes = rng.choice(5, 4000, p=[0.5, 0.25, 0.15, 0.08, 0.02])
    pool_confidence = np.digitize(rng.beta(8, 1, 4000), [0.5, 0.7, 0.8, 0.9, 0.95, 0.99])
    pool_features = rng.standard_t(4, (4000, 8)) + rng.normal(size=(5, 8))[pool_classes]
    for _ in range(calls):
        rows = np.split(rng.choice(4000, 160, replace=False), [100])
        classes, confidence = (
            [np.bincount(pool[one], minlength=7).tolist() for one in rows] for pool in (pool_classes, pool_confidence)
        )
        first, second = (Moments.of(pool_features[one]) for one in rows)
        alarms += min(holm([table_test(*classes), table_test(*confidence), mean_test(first, second)])) <= 0.05
    assert alarms <= 0.05 * calls + 11  # three deviations above
