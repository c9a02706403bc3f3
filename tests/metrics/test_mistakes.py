import numpy as np
from prediction_cases import naming

from docclf_cli.metrics.mistakes import most_confused
from docclf_cli.results.figures import ConfusedPair
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
