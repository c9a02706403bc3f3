import logging
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from docclf_cli.ensembling.merging import cross_pruned, merge, prune
from docclf_cli.ensembling.pooling import by_log_loss
from docclf_cli.ensembling.tta import VIEWS, View, default_views, expand
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import ViewConfig

PAGE = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
WHITE = np.full((20, 20, 3), 255, dtype=np.uint8)
EVERY = [
    ViewConfig(type="horizontal_flip", probability=0.5),
    ViewConfig(type="vertical_flip"),
    ViewConfig(type="rotation", degrees=[90, 180, 270, 7.5, -7.5]),
    ViewConfig(type="color_jitter", brightness=0.1, contrast=0.1),
    ViewConfig(type="scale", factors=[0.8, 1.25]),
    ViewConfig(type="crop", fractions=[0.9]),
]


def view(kind: str, **params: object) -> View:
    return expand([ViewConfig(type=kind, **params)], include_identity=False)[0]


def test_names_of_all_views() -> None:
    assert [view.name for view in expand(EVERY)] == [
        "identity", "horizontal_flip", "vertical_flip", "rotation 90", "rotation 180", "rotation 270", "rotation 7.5",
        "rotation -7.5", "color_jitter brightness 1.1 contrast 1.1", "color_jitter brightness 0.9 contrast 0.9",
        "scale 0.8", "scale 1.25", "crop 0.9",
    ]  # fmt: skip


@pytest.mark.parametrize("seen", expand(EVERY), ids=lambda seen: seen.name)
def test_every_view_is_a_plain_function_of_the_page(seen: View) -> None:
    before = PAGE.copy()
    out = seen.apply(PAGE)
    assert out.dtype == np.uint8
    assert out.shape == PAGE.shape
    assert out.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(PAGE, before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(seen)).apply(PAGE), out)


def test_flips_and_quarter_turns_are_exact() -> None:
    np.testing.assert_array_equal(view("horizontal_flip").apply(PAGE)[2, 0], PAGE[2, 5])
    np.testing.assert_array_equal(view("vertical_flip").apply(PAGE)[0, 2], PAGE[5, 2])
    # Counter-clockwise: the top right corner comes to the top left.
    np.testing.assert_array_equal(view("rotation", degrees=[90]).apply(PAGE)[0, 0], PAGE[0, 5])
    np.testing.assert_array_equal(
        view("rotation", degrees=[-270]).apply(PAGE), view("rotation", degrees=[90]).apply(PAGE)
    )
    np.testing.assert_array_equal(view("rotation", degrees=[180]).apply(PAGE), PAGE[::-1, ::-1])


@pytest.mark.parametrize(("kind", "params"), [("rotation", {"degrees": [10]}), ("scale", {"factors": [0.7]})])
def test_what_comes_into_sight_is_white(kind: str, params: dict[str, object]) -> None:
    np.testing.assert_array_equal(view(kind, **params).apply(WHITE), WHITE)
    black = view(kind, **params).apply(np.zeros_like(WHITE))
    assert black[0, 0].tolist() == [255, 255, 255]
    assert black[10, 10].tolist() == [0, 0, 0]


def test_a_small_tilt_turns_as_a_quarter_turn_does() -> None:
    page = WHITE.copy()
    page[9:11, 15:] = 0  # a mark at the right edge moves up when turned counter-clockwise
    rows = np.flatnonzero((view("rotation", degrees=[20]).apply(page)[..., 0] < 128).any(axis=1))
    assert rows.max() < 10


def test_scale_and_crop_about_the_middle() -> None:
    page = WHITE.copy()
    page[5:15, 5:15] = 0
    # The dark square fills the view, but for its blended edge.
    assert (view("scale", factors=[2.0]).apply(page)[1:-1, 1:-1] == 0).all()
    np.testing.assert_array_equal(view("crop", fractions=[0.5]).apply(page), view("scale", factors=[2.0]).apply(page))
    half = view("scale", factors=[0.5]).apply(page)[..., 0]
    assert (half[8:12, 8:12] == 0).all()
    assert (half[:7] == 255).all() and (half[:, 13:] == 255).all()


def test_color_jitter_is_two_fixed_views() -> None:
    grey = np.full((4, 4, 3), 100, dtype=np.uint8)
    brighter, darker = expand([ViewConfig(type="color_jitter", brightness=0.2)], include_identity=False)
    assert set(brighter.apply(grey).ravel()) == {120}
    assert set(darker.apply(grey).ravel()) == {80}


def test_the_plain_page_is_a_view_unless_it_is_unwanted() -> None:
    flip = ViewConfig(type="horizontal_flip")
    assert [v.name for v in expand([flip])] == ["identity", "horizontal_flip"]
    assert [v.name for v in expand([flip], include_identity=False)] == ["horizontal_flip"]
    assert [v.name for v in expand([flip, ViewConfig(type="identity")])] == ["identity", "horizontal_flip"]
    with pytest.raises(InputError, match="no view is left"):
        expand([], include_identity=False)
    with pytest.raises(InputError, match="'rotation 90' is listed twice"):
        expand([ViewConfig(type="rotation", degrees=[90, 180]), ViewConfig(type="rotation", degrees=[90])])


