import numpy as np
import pytest
from scipy.stats import binom

from docclf_cli.metrics.confusion import counts_of
from docclf_cli.metrics.intervals import wilson
from docclf_cli.metrics.metrics import balanced_accuracy, f1_macro, f1_weighted
from docclf_cli.metrics.posterior import f1_of_classes, metrics_of_classes, posterior_rates, sampled_counts

DRAWN = {"balanced_accuracy": balanced_accuracy, "f1_macro": f1_macro, "f1_weighted": f1_weighted}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_prior_is_as_good_as_the_model() -> None:
    # Both classes lean on the pooled recall of .8, .4 and one more class of .5
    rates = posterior_rates(np.array([[8, 2], [6, 4]]))
    np.testing.assert_allclose(rates[0], [(8 + 4 * 1.7 / 3) / 14, (2 + 4 * 1.3 / 3) / 14])
    np.testing.assert_allclose(rates.sum(axis=1), 1)


def test_wrong_classes_never_seen_share_the_prior() -> None:
    rates = posterior_rates(np.array([[9, 0, 0], [0, 9, 0], [0, 0, 0]]))
    pooled = (1 + 1 + 0.5) / 3
    np.testing.assert_allclose(rates[0, 1:], 4 * (1 - pooled) / 2 / 13)
    np.testing.assert_allclose(rates[2], [(1 - pooled) / 2, (1 - pooled) / 2, pooled])


def test_draws_keep_the_pages_of_each_class() -> None:
    matrix = np.array([[8, 2, 0], [1, 19, 0], [0, 0, 0]])
    drawn = sampled_counts(matrix, rng(), draws=50)
    np.testing.assert_allclose(drawn.support, np.tile([10, 20, 0], (50, 1)))
    np.testing.assert_allclose(drawn.predicted.sum(axis=1), 30)
    assert (drawn.hits <= drawn.support + 1e-9).all()


def test_draws_spread_as_tables_do() -> None:
    matrix = np.array([[60, 25, 15], [5, 95, 0], [10, 0, 190]])
    rates = posterior_rates(matrix)
    tables = rng().multinomial(matrix.sum(axis=1), rates, size=(20_000, 3))
    drawn, expected = sampled_counts(matrix, rng(), draws=20_000), counts_of(tables)
    for found, wanted in zip(drawn[:2], expected[:2], strict=True):
        np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), rtol=0.01)
        np.testing.assert_allclose(found.std(axis=0), wanted.std(axis=0), rtol=0.04)


def test_draws_of_single_pages_are_right_or_wrong() -> None:
    drawn = sampled_counts(np.eye(8, dtype=np.int64), rng(), draws=2000)
    assert np.mean((drawn.hits < 0.01) | (drawn.hits > 0.99)) > 0.9


def test_draws_in_many_small_pieces_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.array([[8, 2], [1, 19]])
    monkeypatch.setattr("docclf_cli.metrics.intervals._CHUNK", 70)
    drawn = sampled_counts(matrix, rng(), draws=999)
    assert drawn.hits.shape == drawn.predicted.shape == drawn.support.shape == (999, 2)
    assert len(np.unique(drawn.hits[:, 0])) == 999


def test_balanced_accuracy_of_equal_classes_is_as_sure_as_accuracy() -> None:
    matrix = np.full((10, 10), 5) + np.diag(np.full(10, 50))
    found = metrics_of_classes(matrix, DRAWN, rng(), draws=20_000)["balanced_accuracy"]
    expected = wilson(np.trace(matrix), matrix.sum())
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], atol=0.002)


def test_counts_need_not_be_whole_and_fewer_pages_are_less_sure() -> None:
    matrix = np.array([[18, 2, 0], [3, 15, 2], [0, 1, 19]])
    whole, tenth = (metrics_of_classes(matrix * scale, DRAWN, rng()) for scale in (1, 0.1))
    classes, tenth_classes = (f1_of_classes(matrix * scale, rng()) for scale in (1, 0.1))
    for sure, unsure in (*((whole[name], tenth[name]) for name in DRAWN), *zip(classes, tenth_classes, strict=True)):
        assert unsure.value == pytest.approx(sure.value)
        assert 0 <= unsure.low < sure.low < sure.value < sure.high < unsure.high <= 1


def test_macro_f1_is_about_as_sure_as_many_classes_allow() -> None:
    # 60 classes of 30 pages, two mistakes among 1800 pages: the truth is near .999, not near the prior
    matrix = np.diag(np.full(60, 30))
    matrix[3, 3], matrix[3, 4] = 28, 2
    found = metrics_of_classes(matrix, DRAWN, rng())["f1_macro"]
    assert found.low > 0.995
    assert found.high > found.value > found.low


def test_perfect_metrics_have_width() -> None:
    matrix = np.diag([1, 10, 100])
    for found in (*metrics_of_classes(matrix, DRAWN, rng()).values(), *f1_of_classes(matrix, rng())):
        assert 0.0 < found.low < 0.99
        assert found.value == found.high == 1.0


def test_a_single_class_is_as_sure_as_its_pages() -> None:
    found = metrics_of_classes(np.array([[50]]), DRAWN, rng())
    assert all(0.8 < found[name].low < 0.99 and found[name].value == 1.0 for name in DRAWN)


def test_of_a_class_without_pages_no_interval_is_known() -> None:
    predicted, never = f1_of_classes(np.array([[9, 1, 0], [0, 0, 0], [0, 0, 0]]), rng())[1:]
    assert predicted.value == 0.0 and np.isnan(never.value)
    assert np.isnan([predicted.low, predicted.high, never.low, never.high]).all()


@pytest.mark.parametrize(
    ("classes", "pages", "recall"),
    [(50, 5, 0.5), (50, 5, 0.02), (11, 8, 0.3), (20, 1, 0.5), (8, 30, 0.8), (8, 30, 0.99)],
)
def test_the_intervals_hold_the_truth_about_as_often_as_they_say(classes: int, pages: int, recall: float) -> None:
    """A small piece of benchmarks/interval_coverage.py; a prior that counts right pages fails all but the last two."""
    random, repeats = rng(), 200
    rates = np.full((classes, classes), (1 - recall) / (classes - 1))
    np.fill_diagonal(rates, recall)
    held = dict.fromkeys(DRAWN, 0)
    for _ in range(repeats):
        matrix = random.multinomial(np.full(classes, pages), rates)
        found = metrics_of_classes(matrix, DRAWN, random, draws=200)
        for name in DRAWN:
            held[name] += found[name].low <= DRAWN[name](counts_of(rates)) <= found[name].high
    assert min(held.values()) >= binom.ppf(0.001, repeats, 0.93)
