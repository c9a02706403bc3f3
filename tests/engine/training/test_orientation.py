"""What a model learns about how pages lie."""

import numpy as np
import pytest

from docclf_cli.data.images.layout_cues import CUES
from docclf_cli.data.images.orientation import ORIENTATIONS, Orientation
from docclf_cli.engine.training.orientation import NO_UP, _fitted, pages_to_turn, without_up
from docclf_cli.metrics.orientation import turn_log_probs, undone_cues


def pooled(page: np.ndarray) -> np.ndarray:
    """What the pages of these tests have as features: the means of four rows and four columns."""
    grid = page[..., 0].astype(np.float32).reshape(4, 8, 4, 8).mean(axis=(1, 3))
    return np.concatenate([grid.mean(axis=0), grid.mean(axis=1)])


def no_cues(count: int) -> np.ndarray:
    """The cues of pages whose layout shows nothing."""
    return np.zeros((count, CUES), np.float32)


def pages(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """White with a dark head and something at the left, more or less."""
    found = []
    for _ in range(count):
        page = np.repeat(255 - rng.integers(0, 40, (32, 32, 1)), 3, axis=2)
        page[: rng.integers(4, 9)] -= 150
        page[:, : rng.integers(4, 9)] -= 60
        found.append(page)
    return found


def test_copies_of_pages_teach_how_others_lie_and_pieces_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    trained, others = pages(rng, 60), pages(rng, 20)
    numbers = np.tile([*range(ORIENTATIONS), NO_UP], 60)
    copies = [
        without_up(page, rng) if number == NO_UP else Orientation.numbered(number).of(page)
        for page in trained
        for number in [*range(ORIENTATIONS), NO_UP]
    ]
    model = _fitted(np.stack([pooled(page) for page in copies]), no_cues(len(copies)), numbers, seed=0)
    turned = [Orientation.numbered(number).of(page) for page in others for number in range(ORIENTATIONS)]
    log_probs = model.log_probs(np.stack([pooled(page) for page in turned]), no_cues(len(turned)))
    assert (log_probs.argmax(axis=1) == np.tile(range(ORIENTATIONS), 20)).mean() > 0.95
    pieces = model.log_probs(np.stack([pooled(without_up(page, rng)) for page in others]), no_cues(len(others)))
    surest = np.exp(turn_log_probs(log_probs).max(axis=1))
    assert np.exp(turn_log_probs(pieces).max(axis=1)).mean() < surest.mean() - 0.1


def test_the_same_seed_gives_the_same_model() -> None:
    rng = np.random.default_rng(0)
    features, numbers = rng.normal(size=(80, 6)).astype(np.float32), rng.integers(8, size=80)
    cues = rng.normal(size=(80, CUES)).astype(np.float32)
    first, second = (_fitted(features, cues, numbers, seed=3).to_arrays() for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_what_the_layout_shows_of_pages_in_one_way_holds_for_pages_that_lie_in_another() -> None:
    rng = np.random.default_rng(0)
    shown = rng.normal(0.5, 0.5, CUES)
    upright = (rng.normal(0, 0.3, (200, CUES)) + shown).astype(np.float32)
    model = _fitted(rng.normal(size=(150, 6)).astype(np.float32), upright[:150], np.zeros(150, np.int64), seed=0)
    mirrored = upright[150:] * np.where(np.arange(CUES) < CUES // 2, -1, 1)
    assert np.allclose(undone_cues(mirrored)[:, 4], upright[150:])
    assert model.layout is not None
    assert (model.layout.logits(mirrored).argmax(axis=1) == 4).mean() > 0.8


def test_pieces_of_a_page_are_its_own() -> None:
    page = np.arange(60 * 60 * 3, dtype=np.uint32).reshape(60, 60, 3)  # 60 pixels are 3, 4 or 5 pieces
    found = [without_up(page, np.random.default_rng(seed)) for seed in range(30)]
    pieces = [one for one in found if one.dtype == page.dtype]  # an empty sheet is made anew
    assert 10 < len(pieces) < 30
    for one in pieces:
        assert not np.array_equal(one, page)
        assert set(one.ravel()) <= set(page.ravel())
        assert np.array_equal(np.sort(one.ravel()), page.ravel())


@pytest.mark.parametrize(
    ("train", "val", "epochs", "expected"),
    [
        (390, 97, 24, (333, 97)),  # 3,510 passes, of which 3,000 may be copies of training pages
        (192, 48, 3, (20, 20)),  # 216 passes would be 12 pages
        (192, 48, 20, (133, 48)),  # 1,440 passes, less 240 for held-out pages, and nine for each training page
        (100_000, 20_000, 1, (333, 150)),
        (25, 22, 100, (25, 22)),
    ],
)
def test_short_runs_turn_fewer_pages(train: int, val: int, epochs: int, expected: tuple[int, int]) -> None:
    assert pages_to_turn(8, train, val, epochs) == expected