@pytest.mark.parametrize("name", VIEWS.names())
def test_probability_is_accepted_and_said_to_have_no_effect(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "docclf"):
        plain = expand([ViewConfig(type=name)])
        assert not caplog.records
        given = expand(
            [ViewConfig(type=name, probability=0.5), ViewConfig(type="rotation", degrees=[1], probability=1)]
        )
    assert [v.name for v in given] == [*(v.name for v in plain), "rotation 1"]
    assert len(caplog.records) == 1
    assert "no effect" in caplog.text


def test_default_views_are_what_was_trained() -> None:
    def names(**facts: object) -> list[str]:
        return [v.name for v in expand(default_views(SimpleNamespace(**facts)))]

    assert names(turns=False, mirror=False, max_rotation=0.0) == ["identity"]
    assert names(turns=True, mirror=False, max_rotation=10.0) == [
        "identity", "rotation 90", "rotation 180", "rotation 270", "rotation 5", "rotation -5"
    ]  # fmt: skip
    assert names(turns=False, mirror=True, max_rotation=0.0) == ["identity", "horizontal_flip"]


def test_merging_by_hand() -> None:
    log_probs = np.log(np.array([[[0.9, 0.1]], [[0.5, 0.5]]]))
    assert np.exp(merge(log_probs, "mean")) == pytest.approx(np.array([[0.7, 0.3]]))
    assert np.exp(merge(log_probs, "gmean")) == pytest.approx(np.array([[0.75, 0.25]]))
    assert np.exp(merge(log_probs, "max")) == pytest.approx(np.array([[9 / 14, 5 / 14]]))


@pytest.mark.parametrize("how", ["mean", "gmean", "max"])
def test_an_unreadable_page_stays_one(how: str) -> None:
    log_probs = np.log(np.full((2, 2, 2), 0.5))
    log_probs[:, 1] = np.nan
    merged = merge(log_probs, how)
    assert np.isnan(merged).any(axis=1).tolist() == [False, True]


def _views(true: list[list[float]]) -> np.ndarray:
    probs = np.array(true)
    return np.log(np.stack([probs, 1 - probs], axis=2))


def test_pruning_drops_what_hurts_and_nothing_else() -> None:
    # Probability of the true class on four pages: two views that complement each other, one that is mostly wrong.
    log_probs = _views([[0.9, 0.9, 0.6, 0.6], [0.6, 0.6, 0.9, 0.9], [0.1, 0.2, 0.1, 0.2]])
    targets = np.zeros(4, dtype=int)
    assert prune(log_probs, targets) == (0, 1)
    assert prune(log_probs[[2, 0, 1]], targets) == (1, 2)
    assert prune(log_probs[[0, 0]], targets) == (0, 1)
    assert prune(log_probs[2:], targets) == (0,)


def test_pruning_follows_the_score_it_is_given() -> None:
    log_probs = _views([[0.9, 0.4, 0.9, 0.9], [0.55, 0.65, 0.55, 0.55]])
    targets = np.zeros(4, dtype=int)
    assert prune(log_probs, targets, score=lambda merged, t: float((merged.argmax(1) == t).mean())) == (0, 1)
    assert prune(log_probs, targets, score=lambda merged, t: float(merged[1, 0])) == (1,)


def test_pruning_ignores_pages_that_cannot_be_scored() -> None:
    log_probs = _views([[0.9, 0.1, 0.9], [0.6, 0.9, 0.6]])
    log_probs[1, 2] = np.nan
    assert prune(log_probs, np.array([0, -1, 0])) == (0,)


def test_what_pruning_brings_is_not_told_by_the_pages_that_chose() -> None:
    """Ten views that are the same but for noise: none is better, and those that look so on some pages are not on others."""
    rng = np.random.default_rng(0)
    shown, nested = [], []
    for _ in range(20):
        targets = rng.integers(0, 3, 60)
        views = rng.normal(0, 1, (10, 60, 3))
        views[:, np.arange(60), targets] += 1
        views -= np.log(np.exp(views).sum(axis=2, keepdims=True))
        everything = by_log_loss(merge(views), targets)
        kept = prune(views, targets)
        shown.append(by_log_loss(merge(views[list(kept)]), targets) - everything)
        nested.append(by_log_loss(cross_pruned(views, targets, np.arange(60) % 5), targets) - everything)
    assert np.mean(shown) > 0.003
    assert np.mean(nested) < 0


def test_pages_without_a_part_choose_nothing() -> None:
    log_probs = np.log(np.array([[[0.9, 0.1]] * 4, [[0.2, 0.8]] * 4]))
    merged = cross_pruned(log_probs, np.array([0, 0, 0, 1]), np.array([0, 0, 1, -1]))
    assert np.exp(merged)[:, 0] == pytest.approx([0.9] * 4)
