"""Cues of the layout: lines of text that begin at one margin, and what a page without lines shows."""

import numpy as np
import pytest

from docclf_cli.data.images.layout_cues import AXIS_CUES, CUES, cues_of_images, layout_cues
from docclf_cli.data.images.orientation import ORIENTATIONS, Orientation
from docclf_cli.metrics.orientation import undone_cues

RISES, MARGINS = [0, 1, 5, 6], slice(10, 14)  # of an axis


def letter(side: int, seed: int = 0) -> np.ndarray:
    """A grey page of left-aligned lines of letters, some of which reach above the others."""
    rng, scale = np.random.default_rng(seed), side / 224
    page = np.full((side, side), 235, np.uint8)
    pitch, body = round(8 * scale), round(4 * scale)
    for top in range(round(30 * scale), round(190 * scale), pitch):
        left, end = round(24 * scale), round(rng.uniform(110, 205) * scale)
        while left < end:
            width = round(rng.uniform(8, 26) * scale)
            page[top : top + body, left : min(left + width, end)] = 40
            for tall in range(left, min(left + width, end), max(round(5 * scale), 2)):
                page[top - max(round(2 * scale), 1) : top, tall : tall + 1] = 120
            left += width + round(3 * scale)
    return page


@pytest.mark.parametrize("side", [160, 224, 320])
def test_lines_begin_at_one_margin_and_their_ink_comes_slowly(side: int) -> None:
    upright = layout_cues(letter(side))
    assert (upright[MARGINS] > 0.5).all()
    assert (upright[AXIS_CUES:][RISES] > 0.005).all()
    on_its_head, mirrored = (
        layout_cues(lying.of(letter(side))) for lying in (Orientation(180, False), Orientation(0, True))
    )
    assert (on_its_head[MARGINS] < -0.5).all()
    assert (on_its_head[AXIS_CUES:][RISES] < -0.005).all()
    assert (mirrored[MARGINS] < -0.5).all()
    assert (mirrored[AXIS_CUES:][RISES] > 0.005).all()
    on_its_side = layout_cues(Orientation(90, False).of(letter(side)))
    assert (on_its_side[AXIS_CUES:][MARGINS] > 0.5).all()  # lines run from the top to the bottom
    assert upright[-1] > 1 > -1 > on_its_side[-1]


@pytest.mark.parametrize("number", range(ORIENTATIONS))
def test_the_cues_of_a_lying_page_are_those_of_the_upright_one_in_other_places(number: int) -> None:
    page = letter(224, seed=3)
    lying = layout_cues(Orientation.numbered(number).of(page))
    assert undone_cues(lying[None])[0, number] == pytest.approx(layout_cues(page), abs=0.05)


@pytest.mark.parametrize("side", [1, 5, 31, 32, 224])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_sheet_shows_nothing(side: int, value: int) -> None:
    found = layout_cues(np.full((side, side), value, np.uint8))
    assert found.dtype == np.float32
    assert found.tolist() == [0.0] * CUES


@pytest.mark.parametrize("side", [32, 33, 97, 224])
def test_pages_of_noise_or_a_single_line_have_cues_that_are_numbers(side: int) -> None:
    rng = np.random.default_rng(side)
    line, dot = np.full((2, side, side), 255, np.uint8)
    line[side // 2] = 0
    dot[3, 3] = 0
    for page in (rng.integers(0, 256, (side, side), dtype=np.uint8), line, dot, np.eye(side, dtype=np.uint8) * 255):
        assert np.isfinite(layout_cues(page)).all()


def test_images_are_looked_at_one_by_one_in_any_memory_layout() -> None:
    pages = np.stack([np.repeat(letter(64, seed)[..., None], 3, axis=2) for seed in range(3)])
    assert np.array_equal(cues_of_images(pages.transpose(0, 3, 1, 2)), [layout_cues(page[..., 1]) for page in pages])
    assert cues_of_images(np.empty((0, 3, 64, 64), np.uint8)).shape == (0, CUES)
