from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_cases import at_random, naming
from scipy.stats import binomtest

from docclf_cli.errors import InputError
from docclf_cli.metrics.alignment import align
from docclf_cli.metrics.class_metrics import compute_metrics
from docclf_cli.metrics.compare import mcnemar, paired_difference, sentence
from docclf_cli.metrics.intervals import wilson
from docclf_cli.results.metrics import Difference
from docclf_cli.results.predictions import Predictions

MATRIX_METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "log_loss", "top3_accuracy")


def shuffled(predictions: Predictions, seed: int = 0) -> Predictions:
    """The same predictions, pages and classes in another order."""
    rng = np.random.default_rng(seed)
    columns = rng.permutation(predictions.num_classes)
    names = tuple(predictions.class_names[index] for index in columns)
    assert predictions.targets is not None
    other = replace(
        predictions,
        log_probs=predictions.log_probs[:, columns],
        class_names=names,
        targets=np.argsort(columns)[predictions.targets],
    )
    return other.take(rng.permutation(len(predictions)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 80), st.sampled_from(MATRIX_METRICS))
def test_the_difference_is_that_of_the_metrics(seed: int, pages: int, metric: str) -> None:
    a, b = (at_random(seed + own, pages, 4, labels_seed=seed) for own in (0, 1))
    found = paired_difference(a, b, metric)
    assert found.value == pytest.approx(compute_metrics(a)[metric] - compute_metrics(b)[metric], abs=1e-12)
    assert found.low <= found.value <= found.high
    assert found.pages == pages
    assert found.high > found.low


@pytest.mark.parametrize("metric", MATRIX_METRICS)
def test_the_order_of_pages_and_classes_does_not_matter(metric: str) -> None:
    a, b = at_random(1, 60, 4), at_random(2, 60, 4)
    straight, crooked = paired_difference(a, b, metric), paired_difference(a, shuffled(b), metric)
    assert crooked.value == pytest.approx(straight.value, abs=1e-12)
    assert (crooked.low, crooked.high) == pytest.approx((straight.low, straight.high), abs=1e-9)


@pytest.mark.parametrize("metric", MATRIX_METRICS)
def test_the_other_way_round_is_the_opposite(metric: str) -> None:
    a, b = at_random(1, 60, 4), at_random(2, 60, 4, skill=2.0)
    there, back = paired_difference(a, b, metric), paired_difference(b, a, metric)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low), abs=1e-9)


@pytest.mark.parametrize(("alone", "shown"), [(1, False), (3, False), (5, False), (8, True), (20, True)])
def test_a_handful_of_pages_decides_as_the_exact_test_does(alone: int, shown: bool) -> None:
    targets = [0] * 100 + [1] * 100
    # on the last twenty pages both are wrong, each in its own way, which says nothing about accuracy
    a = naming(targets, targets[:180] + [2] * 20, classes=4)
    b = naming(targets, [1] * alone + targets[alone:180] + [3] * 20, classes=4)
    found = paired_difference(a, b, "accuracy")
    assert (found.p_value < 0.05) == shown
    assert (found.low > 0) == shown
    assert found.high > found.low


def test_two_that_agree_everywhere_do_not_differ() -> None:
    a = at_random(1, 50, 4)
    found = paired_difference(a, shuffled(a), "accuracy")
    assert (found.value, found.p_value) == (0.0, 1.0)
    assert -found.low == found.high == wilson(0, 50).high
    assert paired_difference(a, shuffled(a), "log_loss").high == 0.0
    assert sentence(found) == "no significant difference"


def test_groups_make_a_difference_less_certain() -> None:
    a, b = at_random(1, 40, 4), at_random(2, 40, 4)
    rows = np.repeat(np.arange(40), 5)
    ids = np.array([f"p{row}" for row in range(200)])
    loose = paired_difference(*(replace(one.take(rows), ids=ids) for one in (a, b)), "accuracy")
    tied = paired_difference(*(replace(one.take(rows), ids=ids, groups=rows.astype(str)) for one in (a, b)), "accuracy")
    assert tied.high - tied.low > 1.7 * (loose.high - loose.low)


