"""The fixed catalogue of damage for validation."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from docclf_cli.data.images.corruptions import (
    CORRUPTIONS,
    RULES,
    SEVERITIES,
    CorruptedView,
    DegradedView,
    corruption,
    degrade,
    severity_names,
)
from docclf_cli.data.images.transforms import TRANSFORMS

EVERY_KIND = pytest.mark.parametrize("kind", CORRUPTIONS.names())


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
@pytest.mark.parametrize("severity", SEVERITIES)
def test_each_damage_changes_a_page_but_leaves_something_to_read(kind: str, severity: int) -> None:
    out, again = (corruption(PAGE, kind, severity, _rng()) for _ in range(2))
    assert out.shape == PAGE.shape
    assert out.dtype == np.uint8
    assert (out == again).all()
    assert (out != PAGE).any()
    assert out.std() > 0.25 * PAGE.std()


@pytest.mark.parametrize("kind", [name for name in CORRUPTIONS.names() if name != "mirror"])
def test_strengths_differ(kind: str) -> None:
    assert len({corruption(PAGE, kind, severity, _rng()).tobytes() for severity in SEVERITIES}) == 3


@pytest.mark.parametrize("kind", ["perspective", "shadow", "noise", "motion", "bleach", "recompress"])
def test_what_is_stronger_is_further_from_the_page(kind: str) -> None:
    distances = [np.abs(corruption(PAGE, kind, severity, _rng(1)).astype(int) - PAGE).mean() for severity in SEVERITIES]
    assert distances == sorted(distances)


def test_bleached_ink_is_a_share_of_what_it_was() -> None:
    page = np.full((4, 4, 3), 55, np.uint8)  # 200 below white
    assert [int(corruption(page, "bleach", severity, _rng())[0, 0, 0]) for severity in SEVERITIES] == [115, 155, 195]


def test_a_crop_is_a_corner() -> None:
    corner = corruption(PAGE, "crop", 2, _rng())
    crops = [np.asarray(Image.fromarray(PAGE).crop(box).resize((224, 224), Image.Resampling.BILINEAR))
             for box in ((0, 0, 157, 157), (67, 0, 224, 157), (0, 67, 157, 224), (67, 67, 224, 224))]  # fmt: skip
    differences = sorted(float(np.abs(corner.astype(int) - crop).mean()) for crop in crops)
    assert differences[0] < 3 < 5 * differences[0] < differences[1]


def test_turns_are_quarter_turns() -> None:
    for severity in SEVERITIES:
        assert (corruption(PAGE, "turn", severity, _rng()) == np.rot90(PAGE, severity)).all()


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
    shared: set[Any] = {entry.build for entry in CORRUPTIONS} & {entry.build for entry in TRANSFORMS}
    assert not shared


def test_each_kind_has_its_strengths() -> None:
    assert severity_names("turn") == {1: "90°", 2: "180°", 3: "270°"}
    assert severity_names("mirror") == {1: ""}
    assert severity_names("noise") == {1: "light", 2: "medium", 3: "strong"}


@EVERY_KIND
def test_a_view_is_fixed_by_seed_and_page(kind: str) -> None:
    page = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    one, moved = CorruptedView(np.array(["a", "b"]), 0, kind, 1), CorruptedView(np.array(["b", "a"]), 0, kind, 1)
    assert np.array_equal(one(page, 0), moved(page, 1))
    if kind == "noise":
        assert not np.array_equal(one(page, 0), one(page, 1))
        assert not np.array_equal(one(page, 0), CorruptedView(one.ids, 1, kind, 1)(page, 0))


def test_the_share_of_mirrored_pages_moves_nothing_else() -> None:
    ids = np.array([f"page-{number}" for number in range(400)])
    views = {share: DegradedView(ids, 0, share) for share in (0.0, 0.1, 0.25, 0.5)}
    mirrored = {share: {row for row in range(400) if view.is_mirrored(row)} for share, view in views.items()}
    assert all(abs(len(rows) / 400 - share) < 0.08 for share, rows in mirrored.items())
    assert set() == mirrored[0.0] < mirrored[0.1] < mirrored[0.25] < mirrored[0.5]
    same = [row for row in range(40) if row not in mirrored[0.5]]
    assert all((views[0.0](PAGE, row) == views[0.5](PAGE, row)).all() for row in same)
    moved = sorted(mirrored[0.25])[:10]
    assert all((views[0.0](PAGE, row) != views[0.25](PAGE, row)).any() for row in moved)
    assert len({view.name for view in views.values()}) == 4
    assert views[0.25].name == f"degraded-{RULES}-0"  # what was stored before there was a setting


# Mean and deviation of PAGE under each damage; of the mixture, over pages a to h. Figures of different runs are only
# comparable while these hold: whoever changes one counts RULES up.
OF_VERSION_1 = {
    "turn 1": (236.7, 244.6, 229.9, 232.6, 35.1),
    "turn 2": (244.6, 232.6, 236.7, 229.9, 35.1),
    "turn 3": (232.6, 229.9, 244.6, 236.7, 35.1),
    "mirror 1": (236.7, 229.9, 244.6, 232.6, 35.1),
    "tilt 1": (230.2, 237.4, 232.7, 244.8, 31.5),
    "tilt 2": (230.6, 238.6, 232.4, 245.0, 31.8),
    "tilt 3": (231.1, 240.6, 232.2, 245.1, 31.9),
    "perspective 1": (230.0, 235.4, 235.9, 244.8, 31.8),
    "perspective 2": (230.1, 233.5, 238.8, 245.1, 32.1),
    "perspective 3": (230.0, 233.3, 241.2, 245.4, 32.0),
    "crop 1": (227.5, 237.1, 228.4, 244.7, 33.7),
    "crop 2": (227.5, 238.8, 226.8, 245.0, 34.3),
    "crop 3": (227.7, 240.2, 230.1, 245.0, 31.8),
    "shadow 1": (215.4, 236.7, 209.9, 244.6, 38.3),
    "shadow 2": (203.4, 236.7, 191.2, 244.6, 46.5),
    "shadow 3": (191.5, 236.7, 172.5, 244.6, 57.6),
    "noise 1": (228.7, 235.5, 231.5, 243.3, 36.0),
    "noise 2": (226.0, 232.7, 228.7, 240.3, 37.5),
    "noise 3": (221.1, 227.5, 223.8, 234.8, 41.1),
    "motion 1": (229.9, 236.7, 232.6, 244.6, 31.4),
    "motion 2": (230.0, 236.6, 232.7, 244.5, 24.4),
    "motion 3": (230.1, 236.5, 232.7, 244.5, 19.6),
    "bleach 1": (237.3, 242.2, 239.3, 247.7, 24.7),
    "bleach 2": (242.4, 245.8, 243.8, 249.8, 17.7),
    "bleach 3": (247.4, 249.5, 248.2, 251.9, 10.6),
    "recompress 1": (229.6, 237.0, 232.6, 245.5, 34.8),
    "recompress 2": (228.3, 234.9, 230.9, 242.6, 34.3),
    "recompress 3": (227.4, 233.8, 229.9, 240.6, 32.5),
    "bilevel 1": (233.9, 243.4, 237.7, 254.4, 55.4),
    "bilevel 2": (223.3, 237.6, 229.1, 254.1, 66.9),
    "bilevel 3": (244.4, 249.2, 246.4, 254.7, 39.7),
    "coarse 1": (229.8, 236.6, 232.6, 244.6, 27.1),
    "coarse 2": (230.0, 236.6, 232.8, 244.5, 20.8),
    "coarse 3": (230.0, 236.7, 232.7, 244.5, 18.6),
    "mixture a": (230.3, 237.4, 232.8, 244.8, 25.5),
    "mixture b": (146.2, 231.1, 132.0, 184.9, 50.8),
    "mixture c": (244.6, 232.6, 236.7, 229.9, 31.4),
    "mixture d": (228.9, 234.2, 234.3, 243.4, 32.7),
    "mixture e": (235.9, 231.1, 245.3, 234.5, 31.8),
    "mixture f": (244.5, 232.8, 236.6, 230.0, 20.8),
    "mixture g": (229.9, 236.7, 232.6, 244.6, 35.1),
    "mixture h": (227.5, 237.1, 228.4, 244.7, 33.7),
}  # fmt: skip


def test_damages_stay_what_their_version_says() -> None:
    assert RULES == 1
    found = {
        f"{kind} {severity}": corruption(PAGE, kind, severity, _rng(3))
        for kind in CORRUPTIONS.names()
        for severity in severity_names(kind)
    }
    view = DegradedView(np.array(list("abcdefgh")), 0)
    found |= {f"mixture {page_id}": view(PAGE, row) for row, page_id in enumerate(view.ids)}
    assert {name: _shape_of(page) for name, page in found.items()} == {
        name: pytest.approx(shape, abs=0.6) for name, shape in OF_VERSION_1.items()
    }


def _shape_of(page: np.ndarray) -> tuple[float, ...]:
    """Mean grey of the four quarters, and the deviation."""
    half = page.shape[0] // 2
    quarters = [page[top : top + half, left : left + half].mean() for top in (0, half) for left in (0, half)]
    return (*(round(float(value), 1) for value in quarters), round(float(page.std()), 1))
