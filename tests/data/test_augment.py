"""Policies, mixing and damage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.data.augment import Policy, turned, warp
from docclf_cli.data.degrade import DAMAGES, STRENGTHS, damage, degrade
from docclf_cli.data.mixing import MixPlan, apply_mix, mix_plan
from docclf_cli.data.transforms import IDENTITY, TRANSFORMS
from docclf_cli.errors import InputError
from docclf_cli.profile.load import group_names, load_profile
from docclf_cli.profile.schema import AugmentationConfig

PAGE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)


def _policy(*transforms: dict[str, object]) -> Policy:
    return Policy.from_config(AugmentationConfig.model_validate({"transforms": transforms}))


@pytest.mark.parametrize("entry", list(TRANSFORMS), ids=lambda entry: entry.name)
def test_each_transform_changes_a_page_the_same_way_for_the_same_generator(entry: object) -> None:
    name = entry.name  # type: ignore[attr-defined]
    policy = _policy({"name": name})
    first, again = (policy(PAGE, np.random.default_rng(7)) for _ in range(2))
    assert first.dtype == np.uint8
    assert first.shape == PAGE.shape
    assert (first == again).all()
    assert (first != PAGE).any()


@pytest.mark.parametrize("entry", list(TRANSFORMS), ids=lambda entry: entry.name)
def test_probability_zero_leaves_a_page_as_it_is(entry: object) -> None:
    policy = _policy({"name": entry.name, "p": 0})  # type: ignore[attr-defined]
    assert (policy(PAGE, np.random.default_rng(1)) == PAGE).all()


def test_geometry_is_exact_where_it_can_be() -> None:
    mirrored = warp(PAGE, np.diag([-1.0, 1.0, 1.0]))
    assert (mirrored == PAGE[:, ::-1]).all()
    assert np.abs(turned(PAGE, 90).astype(int) - np.rot90(PAGE)).max() <= 1


def test_one_warp_is_the_product_of_its_parts() -> None:
    half = np.diag([0.5, 0.5, 1.0])
    move = IDENTITY.copy()
    move[0, 2] = 0.25
    smooth = np.repeat(np.linspace(0, 255, 48, dtype=np.uint8)[None, :, None], 48, axis=0).repeat(3, axis=2)
    once, twice = warp(smooth, half @ move), warp(warp(smooth, half), move)
    assert np.abs(once[8:40, 8:32].astype(int) - twice[8:40, 8:32]).max() <= 4


def test_what_a_warp_does_not_see_is_white() -> None:
    assert (warp(PAGE, np.diag([2.0, 2.0, 1.0]))[:8] == 255).all()


@pytest.mark.parametrize("name", group_names("augmentation"))
def test_shipped_policies_build(name: str) -> None:
    policy = Policy.from_config(load_profile("config", options={"augmentation": name}).profile.augmentation)
    assert policy.facts.mirror == (name == "rough")
    assert policy.facts.turns == (name == "rough")
    assert policy(PAGE, np.random.default_rng(0)).shape == PAGE.shape


def test_wrong_parameters_are_named() -> None:
    with pytest.raises(InputError, match=r"rotate\.degres"):
        _policy({"name": "rotate", "degres": 3})
    with pytest.raises(InputError, match="did you mean 'rotate'"):
        _policy({"name": "rotat"})


def test_mixup_by_hand() -> None:
    white, black = np.full((2, 2, 3), 255, np.uint8), np.zeros((2, 2, 3), np.uint8)
    mixed, target = apply_mix(MixPlan(1, 0.6, None), white, black, 0, 2, 3)
    assert (mixed == 153).all()
    assert target == pytest.approx([0.6, 0.0, 0.4])


def test_cutmix_shares_follow_the_pixels() -> None:
    white, black = np.full((10, 10, 3), 255, np.uint8), np.zeros((10, 10, 3), np.uint8)
    mixed, target = apply_mix(MixPlan(1, 0.75, (0.5, 0.5, 0.25, 0.25)), white, black, 0, 1, 2)
    assert target[0] == pytest.approx((mixed == 255).mean())


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 19), st.booleans())
def test_plans_are_functions_of_seed_epoch_and_index(seed: int, epoch: int, index: int, cut: bool) -> None:
    alphas = (0.0, 1.0) if cut else (0.4, 0.0)
    plan = mix_plan(seed, epoch, index, 20, *alphas, 1.0)
    assert plan == mix_plan(seed, epoch, index, 20, *alphas, 1.0)
    assert plan is not None
    assert 0 <= plan.partner < 20
    _, target = apply_mix(plan, PAGE, PAGE, 0, 1, 2)
    assert target.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", DAMAGES.names())
@pytest.mark.parametrize("strength", STRENGTHS)
def test_each_damage_changes_a_page(kind: str, strength: int) -> None:
    out = damage(PAGE, kind, strength, np.random.default_rng(0))
    assert out.shape == PAGE.shape
    assert out.dtype == np.uint8
    assert (out != PAGE).any()


def test_a_degraded_page_is_a_function_of_its_generator() -> None:
    assert (degrade(PAGE, np.random.default_rng(3)) == degrade(PAGE, np.random.default_rng(3))).all()