def test_pages_that_either_could_not_read_are_left_out() -> None:
    a, b = at_random(1, 30, 4), at_random(2, 30, 4)
    unread = b.log_probs.copy()
    unread[3] = np.nan
    found = paired_difference(a, replace(b, log_probs=unread), "accuracy")
    keep = np.delete(np.arange(30), 3)
    assert found == paired_difference(a.take(keep), b.take(keep), "accuracy")


def test_mcnemar_is_the_exact_sign_test() -> None:
    targets = np.zeros(50, dtype=int)
    a = naming(targets, [1] * 2 + [0] * 48, classes=2)
    b = naming(targets, [0] * 40 + [1] * 10, classes=2)
    assert mcnemar(a, b) == pytest.approx(binomtest(10, 12).pvalue)
    assert mcnemar(a, b) == pytest.approx(2 * (66 + 12 + 1) / 2**12)


def test_mcnemar_of_groups_turns_them_over_as_a_whole() -> None:
    targets = np.zeros(50, dtype=int)
    a, b = naming(targets, [0] * 50, classes=2), naming(targets, [1] * 12 + [0] * 38, classes=2)
    loose = mcnemar(a, b)
    assert loose == pytest.approx(2 / 2**12)
    groups = np.repeat([0, 1, 2, 3, 4], [4, 4, 3, 1, 38]).astype(str)
    tied = mcnemar(replace(a, groups=groups), replace(b, groups=groups))
    assert tied == pytest.approx(2 / 2**4)
    alone = np.arange(50).astype(str)
    assert mcnemar(replace(a, groups=alone), replace(b, groups=alone)) == pytest.approx(loose)


def test_mcnemar_of_groups_by_enumeration() -> None:
    rng = np.random.default_rng(0)
    targets, groups = np.zeros(60, dtype=int), np.sort(rng.integers(0, 10, 60)).astype(str)
    named = rng.random(60) < 0.3, rng.random(60) < 0.6
    a, b = (replace(naming(targets, one.astype(int), classes=2), groups=groups) for one in named)
    ahead = (a.predicted() == 0).astype(int) - (b.predicted() == 0)
    lead = np.array([ahead[groups == name].sum() for name in np.unique(groups)])
    sums = np.array(list(product((-1, 1), repeat=len(lead)))) @ np.abs(lead)
    assert mcnemar(a, b) == pytest.approx((np.abs(sums) >= abs(lead.sum())).mean())
    assert mcnemar(a, b) > 2 * mcnemar(replace(a, groups=None), replace(b, groups=None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.take(np.arange(5)), "member 2 has no prediction for 1 of 6 pages: page5.jpg"),
        (
            lambda p: replace(p, class_names=("class 0", "class 1", "other")),
            "different classes: only member 1 knows class 2; only member 2 knows other",
        ),
        (
            lambda p: replace(p, targets=(p.targets + 1) % 3),
            "member 2 was given other labels than the members before it, for 6 pages: page0.jpg",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(change, message: str) -> None:
    a = naming([0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, 1], classes=3)
    with pytest.raises(InputError, match=message):
        paired_difference(a, change(a))


def test_an_unknown_metric_lists_the_known_ones() -> None:
    a = at_random(1, 10, 4)
    with pytest.raises(InputError, match="'ece'") as caught:
        paired_difference(a, a, "ece")
    assert "f1_macro" in caught.value.hint
    assert "top3_accuracy" in caught.value.hint


def test_align_needs_no_labels() -> None:
    a = replace(at_random(1, 10, 4), targets=None)
    first, second = align((a, shuffled(at_random(1, 10, 4))))
    np.testing.assert_array_equal(first.log_probs, second.log_probs)
    assert first.class_names == second.class_names


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Difference("f1_macro", 0.0123, 0.003, 0.0214, 500), "better by 1.2 points of macro-F1, 95 % 0.3 … 2.1"),
        (Difference("f1_macro", -0.0123, -0.0214, -0.003, 500), "worse by 1.2 points of macro-F1, 95 % 0.3 … 2.1"),
        (Difference("log_loss", -0.05, -0.08, -0.02, 500), "better by 0.050 of log loss, 95 % 0.020 … 0.080"),
        (Difference("top3_accuracy", 0.01, -0.01, 0.03, 500), "no significant difference"),
    ],
)
def test_sentences(difference: Difference, words: str) -> None:
    assert sentence(difference) == words
