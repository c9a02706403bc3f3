"""The fixed catalogue of damage for validation."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from docclf_cli.data.degrade import DAMAGES, STRENGTHS, DamagedView, damage, degrade, strength_names
from docclf_cli.data.transforms import TRANSFORMS

EVERY_KIND = pytest.mark.parametrize("kind", DAMAGES.names())


def _letter() -> np.ndarray:
    """Lines of text with soft edges on paper, shorter towards the foot."""
    page = np.full((224, 224, 3), 245, np.uint8)
    strokes = np.array([190, 60, 120], np.uint8)[:, None]
    for number, row in enumerate(range(20, 204, 12)):
        for left in range(24, 190 - 8 * number, 7):
            page[row : row + 5, left : left + 3] = strokes
    page.setflags(write=False)
    return page


PAGE = _letter()


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@EVERY_KIND
@pytest.mark.parametrize("strength", STRENGTHS)
def test_each_damage_changes_a_page_but_leaves_something_to_read(kind: str, strength: int) -> None:
    out, again = (damage(PAGE, kind, strength, _rng()) for _ in range(2))
    assert out.shape == PAGE.shape
    assert out.dtype == np.uint8
    assert (out == again).all()
    assert (out != PAGE).any()
    assert out.std() > 0.25 * PAGE.std()


@pytest.mark.parametrize("kind", [name for name in DAMAGES.names() if name != "mirror"])
def test_strengths_differ(kind: str) -> None:
    assert len({damage(PAGE, kind, strength, _rng()).tobytes() for strength in STRENGTHS}) == 3


@pytest.mark.parametrize("kind", ["perspective", "shadow", "noise", "motion", "bleach", "recompress"])
def test_what_is_stronger_is_further_from_the_page(kind: str) -> None:
    distances = [np.abs(damage(PAGE, kind, strength, _rng(1)).astype(int) - PAGE).mean() for strength in STRENGTHS]
    assert distances == sorted(distances)


def test_bleached_ink_is_a_share_of_what_it_was() -> None:
    page = np.full((4, 4, 3), 55, np.uint8)  # 200 below white
    assert [int(damage(page, "bleach", strength, _rng())[0, 0, 0]) for strength in STRENGTHS] == [115, 155, 195]


def test_a_crop_is_a_corner() -> None:
    corner = damage(PAGE, "crop", 2, _rng())
    crops = [np.asarray(Image.fromarray(PAGE).crop(box).resize((224, 224), Image.Resampling.BILINEAR))
             for box in ((0, 0, 157, 157), (67, 0, 224, 157), (0, 67, 157, 224), (67, 67, 224, 224))]  # fmt: skip
    differences = sorted(float(np.abs(corner.astype(int) - crop).mean()) for crop in crops)
    assert differences[0] < 3 < 5 * differences[0] < differences[1]


def test_turns_are_quarter_turns() -> None:
    for strength in STRENGTHS:
        assert (damage(PAGE, "turn", strength, _rng()) == np.rot90(PAGE, strength)).all()


def test_a_degraded_page_is_a_function_of_its_generator() -> None:
    pages = [degrade(PAGE, _rng(seed)) for seed in range(40)]
    assert all((page == degrade(PAGE, _rng(seed))).all() for seed, page in enumerate(pages))
    assert len({page.tobytes() for page in pages}) > 30


def test_few_pages_arrive_as_they_were() -> None:
    untouched = np.mean([(degrade(PAGE, _rng(seed)) == PAGE).all() for seed in range(500)])
    assert 0.01 < untouched < 0.07  # 1 in 28


def test_no_page_is_lost() -> None:
    """Every damaged page still has ink: a validation page that shows nothing measures nothing."""
    for seed in range(300):
        assert degrade(PAGE, _rng(seed)).std() > 3, seed


def test_training_does_not_share_its_functions() -> None:
    shared: set[Any] = {entry.build for entry in DAMAGES} & {entry.build for entry in TRANSFORMS}
    assert not shared


def test_each_kind_has_its_strengths() -> None:
    assert strength_names("turn") == {1: "90°", 2: "180°", 3: "270°"}
    assert strength_names("mirror") == {1: ""}
    assert strength_names("noise") == {1: "light", 2: "medium", 3: "strong"}


@EVERY_KIND
def test_a_view_is_fixed_by_seed_and_page(kind: str) -> None:
    page = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    one, moved = DamagedView(np.array(["a", "b"]), 0, kind, 1), DamagedView(np.array(["b", "a"]), 0, kind, 1)
    assert np.array_equal(one(page, 0), moved(page, 1))
    if kind == "noise":
        assert not np.array_equal(one(page, 0), one(page, 1))
        assert not np.array_equal(one(page, 0), DamagedView(one.ids, 1, kind, 1)(page, 0))
