from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.ensembling.alignment import Stack, common_held_out_rows
from docclf_cli.errors import InputError
from docclf_cli.results.predictions import Predictions

A = Predictions(
    ids=np.array(["p1", "p2", "p3"]),
    log_probs=np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]], dtype=np.float32)),
    class_names=("form", "id", "receipt"),
    targets=np.array([0, 1, -1]),
    status=np.array(["", "", ""]),
    fingerprint={"checkpoint": "a", "data": "val", "view": "plain"},
)


def of(member: Predictions, checkpoint: str) -> Predictions:
    return replace(member, fingerprint={**member.fingerprint, "checkpoint": checkpoint})


def with_classes(member: Predictions, names: tuple[str, ...]) -> Predictions:
    """The same predictions with the class axis in another order."""
    columns = [member.class_names.index(name) for name in names]
    old = member.targets
    targets = np.array([-1 if t < 0 else names.index(member.class_names[t]) for t in old])
    return replace(member, log_probs=member.log_probs[:, columns], class_names=names, targets=targets)


@given(st.permutations(A.class_names), st.permutations(range(3)))
def test_classes_are_matched_by_name_and_pages_by_id(names: list[str], rows: list[int]) -> None:
    other = of(with_classes(A, tuple(names)), "b").take(rows)
    stack = Stack.of([A, other])
    np.testing.assert_array_equal(stack.log_probs[0], stack.log_probs[1])
    np.testing.assert_array_equal(stack.log_probs[0], A.log_probs.astype(float))
    assert stack.class_names == A.class_names
    assert stack.ids.tolist() == ["p1", "p2", "p3"]
    assert stack.targets.tolist() == [0, 1, -1]


def test_wanted_pages_come_in_the_wanted_order() -> None:
    stack = Stack.of([A, of(A, "b").take([2, 0, 1])], ids=["p3", "p1"])
    np.testing.assert_array_equal(stack.log_probs, A.log_probs[[2, 0]][None].repeat(2, 0).astype(float))
    assert stack.targets.tolist() == [-1, 0]


def test_the_order_of_members_is_that_of_their_fingerprints_on_every_split() -> None:
    members = [of(A, name) for name in "abcdef"]
    stack, reverse = Stack.of(members), Stack.of(members[::-1])
    assert stack.keys == reverse.keys == tuple(sorted(stack.keys))
    assert stack.order == tuple(5 - position for position in reverse.order)
    test_split = [replace(m, fingerprint={**m.fingerprint, "data": "test"}) for m in members]
    assert Stack.of(test_split).order == stack.order


def test_a_label_one_member_lacks_comes_from_another() -> None:
    knows = replace(of(A, "b"), targets=np.array([-1, 1, 2]))
    assert Stack.of([A, knows]).targets.tolist() == [0, 1, 2]
    assert Stack.of([replace(A, targets=None), knows]).targets.tolist() == [-1, 1, 2]
    assert Stack.of([replace(A, targets=None), replace(knows, targets=None)]).targets is None


def test_an_unreadable_page_keeps_its_row_and_its_reason() -> None:
    unread = A.log_probs.copy()
    unread[1] = np.nan
    stack = Stack.of([A, replace(of(A, "b"), log_probs=unread, status=np.array(["", "truncated", ""]))])
    assert stack.status.tolist() == ["", "truncated", ""]
    assert np.isnan(stack.log_probs).any(axis=(0, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (of(replace(A, class_names=("form", "id", "letter")), "b"), "only first knows receipt; only second knows letter"),
        (A, "second and first are the same checkpoint"),
        (of(A, "b").take([0, 1]), "second has no prediction for 1 of 3 pages: p3"),
        (of(replace(A, ids=np.array(["p1", "p2", "p4"])), "b"), "second has no prediction for 1 of 3 pages: p3"),
        (of(replace(A, targets=np.array([0, 2, -1])), "b"), "other labels .* for 1 pages: p2"),
    ],
)  # fmt: skip
def test_members_that_do_not_fit_are_refused(other: Predictions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Stack.of([A, other], names=["first", "second"])


def test_pages_only_a_later_member_has_are_refused_unless_pages_are_named() -> None:
    with pytest.raises(InputError, match="member 2 has predictions for 1 pages that other members do not have: p3"):
        Stack.of([A.take([0, 1]), of(A, "b")])
    assert Stack.of([A.take([0, 1]), of(A, "b")], ids=["p1", "p2"]).ids.tolist() == ["p1", "p2"]


def test_no_members() -> None:
    with pytest.raises(InputError, match="needs members"):
        Stack.of([])


def test_common_held_out_rows() -> None:
    assert common_held_out_rows([A, of(A, "b").take([2, 1]), of(A, "c").take([1, 2, 0])]).tolist() == ["p2", "p3"]
    assert not len(common_held_out_rows([A.take([0]), of(A, "b").take([1])]))


def test_combined_predictions_carry_the_stack() -> None:
    combined = Stack.of([A, of(A, "b")]).predictions(A.log_probs.astype(float), "averaging")
    assert combined.log_probs.dtype == np.float32
    assert combined.fingerprint["combiner"] == "averaging"
    assert combined.fingerprint != Stack.of([A, of(A, "c")]).predictions(A.log_probs, "averaging").fingerprint
