import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from docclf_cli.metrics.confusion import counts_of, f1_scores
from docclf_cli.metrics.intervals import (
    bootstrap_mean,
    figures_of_classes,
    lower_bound,
    posterior_counts,
    wilson,
)


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
    assert np.isnan([*wilson(0, 0).as_dict().values()]).all()


def test_299_pages_without_a_mistake_show_99_percent_and_298_do_not() -> None:
    assert lower_bound(299, 299) >= 0.99 > lower_bound(298, 298)


def test_draws_keep_the_pages_of_each_class() -> None:
    matrix = np.array([[8, 2, 0], [1, 19, 0], [0, 0, 0]])
    drawn = posterior_counts(matrix, 1 / 3, rng(), draws=50)
    np.testing.assert_allclose(drawn.support, np.tile([10, 20, 0], (50, 1)))
    np.testing.assert_allclose(drawn.predicted.sum(axis=1), 30)
    assert (drawn.hits <= drawn.support + 1e-9).all()


def test_draws_are_centred_on_the_posterior_mean() -> None:
    matrix = np.array([[8, 2], [1, 19]])
    drawn = posterior_counts(matrix, 1 / 3, rng(), draws=20_000)
    expected = [10 * (8 + 2 / 3) / 11, 20 * (19 + 2 / 3) / 21]
    np.testing.assert_allclose(drawn.hits.mean(axis=0), expected, rtol=0.005)


def test_draws_do_not_depend_on_how_they_are_cut_up(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.array([[8, 2], [1, 19]])
    whole = posterior_counts(matrix, 0.5, rng(), draws=100)
    monkeypatch.setattr("docclf_cli.metrics.intervals._CHUNK", 28)
    parts = posterior_counts(matrix, 0.5, rng(), draws=100)
    np.testing.assert_array_equal(whole.hits, parts.hits)


def test_macro_f1_is_about_as_sure_as_many_classes_allow() -> None:
    # 60 classes of 30 pages, two mistakes among 1800 pages: the truth is near .999, not near the prior
    matrix = np.diag(np.full(60, 30))
    matrix[3, 3], matrix[3, 4] = 28, 2
    found = figures_of_classes(matrix, rng())["f1_macro"]
    assert found.low > 0.995
    assert found.high > found.value > found.low


@pytest.mark.parametrize(("pages", "recall"), [(30, 0.8), (30, 0.99), (100, 0.95)])
def test_the_intervals_hold_the_truth_about_as_often_as_they_say(pages: int, recall: float) -> None:
    """A small piece of benchmarks/interval_coverage.py; with a prior of a page per class it fails at .99."""
    random, classes, repeats = rng(), 8, 150
    rates = np.full((classes, classes), (1 - recall) / (classes - 1))
    np.fill_diagonal(rates, recall)
    held = 0
    for _ in range(repeats):
        matrix = np.stack([random.multinomial(pages, row) for row in rates])
        found = figures_of_classes(matrix, random, draws=300)["f1_macro"]
        held += found.low <= f1_scores(counts_of(rates)).mean() <= found.high
    assert held >= binom.ppf(0.001, repeats, 0.93)


def test_a_mean_of_one_page_has_no_interval() -> None:
    found = bootstrap_mean(np.array([0.7]), None, rng())
    assert found.value == 0.7
    assert np.isnan([found.low, found.high]).all()


def test_the_mean_of_many_pages_has_the_interval_of_the_normal_distribution() -> None:
    values = rng().normal(3.0, 2.0, 5000)
    found = bootstrap_mean(values, None, rng())
    margin = 1.96 * values.std() / np.sqrt(5000)
    assert found.high - found.value == pytest.approx(margin, rel=0.1)
    assert found.value - found.low == pytest.approx(margin, rel=0.1)
