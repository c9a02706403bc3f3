"""Mixup and cutmix keep soft targets soft."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.data.images.mixing import MixPlan, apply_mix, mix_plan

WHITE, BLACK = np.full((10, 10, 3), 255, np.uint8), np.zeros((10, 10, 3), np.uint8)


def test_mixup_by_hand() -> None:
    mixed, target = apply_mix(MixPlan(1, 0.6, None), WHITE, BLACK, 0, 2, 3)
    assert (mixed == 153).all()
    assert target.dtype == np.float32
    assert target == pytest.approx([0.6, 0.0, 0.4])


def test_mixing_two_pages_of_a_class_keeps_the_class() -> None:
    assert apply_mix(MixPlan(1, 0.3, None), WHITE, BLACK, 1, 1, 2)[1] == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((0.5, 0.5, 0.25, 0.25), 0.64),  # rows and columns 2 to 8: round half to even
        ((0.0, 0.0, 0.2, 0.2), 0.96),  # only a quarter of the box is on the page
        ((0.5, 0.5, 0.5, 0.5), 0.0),
    ],
)
def test_cutmix_shares_follow_the_pixels(box: tuple[float, float, float, float], kept: float) -> None:
    mixed, target = apply_mix(MixPlan(1, 0.75, box), WHITE, BLACK, 0, 1, 2)
    assert (mixed == 255).mean() == pytest.approx(kept)
    assert target == pytest.approx([kept, 1 - kept])


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 19), st.booleans())
def test_plans_are_functions_of_seed_epoch_and_index(seed: int, epoch: int, index: int, cut: bool) -> None:
    alphas = (0.0, 1.0) if cut else (0.4, 0.0)
    plan = mix_plan(seed, epoch, index, 20, *alphas, 1.0)
    assert plan == mix_plan(seed, epoch, index, 20, *alphas, 1.0)
    assert plan is not None
    assert 0 <= plan.partner < 20
    assert (plan.box is not None) == cut
    mixed, target = apply_mix(plan, WHITE, BLACK, 0, 1, 2)
    assert target.sum() == pytest.approx(1.0)
    assert mixed.mean() / 255 == pytest.approx(target[0], abs=0.003)


def test_each_epoch_and_page_has_a_plan_of_its_own() -> None:
    plans = {mix_plan(0, epoch, index, 1000, 0.4, 0.0, 1.0) for epoch in range(5) for index in range(20)}
    assert len(plans) == 100


def test_probability_and_both_kinds() -> None:
    plans = [mix_plan(0, 0, index, 50, 0.4, 1.0, 0.5) for index in range(400)]
    mixed = [plan for plan in plans if plan is not None]
    assert 160 <= len(mixed) <= 240  # 200 expected, standard deviation 10
    assert 0.35 < np.mean([plan.box is not None for plan in mixed]) < 0.65
    assert mix_plan(0, 0, 0, 50, 0.4, 1.0, 0.0) is None


def test_the_share_follows_the_beta_distribution() -> None:
    plans = [mix_plan(1, 0, index, 50, 1.0, 0.0, 1.0) for index in range(500)]
    shares = np.array([plan.share for plan in plans if plan is not None])
    assert shares.mean() == pytest.approx(0.5, abs=0.05)
    assert shares.var() == pytest.approx(1 / 12, abs=0.01)  # Beta(1, 1) is uniform
