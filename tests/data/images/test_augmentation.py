"""Policies: named transforms, whose geometry is one warp."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.data.images.augmentation import Policy, PolicyFacts, laid_on, warp
from docclf_cli.data.images.transforms import IDENTITY, TRANSFORMS, above_ink, rotation, shade, smeared
from docclf_cli.errors import InputError
from docclf_cli.profile.load import group_names, load_profile
from docclf_cli.profile.schema import AugmentationConfig
from docclf_cli.registry import Entry

PAGE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
WHITE_PAGE = np.full((40, 40, 3), 255, np.uint8)
PAGE.setflags(write=False)  # as pages that are mapped from the cache
GEOMETRY = [entry.name for entry in TRANSFORMS if entry.facts["kind"] == "geometry"]
EVERY_TRANSFORM = pytest.mark.parametrize("entry", list(TRANSFORMS), ids=lambda entry: entry.name)


def _policy(*transforms: dict[str, Any]) -> Policy:
    return Policy.from_config(AugmentationConfig.model_validate({"transforms": transforms}))


def _rng(seed: int = 6) -> np.random.Generator:
    return np.random.default_rng(seed)


def _smooth(size: int = 96) -> np.ndarray:
    """A page without edges, on which two interpolations differ little from one."""
    x, y = np.meshgrid(np.linspace(0, np.pi, size), np.linspace(0, np.pi, size))
    return np.stack([127 + 100 * np.sin(x) * np.cos(y), 255 * x / np.pi, 255 * y / np.pi], axis=2).astype(np.uint8)


@EVERY_TRANSFORM
def test_each_transform_changes_a_page_the_same_way_for_the_same_generator(entry: Entry[Any]) -> None:
    # A backdrop shows only around a page that something else has moved. Seed 6 draws no weak blur.
    policy = _policy({"name": "scale", "smallest": 0.8, "largest": 0.8}, {"name": entry.name})
    plain = _policy({"name": "scale", "smallest": 0.8, "largest": 0.8})(PAGE, _rng())
    first, again = policy(PAGE, _rng()), policy(PAGE, _rng())
    assert first.dtype == np.uint8
    assert first.shape == PAGE.shape
    assert first.flags.c_contiguous
    assert (first == again).all()
    assert (first != plain).any()


@pytest.mark.parametrize("name", [name for name in TRANSFORMS.names() if name not in ("mirror", "grayscale")])
def test_another_generator_gives_another_page(name: str) -> None:
    policy = _policy({"name": "scale", "smallest": 0.8, "largest": 0.8}, {"name": name})
    assert len({policy(PAGE, _rng(seed)).tobytes() for seed in range(8)}) > 1


@EVERY_TRANSFORM
def test_probability_zero_leaves_a_page_as_it_is(entry: Entry[Any]) -> None:
    assert (_policy({"name": entry.name, "p": 0})(PAGE, _rng()) == PAGE).all()


def test_probability_is_the_share_of_pages() -> None:
    policy = _policy({"name": "mirror", "p": 0.25})
    changed = sum((policy(PAGE, _rng(seed)) != PAGE).any() for seed in range(400))
    assert 70 <= changed <= 130  # 100 expected, standard deviation 8.7


def test_mirrors_and_quarter_turns_move_pixels_exactly() -> None:
    assert (warp(PAGE, np.diag([-1.0, 1.0, 1.0])) == PAGE[:, ::-1]).all()
    for quarters in (1, 2, 3):
        turned = warp(PAGE, np.rint(rotation(quarters * np.pi / 2)))
        assert (turned == np.rot90(PAGE, quarters)).all()


def test_half_a_pixel_is_the_mean_of_two() -> None:
    move = IDENTITY.copy()
    move[0, 2] = 1 / 128  # the page spans two units, so half a pixel of 128
    expected = (PAGE[:, :-1].astype(int) + PAGE[:, 1:] + 1) // 2
    assert (np.abs(warp(PAGE, move)[:, :-1] - expected) <= 1).all()


def test_what_a_warp_does_not_see_is_white_unless_told_otherwise() -> None:
    twice_as_far = np.diag([2.0, 2.0, 1.0])
    for seen, value in ((warp(PAGE, twice_as_far), 255), (warp(PAGE, twice_as_far, 70.0), 70)):
        assert (seen[:31] == value).all()
        assert (seen[:, -31:] == value).all()
        assert (seen[33:95, 33:95] != value).any()


@pytest.mark.parametrize("first", GEOMETRY)
@pytest.mark.parametrize("second", GEOMETRY)
def test_one_warp_is_the_product_of_its_parts(first: str, second: str) -> None:
    names, page = (first, second), _smooth()
    fused = _policy({"name": first}, {"name": second})(page, _rng(3))
    rng = _rng(3)
    rng.random(2)  # whether each takes place
    steps = [TRANSFORMS.get(name).build(rng) for name in names]
    one_by_one = warp(warp(page, steps[0]), steps[1])
    inside = warp(warp(np.zeros_like(page), steps[0]), steps[1]) == 0  # not mixed with the white around it
    assert inside.mean() > 0.3
    assert np.abs(fused.astype(int) - one_by_one)[inside].max() <= 4


@given(st.floats(-180, 180), st.floats(-180, 180))
def test_turns_add_up(first: float, second: float) -> None:
    a, b = np.radians(first), np.radians(second)
    assert rotation(a) @ rotation(b) == pytest.approx(rotation(a + b), abs=1e-12)


def test_pixel_transforms_keep_their_order() -> None:
    blur, ink = {"name": "blur", "radius": 3}, {"name": "ink"}
    assert (_policy(blur, ink)(PAGE, _rng()) != _policy(ink, blur)(PAGE, _rng())).any()
    assert np.ptp(_policy({"name": "tint"}, {"name": "grayscale"})(PAGE, _rng()), axis=2).max() == 0


def test_ink_is_a_three_by_three_extreme() -> None:
    page = WHITE_PAGE.copy()
    page[20, 20] = 0
    thick = next(out for seed in range(20) if (out := TRANSFORMS.get("ink").build(page, _rng(seed))).min() == 0)
    assert (thick[19:22, 19:22] == 0).all()
    assert (thick == 0).sum() == 27


def test_a_smear_spreads_a_stroke_along_one_axis() -> None:
    page = np.zeros((9, 9, 3), np.uint8)
    page[4, 4] = 90
    assert smeared(page, 3, 1)[:, :, 0].tolist() == [
        [0] * 9 if row != 4 else [0, 0, 0, 30, 30, 30, 0, 0, 0] for row in range(9)
    ]


def test_the_threshold_of_a_fax_follows_the_paper() -> None:
    light = np.linspace(1.0, 0.4, 224)[None, :, None]
    page = np.full((224, 224, 3), 250.0)
    page[90:94, ::8] = 110.0  # strokes all across a page that gets darker
    shaded = (page * light).astype(np.uint8)
    assert shaded[90, 0, 0] > shaded[0, -1, 0]  # no one threshold parts ink from paper
    assert ((above_ink(shaded, 0.6) < 0) == (page[:, :, 0] == 110)).all()


class _Drawn(np.random.Generator):
    """Gives what it is told to."""

    def __init__(self, *values: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.values = iter(values)

    def uniform(self, *args: Any, **kwargs: Any) -> float:  # type: ignore[override]
        return next(self.values)


@pytest.mark.filterwarnings("error")
def test_light_along_a_diagonal_reaches_the_corner() -> None:
    page = np.full((224, 224, 3), 200, np.uint8)
    for angle in np.pi / 4 * np.array([1, 3, 5, 7])[:, None] + np.linspace(-2e-4, 2e-4, 41):
        for exact in angle.tolist():
            lit = shade(page, _Drawn(exact, 0.7, 0.5))
            assert lit.min() == pytest.approx(100, abs=1)
            assert lit.max() == pytest.approx(200, abs=1)


def test_an_empty_page_has_no_ink_and_a_dark_desk_is_no_paper() -> None:
    assert not (above_ink(WHITE_PAGE, 0.85) < 0).any()
    on_a_desk = np.zeros((112, 112, 3), np.uint8)
    on_a_desk[30:] = 240
    black = above_ink(on_a_desk, 0.6) < 0
    assert black[:28].all()
    assert not black[32:].any()


def test_brightness_is_a_factor_and_stops_at_white() -> None:
    factor = np.random.default_rng(5).uniform(0.5, 1.5)
    bright = TRANSFORMS.get("brightness").build(np.random.default_rng(5), amount=0.5)
    assert bright.tolist() == [int(min(255, value * factor)) for value in range(256)]


def test_tones_in_one_look_up_are_tones_one_after_the_other() -> None:
    names = ("brightness", "contrast", "fade")
    expected, rng = PAGE, np.random.default_rng(3)
    rng.random(4)  # whether each is used
    for name in names:
        expected = TRANSFORMS.get(name).build(rng)[expected]
    expected = TRANSFORMS.get("ink").build(expected, rng)
    policy = _policy(*({"name": name} for name in (*names, "ink")))
    assert (policy(PAGE, np.random.default_rng(3)) == expected).all()


def test_noise_is_normal_and_the_same_in_all_channels() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    noisy = TRANSFORMS.get("noise").build(grey, _rng(), sigma=30.0).astype(float) - 128
    spread = _rng().uniform(0, 30.0)
    assert (noisy == noisy[..., :1]).all()
    assert abs(noisy.mean() + 0.5) < 0.3  # half a grey level is cut off
    assert abs(noisy.std() / spread - 1) < 0.02
    beyond = (np.abs(noisy + 0.5) > 2 * spread).mean()
    assert abs(beyond - 0.0455) < 0.006


@pytest.mark.parametrize("name", group_names("augmentation"))
def test_shipped_policies_build(name: str) -> None:
    policy = Policy.from_config(load_profile("config", options={"augmentation": name}).profile.augmentation)
    assert (
        policy.facts
        == {
            "none": PolicyFacts(False, False, 0),
            "light": PolicyFacts(False, False, 3),
            "document": PolicyFacts(False, False, 6),
            "rough": PolicyFacts(True, True, 20),
        }[name]
    )
    pages = [policy(PAGE, _rng(seed)) for seed in range(30)]
    assert {(page.shape, page.dtype) for page in pages} == {(PAGE.shape, PAGE.dtype)}
    assert len({page.tobytes() for page in pages}) == (1 if name == "none" else 30)


def test_facts_leave_out_what_never_happens() -> None:
    assert _policy({"name": "mirror", "p": 0}, {"name": "quarter_turn", "p": 0}).facts == PolicyFacts(False, False, 0)


def test_turning_by_any_angle_shows_quarter_turns_too() -> None:
    assert _policy({"name": "rotate", "degrees": 180}).facts == PolicyFacts(True, False, 180)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"name": "rotat"}, "did you mean 'rotate'"),
        ({"name": "rotate", "degres": 3}, r"rotate\.degres.*did you mean 'degrees'"),
        ({"name": "rotate", "degrees": -3}, r"rotate\.degrees"),
        ({"name": "jpeg", "worst": 0}, r"jpeg\.worst"),
        ({"name": "mirror", "p": 1.5}, "p must be between 0 and 1"),
    ],
)
def test_wrong_transforms_are_named(transform: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _policy(transform)


def test_a_desk_is_seen_around_the_sheet_and_not_through_it() -> None:
    sheet = WHITE_PAGE.copy()
    sheet[:, 10:30] = 200  # letterboxed: white margins of a quarter of the side at the left and at the right
    surface = np.zeros_like(sheet)
    surface[..., 0] = 90
    for seed in range(10):
        found = laid_on(sheet, IDENTITY, surface, _rng(seed))
        assert (found[:, 12:28] == 200).all()
        assert (found[:, :4] == (90, 0, 0)).all()
        assert (found[:, -4:] == (90, 0, 0)).all()
    half = laid_on(sheet, np.diag([2.0, 2.0, 1.0]), surface, _rng())
    assert (half[:8] == (90, 0, 0)).all()
    assert (half[14:26, 17:23] == 200).all()


def test_an_empty_sheet_keeps_its_size_on_a_desk() -> None:
    assert (laid_on(WHITE_PAGE, IDENTITY, np.zeros_like(WHITE_PAGE), _rng())[1:-1, 1:-1] == 255).all()
