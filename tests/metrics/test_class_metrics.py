import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_cases import at_random, naming
from sklearn import metrics as sk

from docclf_cli.errors import InputError
from docclf_cli.metrics.class_metrics import (
    compute_metrics,
    estimates,
    per_sample_loss,
    score,
    single_class,
)
from docclf_cli.metrics.confusion import confusion
from docclf_cli.metrics.metrics import MAX_LOSS, headline_metrics, is_in_top
from docclf_cli.results.predictions import Predictions

cases = st.builds(
    at_random,
    seed=st.integers(0, 10_000),
    pages=st.integers(1, 60),
    classes=st.integers(2, 7),
    skill=st.floats(-1, 4),
    labels_seed=st.integers(0, 10_000),
)


@settings(max_examples=80, deadline=None)
@given(cases)
def test_metrics_equal_those_of_scikit_learn(predictions: Predictions) -> None:
    targets, predicted, probs = predictions.targets, predictions.predicted(), predictions.probs()
    labels = range(predictions.num_classes)
    k = max(1, min(3, predictions.num_classes - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "accuracy": sk.accuracy_score(targets, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(targets, predicted),
            "f1_macro": sk.f1_score(targets, predicted, average="macro"),
            "f1_weighted": sk.f1_score(targets, predicted, average="weighted"),
            "log_loss": sk.log_loss(targets, probs, labels=labels),
        }
        if predictions.num_classes > 2:
            expected[f"top{k}_accuracy"] = sk.top_k_accuracy_score(targets, probs, k=k, labels=labels)
        precision, recall, f1, support = sk.precision_recall_fscore_support(
            targets, predicted, labels=labels, zero_division=np.nan
        )
    found, scores = compute_metrics(predictions), score(predictions)
    scored = predictions.scored()
    assert estimates(scored, headline_metrics()).items() <= scores.metrics.items()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
        assert scores.metrics[name].value == pytest.approx(value, abs=1e-12), name
    for name, column in {"accuracy": recall, "precision": precision, "f1": f1}.items():
        mine = [getattr(row, name).value for row in scores.classes]
        np.testing.assert_allclose(mine, column, atol=1e-12, rtol=0)
    assert [row.support for row in scores.classes] == support.tolist()
    np.testing.assert_array_equal(
        confusion(targets, predicted, predictions.num_classes), sk.confusion_matrix(targets, predicted, labels=labels)
    )


@settings(max_examples=30, deadline=None)
@given(cases)
def test_every_interval_holds_its_metric(predictions: Predictions) -> None:
    scores = score(predictions)
    estimates = list(scores.metrics.values())
    estimates += [getattr(row, name) for row in scores.classes for name in ("accuracy", "precision", "f1")]
    for estimate in estimates:
        assert np.isnan(estimate.low) or estimate.low <= estimate.value <= estimate.high
        assert np.isnan(estimate.low) == np.isnan(estimate.high)


def test_metrics_worked_out_by_hand() -> None:
    # class 0: 3 pages, 2 recognised; class 1: 2 pages, both recognised, and one page of class 0 taken for it
    scores = score(naming([0, 0, 0, 1, 1], [0, 0, 1, 1, 1], classes=2))
    assert scores.metrics["accuracy"].value == pytest.approx(4 / 5)
    assert scores.metrics["balanced_accuracy"].value == pytest.approx((2 / 3 + 1) / 2)
    assert scores.metrics["f1_macro"].value == pytest.approx((4 / 5 + 4 / 5) / 2)
    assert scores.metrics["log_loss"].value == pytest.approx((4 * -np.log(0.9) - np.log(0.1)) / 5, rel=1e-6)
    first, second = scores.classes
    assert (first.accuracy.value, first.precision.value) == (pytest.approx(2 / 3), 1.0)
    assert (second.accuracy.value, second.precision.value) == (1.0, pytest.approx(2 / 3))
    assert first.loss == pytest.approx((2 * -np.log(0.9) - np.log(0.1)) / 3, rel=1e-6)


def test_a_perfect_class_is_not_certain() -> None:
    scores = score(naming([0] * 30 + [1] * 30 + [2] * 30, [0] * 30 + [1] * 30 + [2] * 30, classes=3))
    for row in scores.classes:
        for estimate in (row.accuracy, row.precision, row.f1):
            assert estimate.high == estimate.value == 1.0
            assert 0.8 < estimate.low < 0.99
    for name in ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "top2_accuracy"):
        assert 0.9 < scores.metrics[name].low < 0.999, name


def test_more_pages_make_narrower_intervals() -> None:
    def widths(times: int) -> list[float]:
        scores = score(naming([0, 0, 0, 1, 1] * times, [0, 0, 1, 1, 1] * times, classes=2))
        estimates = [scores.metrics["accuracy"], scores.metrics["f1_macro"], scores.classes[0].f1]
        return [estimate.high - estimate.low for estimate in estimates]

    for few, many in zip(widths(4), widths(40), strict=True):
        assert many < few / 2.5


def test_a_class_without_pages_has_no_recall_and_no_interval() -> None:
    scores = score(naming([0, 0, 0, 0], [0, 0, 0, 1], classes=3))
    _, guessed, absent = scores.classes
    assert np.isnan([guessed.accuracy.value, guessed.loss, guessed.f1.low, guessed.f1.high]).all()
    assert (guessed.f1.value, guessed.precision.value, guessed.support) == (0.0, 0.0, 0)
    assert np.isnan([absent.accuracy.value, absent.precision.value, absent.f1.value]).all()
    # as scikit-learn: the class that was only guessed counts, the absent one does not
    assert scores.metrics["f1_macro"].value == pytest.approx((6 / 7 + 0) / 2)


def test_one_class_recognised_throughout_still_has_width() -> None:
    scores = score(naming([1] * 20, [1] * 20, classes=3))
    assert scores.metrics["f1_macro"].value == 1.0
    assert scores.metrics["f1_macro"].low < 0.99
    assert scores.classes[1].f1.low < 0.99


def test_unreadable_and_unlabelled_pages_are_left_out_and_counted() -> None:
    whole = naming([0, 1, 1, 0], [0, 1, 0, 0], classes=2)
    log_probs = np.concatenate([whole.log_probs, np.full((2, 2), np.nan), whole.log_probs[:1]]).astype(np.float32)
    ids = np.array([f"p{row}" for row in range(7)])
    spoilt = Predictions(ids, log_probs, whole.class_names, np.array([0, 1, 1, 0, 1, 1, -1]))
    scores = score(spoilt)
    assert scores.metrics == score(whole).metrics
    assert (scores.support, scores.unreadable) == (4, 2)
    assert compute_metrics(spoilt) == compute_metrics(whole)
    losses = per_sample_loss(spoilt)
    assert np.isnan(losses).tolist() == [False] * 4 + [True] * 3


def test_no_labels_is_an_error() -> None:
    with pytest.raises(InputError, match="no labels"):
        score(replace(naming([0], [0], classes=2), targets=None))


def test_temperature_moves_loss_and_calibration_only() -> None:
    plain, warm = (compute_metrics(at_random(1, 200, 4), temperature=t) for t in (1.0, 3.0))
    changed = {name for name in plain if plain[name] != warm[name]}
    assert changed == {"log_loss", "ece"}


def test_a_probability_of_zero_costs_much_but_not_infinitely() -> None:
    voted = Predictions(np.array(["a"]), np.array([[0.0, -np.inf]], dtype=np.float32), ("x", "y"), np.array([1]))
    assert per_sample_loss(voted).tolist() == [MAX_LOSS]
    assert pytest.approx(sk.log_loss([1], [[1.0, 0.0]], labels=[0, 1])) == MAX_LOSS


def test_among_equal_probabilities_top_1_is_accuracy() -> None:
    level = Predictions(np.array(["a", "b"]), np.zeros((2, 3), dtype=np.float32), ("x", "y", "z"), np.array([0, 1]))
    assert is_in_top(level.log_probs, level.labels, k=1).tolist() == [True, False]
    assert is_in_top(level.log_probs, level.labels, k=2).tolist() == [True, True]


def test_scores_depend_on_the_seed_alone() -> None:
    predictions = at_random(3, 100, 4)
    assert score(predictions, seed=5) == score(predictions, seed=5)
    assert score(predictions, seed=5) != score(predictions, seed=6)


def test_pages_of_a_group_make_the_loss_less_certain() -> None:
    apart = at_random(3, 40, 4)
    rows = np.repeat(np.arange(40), 5)
    copies = replace(apart.take(rows), ids=np.array([f"p{row}" for row in range(200)]))
    loose = score(copies).metrics["log_loss"]
    tied = score(replace(copies, groups=rows.astype(str))).metrics["log_loss"]
    assert tied.high - tied.low > 1.8 * (loose.high - loose.low)


def test_single_class() -> None:
    predictions = naming([0, 0, 0, 1, 1], [0, 0, 1, 1, 1], classes=3)
    found = single_class(predictions, 0)
    assert found == {
        "accuracy": pytest.approx(2 / 3),
        "f1": pytest.approx(4 / 5),
        "loss": pytest.approx(score(predictions).classes[0].loss),
        "support": 3,
    }
    with pytest.raises(InputError, match="class 2"):
        single_class(predictions, 2)
