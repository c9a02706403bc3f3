"""Image and text become one."""

import numpy as np
import pytest
from scipy.special import log_softmax

from docclf_cli.ensembling.fusion import (
    FEWEST_DOCUMENTS,
    TEXT_ALONE,
    Fusion,
    cross_fitted_fusion,
    fit_fusion,
    gain_of,
)


def side(labels: np.ndarray, strength: float, seed: int, num_classes: int = 3) -> np.ndarray:
    """Log-probabilities that are right the more often the stronger they are."""
    logits = np.random.default_rng(seed).normal(size=(len(labels), num_classes))
    logits[np.arange(len(labels)), labels] += strength
    return log_softmax(logits, axis=1)


LABELS = np.arange(300) % 3
DOCUMENTS = np.arange(300) // 2
IMAGE, TEXT, NOISE = side(LABELS, 1.0, 1), side(LABELS, 3.0, 2), side(LABELS, 0.0, 3)


def test_pages_without_text_have_the_image_alone_and_unreadable_ones_nothing() -> None:
    text, image = TEXT.copy(), IMAGE.copy()
    text[0], image[1] = np.nan, np.nan
    fused = Fusion(0.5, 2.0, 1.0)(image, text)
    assert np.allclose(fused[0], image[0], atol=1e-6)
    assert np.isnan(fused[1]).all()
    assert np.allclose(fused[2], log_softmax(0.5 * image[2] + 2 * text[2]), atol=1e-6)
    alone = TEXT_ALONE(image, text)
    assert np.allclose(alone[2], text[2], atol=1e-5)
    assert np.allclose(alone[0], np.log(1 / 3))


def test_weights_follow_what_each_side_is_worth() -> None:
    fusion = fit_fusion(IMAGE, TEXT, LABELS, DOCUMENTS)
    assert fusion.text > fusion.image
    assert fit_fusion(IMAGE, NOISE, LABELS, DOCUMENTS).text < 0.3
    assert Fusion.from_array(fusion.to_array()) == fusion
    for damaged in (np.array([1.0, 2.0]), np.array([1.0, -1.0, 1.0]), np.array([1.0, np.nan, 1.0])):
        with pytest.raises(ValueError):
            Fusion.from_array(damaged)


def test_pages_with_and_without_text_fit_their_own_weights() -> None:
    text = TEXT.copy()
    text[150:] = np.nan
    image = IMAGE.copy()
    image[150:] = IMAGE[150:] / 3  # far too cautious there
    fusion = fit_fusion(image, text, LABELS, DOCUMENTS)
    assert fusion.image_alone > 1.5 * fusion.image


def test_each_document_is_read_with_weights_of_others() -> None:
    wrong = LABELS.copy()
    wrong[:2] = (wrong[:2] + 1) % 3  # the labels of one document
    before = cross_fitted_fusion(IMAGE, TEXT, LABELS, DOCUMENTS)
    after = cross_fitted_fusion(IMAGE, TEXT, wrong, DOCUMENTS)
    assert np.array_equal(before[:2], after[:2])
    assert not np.array_equal(before, after)


def test_few_documents_fit_nothing() -> None:
    few = slice(0, 2 * (FEWEST_DOCUMENTS - 1))
    fused = cross_fitted_fusion(IMAGE[few], TEXT[few], LABELS[few], DOCUMENTS[few])
    assert np.array_equal(fused, Fusion()(IMAGE[few], TEXT[few]))


@pytest.mark.parametrize(("text", "shown"), [(TEXT, True), (NOISE, False), (np.full_like(TEXT, np.nan), False)])
def test_text_has_to_show_that_it_helps(text: np.ndarray, shown: bool) -> None:
    fused = cross_fitted_fusion(IMAGE, text, LABELS, DOCUMENTS)
    assert gain_of(IMAGE, fused, text, LABELS, DOCUMENTS).shown is shown
