"""The text model as plain arrays."""

import numpy as np
import pytest

from docclf_cli.models.text_features import FIELDS, HEAD, TextPage, counted, place_of
from docclf_cli.models.text_model import TextFeatures, TextModel


def model_of(words: dict[str, int], num_classes: int = 2) -> TextModel:
    """Each word speaks for a class, in the field of single words."""
    places = sorted((place_of(word, 0), label) for word, label in words.items())
    columns = np.array([place for place, _ in places])
    weight = np.zeros((len(columns), num_classes), np.float32)
    weight[np.arange(len(columns)), [label for _, label in places]] = 4
    features = TextFeatures(columns, np.ones(len(columns), np.float32))
    return TextModel(features, weight, np.zeros(num_classes, np.float32), np.array([1.0, 0.5]))


MODEL = model_of({"invoice": 0, "contract": 1})


def test_a_page_without_text_says_nothing() -> None:
    found = MODEL.log_probs([TextPage("An invoice"), TextPage(""), TextPage("neither of them")])
    assert found[0].argmax() == 0
    assert np.isnan(found[1]).all()
    assert np.allclose(found[2], np.log(0.5))
    assert MODEL.log_probs([]).shape == (0, 2)


def test_later_pages_have_their_own_scale() -> None:
    first, later = MODEL.log_probs([TextPage("invoice"), TextPage("invoice", first=False)])
    assert first[0] > later[0] > np.log(0.5)


def test_saying_it_a_thousand_times_is_hardly_more_than_saying_it_once() -> None:
    once, often = counted(["contract and invoice", "contract " * 1000 + "invoice"])
    ratio = often[0, place_of("contract", 0)] / once[0, place_of("contract", 0)]
    assert ratio < 8
    stuffed = MODEL.log_probs([TextPage("contract " * 1000 + "invoice")])
    assert stuffed[0, 0] > np.log(0.01)  # the other class is not ruled out by it


def test_case_and_figures_make_no_difference_and_the_head_is_its_own_field() -> None:
    assert (counted(["Invoice 2019-17"]) != counted(["INVOICE 2024-99"])).nnz == 0
    far = counted(["x " * HEAD + "invoice"])
    head = [number for number, field in enumerate(FIELDS) if field.head and not field.letters]
    assert far[0, place_of("invoice", 0)] > 0
    assert far[0, place_of("invoice", head[0])] == 0


def test_what_spoke_for_a_class() -> None:
    assert [word for word, _ in MODEL.strongest("one contract, no invoice", 1, 5)] == ["contract"]
    assert MODEL.strongest("nothing known", 0, 5) == []


def test_what_a_checkpoint_stores_comes_back() -> None:
    arrays = MODEL.to_arrays()
    again = TextModel.from_arrays(arrays, 2)
    pages = [TextPage("an invoice"), TextPage("a contract", first=False)]
    assert np.array_equal(again.log_probs(pages), MODEL.stored().log_probs(pages))
    damaged = [
        {**arrays, "columns": arrays["columns"][::-1]},
        {**arrays, "weight": np.full_like(arrays["weight"], np.nan)},
        {**arrays, "scale": np.array([1.0, -1.0])},
        {**arrays, "idf": arrays["idf"][:1]},
    ]
    for one in damaged:
        with pytest.raises(ValueError):
            TextModel.from_arrays(one, 2)
    with pytest.raises(ValueError):
        TextModel.from_arrays(arrays, 3)
