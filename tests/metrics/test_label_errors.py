"""Confident learning, against values worked out by hand and against planted errors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.metrics.label_errors import confident_joint, find_label_issues
from docclf_cli.results.predictions import Predictions


def of(probs: list[list[float]], labels: list[int]) -> Predictions:
    table = np.log(np.array(probs, dtype=np.float32))
    ids, names = np.arange(len(probs)).astype(str), tuple("abc"[: table.shape[1]])
    return Predictions(ids, table, names, np.array(labels, dtype=np.int64))


def test_values_by_hand() -> None:
    # Usual confidence: a (.9 + .8 + .1) / 3 = .6, b (.7 + .9 + .6) / 3 = .733
    probs = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.1, 0.9], [0.4, 0.6]]
    labels = [0, 0, 0, 1, 1, 1]
    joint = confident_joint(np.array(probs), np.array(labels))
    assert joint.tolist() == [[2, 1], [0, 1]]  # pages 3 and 5 reach neither
    found = find_label_issues(of(probs, labels))
    assert (found.rows.tolist(), found.suggested.tolist()) == ([2], [1])
    assert found.expected == pytest.approx(1)  # a: 3 pages, a third of them; b: none


def test_the_least_probable_label_comes_first_and_only_contradicted_ones() -> None:
    probs = [[0.97, 0.03]] * 8 + [[0.02, 0.98]] * 8 + [[0.015, 0.985], [0.01, 0.99]]
    labels = [0] * 8 + [1] * 8 + [0, 0]
    found = find_label_issues(of(probs, labels))
    assert found.rows.tolist() == [17, 16]
    assert found.suggested.tolist() == [1, 1]


def test_a_hard_page_is_no_issue() -> None:
    """The label and the suggested class are about equally probable: a person would have to guess as well."""
    probs = [[0.9, 0.1]] * 6 + [[0.4, 0.6]] * 8 + [[0.38, 0.62], [0.1, 0.9]]
    labels = [0] * 6 + [1] * 8 + [0, 0]
    assert find_label_issues(of(probs, labels), margin=0).rows.tolist() == [15, 14]
    assert find_label_issues(of(probs, labels)).rows.tolist() == [15]


def test_the_expected_number_has_an_interval_that_knows_of_groups() -> None:
    probs = [[0.9, 0.1]] * 40 + [[0.1, 0.9]] * 40 + [[0.05, 0.95]] * 8
    labels = [0] * 40 + [1] * 40 + [0] * 8
    single = of(probs, labels)
    found = find_label_issues(single)
    assert 0 < found.low < found.expected < found.high < 25
    groups = np.array([*map(str, range(80)), *["same"] * 8])
    grouped = find_label_issues(replace(single, groups=groups))
    assert grouped.expected == found.expected
    assert grouped.high - grouped.low > found.high - found.low  # eight copies of one page say less than eight pages


def test_a_class_without_pages_is_no_suggestion() -> None:
    found = find_label_issues(of([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], [0, 0, 0]))
    assert len(found.rows) == 0


def test_unreadable_and_unlabelled_pages_keep_their_rows() -> None:
    probs = [[np.nan, np.nan], [0.5, 0.5], *[[0.95, 0.05]] * 5, *[[0.05, 0.95]] * 5, [0.03, 0.97]]
    found = find_label_issues(of(probs, [0, -1, *[0] * 5, *[1] * 5, 0]))
    assert found.rows.tolist() == [12]


def test_planted_errors_are_found() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 600)
    logits = np.exp(np.eye(3)[true] * 6 + rng.normal(0, 1, (600, 3)))
    probs = logits / logits.sum(axis=1, keepdims=True)
    given_ = true.copy()
    swapped = rng.choice(600, 30, replace=False)
    given_[swapped] = (true[swapped] + 1) % 3
    found = find_label_issues(of(probs.tolist(), given_.tolist()))
    assert set(found.rows.tolist()) <= set(swapped.tolist())
    assert len(found.rows) >= 20
    assert (found.suggested == true[found.rows]).all()
    assert found.expected == pytest.approx(30, abs=12)


@given(st.integers(2, 40), st.integers(2, 4), st.integers(0, 10_000))
def test_a_doubted_label_is_never_the_predicted_one(pages: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs, labels = rng.dirichlet(np.ones(classes), pages), rng.integers(0, classes, pages)
    names = tuple(map(str, range(classes)))
    predictions = Predictions(np.arange(pages).astype(str), np.log(probs).astype(np.float32), names, labels)
    found = find_label_issues(predictions)
    assert (found.suggested == probs[found.rows].argmax(axis=1)).all()
    assert (found.suggested != labels[found.rows]).all()
    own = probs[found.rows, labels[found.rows]]
    assert (np.diff(own) >= -1e-7).all()
    assert 0 <= found.expected <= pages
