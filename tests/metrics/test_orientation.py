"""How a page lies, from numbers: what is decided, when it abstains, and how thresholds are chosen."""

import numpy as np
import pytest

from docclf_cli.metrics.orientation import (
    LEAST,
    UNTOLD,
    HeldOutOrientation,
    LayoutModel,
    OrientationModel,
    agreed,
    decided,
    held_out_orientation,
    undone_cues,
)


def log_probs(*rows: dict[int, float]) -> np.ndarray:
    """Rows with the probabilities of some orientations; the others share the rest."""
    found = np.empty((len(rows), 8))
    for number, row in enumerate(rows):
        found[number] = (1 - sum(row.values())) / (8 - len(row))
        found[number, list(row)] = list(row.values())
    return np.log(found)


def test_the_side_that_is_up_is_told_apart_from_whether_a_page_is_mirrored() -> None:
    rows = log_probs({1: 0.9}, {1: 0.46, 5: 0.5}, {1: 0.2, 5: 0.76}, {0: 0.5, 2: 0.4}, {})
    assert decided(rows, 0.9, 0.7).tolist() == [1, 9, 5, UNTOLD, UNTOLD]


def test_models_that_contradict_each_other_tell_nothing() -> None:
    first, second = np.array([0, 3, UNTOLD, UNTOLD, 1, 5], np.int8), np.array([0, 2, 7, UNTOLD, 5, 9], np.int8)
    assert agreed([first, second]).tolist() == [0, UNTOLD, 7, UNTOLD, 9, 9]
    assert agreed([first]).tolist() == first.tolist()


CUES = 7  # three of each axis, and the direction of lines


def random_model(rng: np.random.Generator) -> OrientationModel:
    arrays = [abs(rng.normal(size=shape)).astype(np.float32) for shape in [(5,), (5,), (3, 5), (3,), (8, 3), (8,)]]
    weights = [rng.normal(size=shape).astype(np.float32) for shape in [(4, CUES), (4,), (4,)]]
    layout = LayoutModel(LayoutModel.scale_of(rng.normal(size=(9, CUES))), *weights)
    held_out = HeldOutOrientation(40, 0.9, 0.95, 0.8, 0.7, 0.6)
    return OrientationModel(*arrays, temperature=1.5, held_out=held_out, layout=layout)


def test_a_model_is_its_arrays() -> None:
    rng = np.random.default_rng(0)
    model = random_model(rng)
    again = OrientationModel.from_arrays(model.to_arrays())
    features, cues = rng.normal(size=(20, 5)), rng.normal(size=(20, CUES))
    assert again.held_out == model.held_out
    assert np.array_equal(again.log_probs(features, cues), model.log_probs(features, cues))
    assert np.exp(model.log_probs(features, cues)).sum(axis=1) == pytest.approx(1)
    assert not np.allclose(model.log_probs(features, -cues), model.log_probs(features, cues))


def test_models_of_earlier_versions_do_without_the_layout() -> None:
    rng = np.random.default_rng(0)
    arrays = random_model(rng).to_arrays()
    earlier = {name: value for name, value in arrays.items() if not name.startswith("layout_")}
    assert len(arrays) - len(earlier) == 4
    model = OrientationModel.from_arrays(earlier)
    features = rng.normal(size=(20, 5))
    hidden = np.maximum((features - model.centre) / model.scale @ model.hidden_weight.T + model.hidden_bias, 0)
    logits = (hidden @ model.weight.T + model.bias) / model.temperature
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert model.log_probs(features, np.empty((20, 0))) == pytest.approx(expected, abs=1e-3)
    assert model.to_arrays().keys() == earlier.keys()


def test_the_layout_speaks_for_the_same_upright_page_however_it_lies() -> None:
    rng = np.random.default_rng(1)
    model = random_model(rng).layout
    assert model is not None
    across, down, direction = rng.normal(size=(3, 10, 3))
    upright = np.concatenate([across, down, direction[:, :1]], axis=1)
    turned = np.concatenate(
        [-down, across, -direction[:, :1]], axis=1
    )  # a quarter clockwise: what was on top is at the right
    mirrored = np.concatenate([-across, down, direction[:, :1]], axis=1)
    assert np.array_equal(undone_cues(turned)[:, 1], upright)
    assert np.array_equal(undone_cues(mirrored)[:, 4], upright)
    assert model.logits(turned)[:, [1, 2, 3, 0]] == pytest.approx(model.logits(upright)[:, :4], abs=1e-5)
    assert model.logits(mirrored)[:, 4] == pytest.approx(model.logits(upright)[:, 0], abs=1e-5)


def drawn(rng: np.random.Generator, pages: int, wrong: float) -> tuple[np.ndarray, np.ndarray]:
    """Copies of pages whose true orientation is mostly the most probable one, and less surely so where it is wrong."""
    numbers = rng.integers(8, size=pages)
    mistaken = rng.random(pages) < wrong
    shown = np.where(mistaken, numbers // 4 * 4 + (numbers + 1) % 4, numbers)
    sure = np.where(mistaken, rng.uniform(0.4, 0.7, pages), rng.uniform(0.6, 0.99, pages))
    return log_probs(*({int(number): value} for number, value in zip(shown, sure, strict=True))), numbers


def test_thresholds_keep_mistakes_and_pages_without_an_up_out() -> None:
    rng = np.random.default_rng(1)
    rows, numbers = drawn(rng, 400, 0.15)
    without_up = log_probs(*({int(rng.integers(8)): value} for value in rng.uniform(0.2, 0.8, 200)))
    units = np.arange(600)
    found = held_out_orientation(
        np.concatenate([rows, without_up]), np.concatenate([numbers, np.full(200, UNTOLD)]), units
    )
    assert found.copies == 400
    assert found.right > 0.95 > (rows.argmax(axis=1) == numbers).mean()
    assert 0.3 < found.told < 1
    told = decided(without_up, found.turn_threshold, found.mirror_threshold) != UNTOLD
    assert told.mean() <= 0.06
    unmirrored = rows[numbers < 4]
    assert (decided(unmirrored, 0, found.mirror_threshold) // 4 == 1).mean() <= 0.02
    assert 0 < found.mirrored_found <= 1


def test_few_copies_get_the_usual_threshold() -> None:
    rows, numbers = drawn(np.random.default_rng(2), 12, 0.0)
    found = held_out_orientation(rows, numbers, np.arange(12))
    assert found.turn_threshold == 0.9
    assert found.mirror_threshold >= LEAST
