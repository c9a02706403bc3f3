import numpy as np
import pytest
from scipy.stats import binom

from docclf_cli.metrics.confusion import counts_of, f1_scores
from docclf_cli.metrics.posterior import figures_of_classes, posterior_counts


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


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


def test_wrong_classes_never_seen_share_the_prior() -> None:
    matrix = np.array([[0, 0, 0], [0, 9, 0], [0, 0, 0]])
    drawn = posterior_counts(matrix, 1 / 2, rng(), draws=20_000)
    expected = 9 * np.array([0.25, 9.5, 0.25]) / 10
    np.testing.assert_allclose(drawn.predicted.mean(axis=0), expected, rtol=0.05)
    np.testing.assert_allclose(drawn.hits.mean(axis=0), [0, expected[1], 0], rtol=0.005)


def test_draws_in_many_small_pieces_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.array([[8, 2], [1, 19]])
    monkeypatch.setattr("docclf_cli.metrics.intervals._CHUNK", 70)
    drawn = posterior_counts(matrix, 0.5, rng(), draws=999)
    assert drawn.hits.shape == drawn.predicted.shape == drawn.support.shape == (999, 2)
    assert len(np.unique(drawn.hits[:, 0])) == 999


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
