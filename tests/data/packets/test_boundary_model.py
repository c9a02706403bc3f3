"""Boundary models find the documents of packets that they were not fitted to, and survive a checkpoint."""

import itertools

import numpy as np
import pytest
from packet_cases import boundary_model, packet_documents

from docclf_cli.data.packets.boundary_model import IMAGE, TEXT, BoundaryModel, HeldOutGaps
from docclf_cli.data.packets.cues import cues_of, image_cues


@pytest.fixture(scope="module")
def model() -> BoundaryModel:
    return boundary_model()


@pytest.mark.parametrize(("copy", "kind", "least"), [(0, TEXT, 0.95), (1, IMAGE, 0.8)])
def test_new_packets_are_cut(model: BoundaryModel, copy: int, kind: str, least: float) -> None:
    documents = packet_documents(60, first=100)
    pages = [(number, page) for number, one in enumerate(documents) for page in one.copies[copy]]
    right = []
    for (one, before), (other, after) in itertools.pairwise(pages):
        gap = model.gap(before, after)
        assert gap.kind == kind
        right.append((gap.probability > 0.5) == (one != other))
    assert np.mean(right) >= least


def test_two_neighbours_of_one_class_are_told_apart(model: BoundaryModel) -> None:
    of_one_class = packet_documents(40, first=200)[::2]
    pairs = [(one.copies[0][-1], other.copies[0][0]) for one, other in itertools.pairwise(of_one_class)]
    assert np.mean([model.gap(*pair).probability > 0.5 for pair in pairs]) >= 0.9


def test_it_survives_a_checkpoint(model: BoundaryModel) -> None:
    before, after = packet_documents(2, first=300)
    again = BoundaryModel.from_arrays(model.to_arrays())
    pages = before.copies[0][-1], after.copies[0][0]
    assert again.gap(*pages).probability == pytest.approx(model.gap(*pages).probability, abs=1e-6)


@pytest.mark.parametrize("missing", ["idf", "image.calibration", "first.weights", "image.trees.value"])
def test_a_broken_one_is_refused(model: BoundaryModel, missing: str) -> None:
    arrays = {name: array for name, array in model.to_arrays().items() if name != missing}
    with pytest.raises(ValueError, match="boundary model"):
        BoundaryModel.from_arrays(arrays)


def test_limits_hold_the_precision_asked_for() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(4000)
    gaps = HeldOutGaps(probability, rng.random(4000) < probability, np.ones(4000))
    cut_from, join_to = gaps.cut_from(0.95), gaps.join_to(0.95)
    assert gaps.boundary[probability >= cut_from].mean() >= 0.95
    assert (~gaps.boundary[probability <= join_to]).mean() >= 0.95
    assert 0.85 < cut_from < 0.95  # of calibrated probabilities, 0.9 and above are right in 95 %
    never = HeldOutGaps(probability, np.zeros(4000, dtype=bool), np.ones(4000))
    assert never.cut_from(0.95) > 1
    assert never.join_to(0.95) == 0.5


def test_turned_and_blank_pages_are_compared_too() -> None:
    page = np.full((48, 48, 3), 255, dtype=np.uint8)
    blank, other = cues_of(page, (400, 500)), cues_of(page, (500, 400))
    assert np.isfinite(image_cues(blank, other)).all()
    assert not blank.has_text
