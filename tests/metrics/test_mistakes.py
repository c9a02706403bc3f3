import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prediction_cases import at_random, naming

from docclf_cli.errors import InputError
from docclf_cli.metrics.mistakes import most_confused, pages_to_show
from docclf_cli.results.metrics import ConfusedPair
from docclf_cli.results.predictions import Predictions


def test_pairs_by_hand() -> None:
    predictions = naming([0, 0, 0, 0, 1, 1, 2], [1, 1, 2, 0, 0, 1, 2], classes=3)
    log_probs = predictions.log_probs.copy()
    log_probs[1] = np.log([0.01, 0.98, 0.01])  # the surer of two mistakes of the same kind
    found = most_confused(Predictions(predictions.ids, log_probs, predictions.class_names, predictions.targets))
    assert found[0] == ConfusedPair("class 0", "class 1", 2, 0.5, ("page1.jpg", "page0.jpg"))
    assert {(pair.target, pair.predicted, pair.pages) for pair in found[1:]} == {
        ("class 0", "class 2", 1),
        ("class 1", "class 0", 1),
    }


def test_as_many_as_asked_for() -> None:
    predictions = naming([0] * 9, [1] * 8 + [2], classes=3)
    (pair,) = most_confused(predictions, most=1, examples=3)
    assert (pair.pages, len(pair.examples)) == (8, 3)


def test_no_mistake_no_pair() -> None:
    assert most_confused(naming([0, 1], [0, 1], classes=2)) == ()


def _sure(targets: list[int], named: list[int], sure: list[float], classes: int) -> Predictions:
    rows = [naming([t], [n], classes, sure=s).log_probs for t, n, s in zip(targets, named, sure, strict=True)]
    pages = naming(targets, named, classes)
    return Predictions(pages.ids, np.concatenate(rows), pages.class_names, pages.targets)


def test_mistakes_come_first_in_turn_from_each_pair() -> None:
    pages = _sure(
        targets=[0, 0, 0, 0, 1, 1, 2, 2],
        named=[1, 1, 1, 0, 2, 1, 2, 2],
        sure=[0.7, 0.9, 0.8, 0.6, 0.5, 0.9, 0.95, 0.55],
        classes=3,
    )
    # Surest mistake; then the surest of each pair in turn; then the least certain correct page of each class in turn.
    assert pages_to_show(pages, first=1).tolist() == [1, 4, 2, 0, 7, 3, 5, 6]
    assert pages_to_show(pages, first=2).tolist()[:2] == [1, 2]
    assert pages_to_show(pages, most=3, first=1).tolist() == [1, 4, 2]


@given(st.integers(1, 60), st.integers(0, 30), st.integers(0, 1000))
def test_every_scored_page_once_and_mistakes_before_the_others(pages: int, most: int, seed: int) -> None:
    predictions = at_random(seed, pages, classes=4)
    predictions.log_probs[0] = np.nan
    targets = predictions.targets
    assert targets is not None
    targets[-1] = -1
    if pages < 3:
        return
    shown = pages_to_show(predictions, most=most, first=3)
    assert len(shown) == len(set(shown.tolist())) == min(most, pages - 2)
    assert not {0, pages - 1} & set(shown.tolist())
    wrong = predictions.predicted()[shown] != targets[shown]
    assert (np.diff(wrong.astype(int)) <= 0).all()


def test_without_a_scored_page_nothing_can_be_shown() -> None:
    pages = naming([0, 1], [0, 1], 2)
    with pytest.raises(InputError):
        pages_to_show(Predictions(pages.ids, pages.log_probs, pages.class_names))
