"""Which models may check labels, and which label issues they report."""

import numpy as np
import pytest

from docclf_cli.tasks.audit.labels import SIGNIFICANCE, _skipped_reason, chance_agreement, chance_p_value


def apart(count: int) -> np.ndarray:
    """Each page a group of its own."""
    return np.arange(count)


def test_chance_agreement_is_that_of_cohen() -> None:
    given, seems = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1])
    assert chance_agreement(given, seems) == pytest.approx((3 / 4) * (1 / 4) + (1 / 4) * (3 / 4))
    assert chance_agreement(given, np.full(4, 2)) == 0


def test_predictions_that_know_nothing_are_seldom_taken_for_knowledge() -> None:
    rng = np.random.default_rng(0)
    p_values = np.array([
        chance_p_value(rng.integers(0, 5, 60), rng.integers(0, 5, 60), apart(60), seed) for seed in range(200)
    ])  # fmt: skip
    assert (p_values <= SIGNIFICANCE).sum() <= 7  # 2 are expected; more than 7 happens once in a thousand times
    assert 0.35 < (p_values <= 0.5).mean() < 0.65


def test_one_class_for_every_page_is_no_knowledge_however_large_the_class() -> None:
    given = np.repeat([0, 1], [95, 5])
    assert chance_p_value(given, np.zeros(100, int), apart(100)) == 1


def test_what_is_right_more_often_than_not_is_knowledge() -> None:
    given = np.arange(60) % 3
    assert chance_p_value(given, np.where(np.arange(60) % 4 == 0, 0, given), apart(60)) == pytest.approx(0.001)
    assert chance_p_value(given[:3], given[:3], apart(3)) > SIGNIFICANCE  # so few agree by luck


def test_copies_of_a_page_are_one_witness() -> None:
    given, seems = np.repeat([0, 1, 0, 1], 30), np.repeat([0, 1, 0, 0], 30)
    assert chance_p_value(given, seems, apart(120)) <= SIGNIFICANCE
    assert chance_p_value(given, seems, np.repeat(apart(4), 30)) > SIGNIFICANCE


def test_a_refusal_names_the_figures() -> None:
    assert _skipped_reason(0.115, 0.102, 0.2) == (
        "the model agrees with 12% of the labels, and by chance it would agree with 10%, which is not significantly better than chance (p = 0.2)"
    )
    assert "contradicts more labels than it agrees with" in str(_skipped_reason(0.35, 0.1, 0.001))
    assert _skipped_reason(0.7, 0.1, 0.001) is None
