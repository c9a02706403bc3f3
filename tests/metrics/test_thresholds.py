import numpy as np
import pytest
from scipy.stats import binom

from docclf_cli.metrics.intervals import lower_bound
from docclf_cli.metrics.thresholds import (
    ForeignPages,
    _allowed_mistakes,
    apply_threshold,
    find_threshold,
    risk_coverage,
)
from docclf_cli.results.predictions import Predictions


def ranked(right: np.ndarray, lowest: float = 0.6) -> Predictions:
    """Pages from the most to the least confident one, right or wrong as given; all are predicted as class a."""
    confidence = np.linspace(0.999, lowest, len(right))
    log_probs = np.log(np.stack([confidence, 1 - confidence], axis=1)).astype(np.float32)
    ids = np.arange(len(right)).astype(str)
    return Predictions(ids, log_probs, ("a", "b"), np.where(right, 0, 1))


def test_risk_and_coverage_by_hand() -> None:
    coverage, risk, values = risk_coverage(np.array([0.6, 0.9, 0.9, 0.7]), np.array([False, True, False, True]))
    assert values.tolist() == [0.9, 0.7, 0.6]
    assert coverage.tolist() == [0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 2])


@pytest.mark.parametrize("target", [0.8, 0.9, 0.95, 0.99])
def test_allowed_mistakes_are_what_the_bound_allows(target: float) -> None:
    pages = np.arange(1, 700)
    allowed = _allowed_mistakes(pages, target, 0.95)
    some = allowed >= 0
    assert (lower_bound(pages[some] - allowed[some], pages[some]) >= target).all()
    assert (lower_bound(pages - allowed - 1, pages) < target).all()


def test_the_threshold_keeps_the_pages_that_are_right() -> None:
    right = np.arange(1000) < 800
    found = find_threshold(ranked(right), 0.99)
    # of 800 right pages and some wrong ones: the most that still show .99
    assert found.value is not None
    assert 750 <= found.decided <= 803
    assert lower_bound(min(800, found.decided), found.decided) >= 0.99
    assert found.coverage.value == found.decided / 1000
    assert found.never == ("b",)
    assert found.more_pages is None


def test_one_mistake_among_the_surest_pages_does_not_end_the_search() -> None:
    assert find_threshold(ranked(np.arange(1000) > 0), 0.95).decided == 1000


def test_all_pages_are_decided_where_all_are_right() -> None:
    found = find_threshold(ranked(np.ones(400, dtype=bool)), 0.99)
    assert (found.decided, found.pages, found.coverage.value) == (400, 400, 1.0)


def test_too_few_pages_say_how_many_more_it_takes() -> None:
    found = find_threshold(ranked(np.ones(200, dtype=bool)), 0.99)
    assert found.value is None
    assert (found.decided, found.coverage.value) == (0, 0.0)
    assert np.isnan(found.precision.value)
    assert found.more_pages is not None
    assert 99 <= found.more_pages <= 102  # 299 pages without a mistake
    assert found.never == ("a",) or found.never == ("a", "b")


def test_no_number_of_pages_helps_a_model_that_is_not_good_enough() -> None:
    found = find_threshold(ranked(np.arange(500) % 2 == 0), 0.99)
    assert (found.value, found.more_pages) == (None, None)


def test_pages_of_equal_confidence_are_decided_together() -> None:
    right = np.ones(100, dtype=bool)
    right[:40] = False
    level = ranked(right, lowest=0.999)
    assert find_threshold(level, 0.9).value is None
    assert find_threshold(level, 0.5).decided == 100


def test_other_pages_judge_the_threshold() -> None:
    found = find_threshold(ranked(np.arange(1000) < 800), 0.9)
    assert found.value is not None
    judged = apply_threshold(ranked(np.arange(500) < 100), found.value, 0.9)
    assert judged.pages == 500
    assert judged.precision.value == pytest.approx(100 / judged.decided)
    assert judged.value == found.value


def test_temperature_moves_the_threshold_but_not_who_is_decided() -> None:
    predictions = ranked(np.arange(1000) < 800)
    cold, warm = (find_threshold(predictions, 0.95, temperature=t) for t in (1.0, 2.0))
    assert cold.decided == warm.decided
    assert warm.value is not None
    assert cold.value is not None
    assert warm.value < cold.value


def test_a_precision_that_is_not_there_is_seldom_found() -> None:
    """Taking the lowest threshold that passes would name one here in about 30 % of the cases."""
    rng = np.random.default_rng(0)
    repeats = 150
    found = [find_threshold(ranked(rng.random(1000) < 0.899), 0.9).value is not None for _ in range(repeats)]
    assert sum(found) <= binom.ppf(0.999, repeats, 0.05)


def test_a_precision_holds_among_expected_foreign_pages() -> None:
    """Simulated: surer pages are right more often, and foreign pages are sure now and then."""
    rng = np.random.default_rng(0)

    def known(pages: int) -> tuple[np.ndarray, np.ndarray]:
        confidence = rng.uniform(0.5, 1, pages)
        return confidence, rng.random(pages) < 1 - (1 - confidence) / 2

    def foreign(pages: int) -> np.ndarray:
        return 0.5 + rng.beta(2, 4, pages) / 2

    target, expected, broken, found = 0.9, 0.1, 0, 0
    many, many_right = known(100_000)
    many_foreign = foreign(100_000)
    for _ in range(80):
        confidence, right = known(400)
        log_probs = np.log(np.stack([confidence, 1 - confidence], axis=1)).astype(np.float32)
        pages = Predictions(np.arange(400).astype(str), log_probs, ("a", "b"), np.where(right, 0, 1))
        expect = ForeignPages(foreign(240), np.arange(240), expected, 0.0)
        value, alone = (find_threshold(pages, target, foreign=one).value for one in (expect, None))
        if value is None:
            continue
        assert alone is not None
        assert value >= alone
        found += 1
        decided, accepted = many >= value, (many_foreign >= value).mean()
        share = (1 - expected) * decided.mean()
        broken += (1 - expected) * (decided & many_right).mean() / (share + expected * accepted) < target
    assert found >= 25
    assert broken <= 0.05 * found + 3


def test_foreign_pages_that_are_called_unknown_cost_nothing() -> None:
    told = ForeignPages(np.full(400, -np.inf), np.arange(400), 0.5, 0.0)
    needed = told.least_precision(0.9, 0.5, 1.0, 0.975)
    assert needed == pytest.approx(0.9 * (1 + 1 - 0.025 ** (1 / 400)), rel=1e-6)  # at most so many may still be decided
    assert ForeignPages(np.ones(400), np.arange(400), 0.5, 0.0).least_precision(0.9, 0.5, 1.0, 0.975) == pytest.approx(
        1.8
    )
    assert told.least_precision(0.9, 0.5, 0.0, 0.975) == np.inf
