import numpy as np
import pytest

from docclf_cli.data.packets.boundary_model import IMAGE, TEXT, Gap
from docclf_cli.tasks.split_packets.parts import UNREAD, PacketGaps, parts_of

NAMES = ("contract", "invoice")
LIMITS = {TEXT: (0.2, 0.8), IMAGE: (0.1, 0.9)}


def packet(*probabilities: float, kind: str = TEXT) -> PacketGaps:
    pages = [np.log([[0.9, 0.1]] * 2)] * (len(probabilities) + 1)
    return PacketGaps("a.pdf", pages, [Gap(one, kind) for one in probabilities], {})


def ranges(found: PacketGaps) -> list[tuple[int | None, int | None, bool]]:
    return [(one.first_page, one.last_page, one.review) for one in parts_of(found, LIMITS, NAMES)]


def test_sure_cuts_and_joins() -> None:
    assert ranges(packet(0.1, 0.9, 0.2)) == [(1, 2, False), (3, 4, False)]
    assert ranges(packet()) == [(1, 1, False)]


def test_each_kind_has_its_limits() -> None:
    assert ranges(packet(0.85)) == [(1, 1, False), (2, 2, False)]
    assert ranges(packet(0.85, kind=IMAGE)) == [(1, 1, True), (2, 2, True)]


def test_an_uncertain_cut_marks_both_sides() -> None:
    first, second, third = parts_of(packet(0.7, 0.95, 0.1), LIMITS, NAMES)
    assert (first.uncertain, second.uncertain, third.uncertain) == ((2,), (2,), ())
    assert first.uncut == second.uncut == (1, 2)
    assert third.uncut == (3, 4)
    assert first.boundaries == pytest.approx(0.7)
    assert third.boundaries == pytest.approx(0.9)


def test_an_uncertain_join_marks_its_document() -> None:
    (one,) = parts_of(packet(0.4), LIMITS, NAMES)
    assert one.review
    assert one.uncertain == (2,)
    assert one.uncut == (1, 2)


def test_no_cut_without_a_limit() -> None:
    never = {TEXT: (-0.5, 1.5)}
    parts = list(parts_of(packet(0.99, 0.01), never, NAMES))
    assert all(part.review and part.uncut == (1, 3) for part in parts)


def test_beside_an_unreadable_page_nothing_is_sure() -> None:
    pages = [np.log([one] * 2) if one else None for one in ([0.9, 0.1], None, [0.9, 0.1], [0.1, 0.9])]
    parts = list(parts_of(PacketGaps("a.pdf", pages, [UNREAD, UNREAD, Gap(0.99, TEXT)], {1: "damaged"}), LIMITS, NAMES))
    assert [(one.first_page, one.last_page, one.review, one.status) for one in parts] == [
        (1, 3, True, "damaged"), (4, 4, False, ""),
    ]  # fmt: skip
    assert [one.predicted for one in parts] == ["contract", "invoice"]
    (alone,) = parts_of(PacketGaps("a.pdf", [None], [], {0: "damaged"}), LIMITS, NAMES)
    assert (alone.predicted, alone.confidence, alone.review) == (None, None, True)


def test_the_class_is_that_of_all_pages_together() -> None:
    other = [0.5, 0.5]  # what is said of a page that is first, and is not, or the other way round
    pages = [np.log([[0.6, 0.4], other]), *(np.log([other, one]) for one in ([0.45, 0.55], [0.45, 0.55], [0.2, 0.8]))]
    (one,) = parts_of(PacketGaps("a.pdf", pages, [Gap(0.0, TEXT)] * 3, {}), LIMITS, NAMES)
    means = np.mean([pages[0][0], *(page[1] for page in pages[1:])], axis=0)
    assert one.predicted == "invoice"
    assert one.confidence == pytest.approx(np.exp(means[1]) / np.exp(means).sum())
