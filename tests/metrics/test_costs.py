"""Decisions by expected cost, by hand and in simulation."""

import numpy as np
import pytest
from prediction_cases import at_random, naming

from docclf_cli.metrics.costs import Costs
from docclf_cli.metrics.intervals import wilson
from docclf_cli.tasks.evaluate.costs import measure_costs

COSTS = Costs(np.array([[0.0, 5.0], [20.0, 0.0]]), np.array([1.0, 1.0]), np.array([50.0, 50.0]), 1.0)


@pytest.mark.parametrize(
    ("first", "decision"),
    [
        (0.99, 0),
        (0.96, 0),
        (0.94, None),
        (0.5, None),
        (0.21, None),
        (0.19, 1),
        (0.95, None),
    ],  # .95: 20 * .05 = 1, a tie
)
def test_the_cheapest_decision_wins_and_a_review_wins_a_tie(first: float, decision: int | None) -> None:
    assert COSTS.decide(np.array([first, 1 - first])) == decision
    assert Costs(np.array([[0.0, 4.0], [4.0, 0.0]]), np.ones(2)).decide(np.array([0.75, 0.25])) is None


def test_a_page_of_no_class_is_priced_where_the_table_prices_it() -> None:
    probs = np.array([0.999, 0.001])
    assert COSTS.decide(probs, 0.01) == 0
    assert COSTS.decide(probs, 0.03) is None  # 50 * .03 is more than a review
    assert Costs(COSTS.prices, COSTS.review).decide(probs, 0.99) == 0
    assert COSTS.expected(probs[None], np.array([0.5]))[0] == pytest.approx([0.5 * 0.02 + 25, 0.5 * 4.995 + 25, 1])


def test_the_decision_may_be_another_class_than_the_most_probable_one() -> None:
    costs = Costs(np.array([[0.0, 1.0], [90.0, 0.0]]), np.array([9.0, 9.0]))
    assert costs.decide(np.array([0.9, 0.1])) == 1


def test_what_is_paid_is_within_its_interval_and_adds_up() -> None:
    classes, inside = 3, 0
    prices = 10 * (1 - np.eye(classes))
    costs = Costs(prices, np.ones(classes))
    truth = measure_costs(at_random(1, 20_000, classes, 4.0), costs, chosen_on_split=False).paid.value
    for seed in range(20):
        report = measure_costs(at_random(seed + 2, 250, classes, 4.0, seed), costs, chosen_on_split=False)
        inside += report.paid.low <= truth <= report.paid.high
        assert report.saved.value == pytest.approx(report.all_reviewed.value - report.paid.value)
    assert inside >= 16
    assert report.all_reviewed.value == pytest.approx(1000)
    assert 0 < report.decided < 250


def test_where_no_mistake_was_seen_the_saving_is_not_called_certain() -> None:
    pages = naming([0] * 20 + [1] * 20, [0] * 20 + [1] * 20, classes=2)
    costs = Costs(np.array([[0.0, 4.0], [4.0, 0.0]]), np.ones(2))
    report = measure_costs(pages, costs, chosen_on_split=False)
    assert (report.paid.value, report.paid.low) == (0.0, 0.0)
    assert report.paid.high == pytest.approx(1000 * 4 * wilson(0, 40).high)
    assert (report.saved.value, report.saved.low) == (1000, pytest.approx(1000 - report.paid.high))
    assert report.all_reviewed.low == report.all_reviewed.high == 1000
