from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from docclf_cli.metrics.intervals import lower_bound, mean_of, wilson


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(st.integers(1, 400).flatmap(lambda pages: st.tuples(st.integers(0, pages), st.just(pages))))
def test_shares_have_the_bounds_of_scipy(case: tuple[int, int]) -> None:
    hits, pages = case
    test = binomtest(hits, pages, alternative="two-sided")
    expected = test.proportion_ci(0.95, method="wilson")
    found = wilson(hits, pages)
    assert (found.value, found.low, found.high) == (hits / pages, *map(pytest.approx, (expected.low, expected.high)))
    assert found.low <= found.value <= found.high
    one_sided = binomtest(hits, pages, alternative="greater").proportion_ci(0.95, method="exact")
    assert lower_bound(hits, pages) == pytest.approx(one_sided.low, abs=1e-9)


def test_a_share_of_nothing_is_not_known() -> None:
    assert np.isnan(astuple(wilson(0, 0))).all()


def test_299_pages_without_a_mistake_show_99_percent_and_298_do_not() -> None:
    assert lower_bound(299, 299) >= 0.99 > lower_bound(298, 298)


def test_a_mean_of_one_page_has_no_interval() -> None:
    found = mean_of(np.array([0.7]), None)
    assert found.value == 0.7
    assert np.isnan([found.low, found.high]).all()


def test_the_mean_of_many_pages_has_the_interval_of_the_normal_distribution() -> None:
    values = rng().normal(3.0, 2.0, 5000)
    found = mean_of(values, None)
    margin = 1.96 * values.std() / np.sqrt(5000)
    assert found.high - found.value == pytest.approx(margin, rel=0.1)
    assert found.value - found.low == pytest.approx(margin, rel=0.1)


def test_the_interval_of_a_skewed_mean_reaches_further_to_where_the_rare_large_values_are() -> None:
    values = rng().exponential(1.0, 60) ** 2
    found = mean_of(values, None, lowest=0.0)
    assert found.high - found.value > 1.5 * (found.value - found.low) > 0
    mirrored = mean_of(-values, None, highest=0.0)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_bounds_of_the_values_are_bounds_of_the_interval() -> None:
    values = np.array([0.0] * 20 + [1.0])
    found = mean_of(values, None, lowest=0.0, highest=0.2)
    assert (found.low, found.high) == (0.0, 0.2)


def test_values_that_are_all_equal_leave_room_for_those_not_seen() -> None:
    found = mean_of(np.zeros(30), None, lowest=0.0, highest=20.0)
    assert (found.value, found.low, found.high) == (0.0, 0.0, pytest.approx(20 * wilson(0, 30).high))
    grouped = mean_of(np.zeros(30), np.repeat(np.arange(6), 5).astype(str), lowest=0.0, highest=20.0)
    assert grouped.high == pytest.approx(20 * wilson(0, 6).high)
    assert mean_of(np.full(30, 2.5), None, lowest=2.5, highest=2.5).high == 2.5
