"""The journal, the leases and the session: everything of a review but the web."""

import csv
import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from docclf_cli.errors import InputError, ResourceError
from docclf_cli.journal import Journal
from docclf_cli.tasks.review.leases import LEASE_SECONDS
from docclf_cli.tasks.review.queue import (  # fmt: skip
    BY_CLASS,
    BY_FILE,
    DUPLICATES,
    PAGES,
    UNCERTAIN,
    ReviewItem,
    ReviewPage,
    ReviewQueue,
    ordered,
)
from docclf_cli.tasks.review.session import RefusedDecision, ReviewSession, Suggestion

CLASSES = ("form", "letter")


def _items(folder: Path, suggestions: list[tuple[str, float]]) -> tuple[ReviewItem, ...]:
    items = []
    for number, (label, confidence) in enumerate(suggestions):
        path = folder / f"page-{number}.png"
        Image.new("RGB", (8, 10), (number, 0, 0)).save(path)
        page = ReviewPage(path.name, path, folder)
        items.append(ReviewItem(f"item-{number}", PAGES, (page,), label, confidence, None, 1 - confidence))
    return tuple(items)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path) -> ReviewQueue:
    suggestions = [("form", 0.9), ("form", 0.55), ("letter", 0.8), ("letter", 0.6)]
    return ReviewQueue(tmp_path, _items(tmp_path, suggestions), CLASSES)


def _session(queue: ReviewQueue, tmp_path: Path, clock: Clock) -> ReviewSession:
    return ReviewSession(queue, tmp_path / "review", clock=clock)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_uncertain_pages_come_first_and_classes_take_turns(queue: ReviewQueue) -> None:
    assert ordered(queue.items, UNCERTAIN) == [1, 3, 2, 0]
    assert ordered(queue.items, BY_CLASS) == [0, 1, 2, 3]
    assert ordered(queue.items, BY_FILE) == [0, 1, 2, 3]


def test_of_many_alike_pages_no_class_comes_alone(tmp_path: Path) -> None:
    pages = _items(tmp_path, [("form", 0.5)] * 5 + [("letter", 0.9)] * 5)
    suggested = [pages[row].suggested for row in ordered(pages, UNCERTAIN)]
    assert suggested[:4].count("letter") == 2


def test_a_decision_is_on_the_disk_when_it_is_taken(queue: ReviewQueue, tmp_path: Path, clock: Clock) -> None:
    session = _session(queue, tmp_path, clock)
    (item,) = session.next_items("tab", 1, BY_FILE)
    session.decide("tab", "d1", item.key, "label", label="letter", who="kim")
    lines = (tmp_path / "review" / "journal.jsonl").read_text().splitlines()  # the session is still open
    assert json.loads(lines[-1])["label"] == "letter"
    session.write_results()
    (row,) = _rows(tmp_path / "review" / "review_labels.csv")
    assert (row["ID"], row["target"], row["suggested"], row["who"]) == ("page-0.png", "letter", "form", "kim")
    assert float(row["confidence"]) == 0.9


def test_two_tabs_never_get_the_same_page(queue: ReviewQueue, tmp_path: Path, clock: Clock) -> None:
    session = _session(queue, tmp_path, clock)
    one = {item.key for item in session.next_items("one", 2, UNCERTAIN)}
    other = {item.key for item in session.next_items("other", 4, UNCERTAIN)}
    assert len(one) == len(other) == 2
    assert not one & other
    with pytest.raises(RefusedDecision, match="with somebody else"):
        session.decide("other", "d1", min(one), "label", label="form")
    clock.now = LEASE_SECONDS + 1
    assert len(session.next_items("other", 4, UNCERTAIN)) == 4  # the first tab was silent too long


def test_a_decision_that_is_sent_twice_counts_once(queue: ReviewQueue, tmp_path: Path, clock: Clock) -> None:
    session = _session(queue, tmp_path, clock)
    (item,) = session.next_items("tab", 1, BY_FILE)
    for _ in range(2):
        session.decide("tab", "d1", item.key, "label", label="form")
    assert session.progress().decided == 1
    assert len((tmp_path / "review" / "journal.jsonl").read_text().splitlines()) == 1
    with pytest.raises(RefusedDecision, match="has decided"):
        session.decide("tab", "d2", item.key, "label", label="letter")


def test_undo_gives_the_page_back(queue: ReviewQueue, tmp_path: Path, clock: Clock) -> None:
    session = _session(queue, tmp_path, clock)
    (item,) = session.next_items("tab", 1, BY_FILE)
    session.decide("tab", "d1", item.key, "label", label="form")
    assert session.undo("tab", "d1") == item
    assert session.progress().decided == 0
    session.write_results()
    assert _rows(tmp_path / "review" / "review_labels.csv") == []
    session.decide("tab", "d2", item.key, "unknown")
    session.journal.close()
    again = _session(queue, tmp_path, clock)
    assert [one.answer for one in again.decisions.values()] == ["unknown"]


def test_skipped_pages_come_last_and_a_new_class_stays(queue: ReviewQueue, tmp_path: Path, clock: Clock) -> None:
    session = _session(queue, tmp_path, clock)
    (item,) = session.next_items("tab", 1, BY_FILE)
    session.decide("tab", "d1", item.key, "skip")
    assert session.add_class(" 영수증 ") == "영수증"
    session.journal.close()
    again = _session(queue, tmp_path, clock)
    assert [one.key for one in again.next_items("tab", 4, BY_FILE)] == ["item-1", "item-2", "item-3", "item-0"]
    assert again.class_names == ["form", "letter", "영수증"]
    for bad in ("", "  ", "a\nb", "x" * 81):
        with pytest.raises(RefusedDecision):
            again.add_class(bad)


def test_what_a_crash_cut_short_is_no_decision(queue: ReviewQueue, tmp_path: Path, clock: Clock) -> None:
    session = _session(queue, tmp_path, clock)
    for item in session.next_items("tab", 2, BY_FILE):
        session.decide("tab", item.key, item.key, "label", label="form")
    session.journal.close()
    path = tmp_path / "review" / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    again = _session(queue, tmp_path, clock)
    assert list(again.decisions) == ["item-0"]
    (item,) = again.next_items("tab", 1, BY_FILE)
    again.decide("tab", "new", item.key, "label", label="letter")
    again.journal.close()
    assert list(_session(queue, tmp_path, clock).decisions) == ["item-0", "item-1"]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text('{"kind": "class", "name": "a"}\nnonsense\n{}\n')
    with pytest.raises(InputError, match=r"journal.jsonl, line 2: damaged"):
        Journal(tmp_path / "journal.jsonl")


def test_a_decision_that_does_not_fit_on_the_disk_is_none(queue: ReviewQueue, tmp_path: Path, clock: Clock) -> None:
    session = _session(queue, tmp_path, clock)
    first, second = session.next_items("tab", 2, BY_FILE)
    session.decide("tab", "d1", first.key, "label", label="form")
    path = tmp_path / "review" / "journal.jsonl"
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))  # a part of the line fits
    try:
        with pytest.raises(ResourceError, match="cannot be written"):
            session.decide("tab", "d2", second.key, "label", label="form")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(session.decisions) == [first.key]
    session.decide("tab", "d2", second.key, "label", label="form")  # the same decision, sent again
    assert len(path.read_text().splitlines()) == 2


def test_a_page_that_changed_is_looked_at_again(queue: ReviewQueue, tmp_path: Path, clock: Clock) -> None:
    session = _session(queue, tmp_path, clock)
    first, second = session.next_items("tab", 2, BY_FILE)
    session.decide("tab", "d1", first.key, "label", label="form")
    Image.new("RGB", (9, 9)).save(second.pages[0].path)
    session.next_items("tab", 2, BY_FILE)  # a tab that only renews its leases shows nothing anew
    with pytest.raises(RefusedDecision, match="has changed"):
        session.decide("tab", "d2", second.key, "label", label="form")
    session.decide("tab", "d3", second.key, "label", label="form")  # after it was looked at again
    os.utime(first.pages[0].path, (1, 1))
    session.journal.close()
    again = _session(queue, tmp_path, clock)
    assert again.changed == ["page-0.png"]
    assert list(again.decisions) == [second.key]


def test_near_duplicates_get_one_label_or_are_taken_apart(tmp_path: Path, clock: Clock) -> None:
    pages = [item.pages[0] for item in _items(tmp_path, [("form", 0.5)] * 5)]
    sets = (
        ReviewItem("a", DUPLICATES, (pages[0], pages[1]), "form"),
        ReviewItem("b", DUPLICATES, (pages[2], pages[3]), "form"),
    )
    groups = tuple((f"page-{number}.png", group) for number, group in enumerate(["x", "x", "y", "y", "page z"]))
    session = ReviewSession(ReviewQueue(tmp_path, sets, CLASSES, groups=groups), tmp_path / "review", clock=clock)
    session.next_items("tab", 2, BY_FILE)
    session.decide("tab", "d1", "a", "label", label="letter", same=True)
    session.decide("tab", "d2", "b", "unknown", same=False)
    session.write_results()
    labels = {row["ID"]: row["target"] for row in _rows(tmp_path / "review" / "review_labels.csv")}
    assert labels == {"page-0.png": "letter", "page-1.png": "letter"}
    found = {row["ID"]: row["group"] for row in _rows(tmp_path / "review" / "review_groups.csv")}
    assert found["page-0.png"] == found["page-1.png"] == "x"
    assert len({found[f"page-{number}.png"] for number in (2, 3, 4)}) == 3


def test_the_pace_leaves_pauses_out(queue: ReviewQueue, tmp_path: Path, clock: Clock) -> None:
    session = _session(queue, tmp_path, clock)
    for item, now in zip(session.next_items("tab", 4, BY_FILE)[:3], (0.0, 2.0, 1000.0), strict=True):
        clock.now = now
        session.next_items("tab", 4, BY_FILE)
        session.decide("tab", item.key, item.key, "label", label="form")
    progress = session.progress()
    assert (progress.decided, progress.seconds_each, progress.seconds_left) == (3, 2.0, 2.0)


def test_new_suggestions_leave_the_page_that_somebody_looks_at(
    queue: ReviewQueue, tmp_path: Path, clock: Clock
) -> None:
    session = _session(queue, tmp_path, clock)
    (held,) = session.next_items("tab", 1, UNCERTAIN)
    better = {item.key: Suggestion("letter", 0.7, "form", 0.3, "fit 2") for item in queue.items}
    assert session.start_round(20, "fit 2") == 1
    session.offer(better, [2, 0, 1, 3])
    assert session.next_items("tab", 1, UNCERTAIN) == [held]
    session.decide("tab", "d1", held.key, "label", label="form")
    shown = [held.key]
    while items := session.next_items("tab", 1, UNCERTAIN):
        shown.append(items[0].key)
        assert (items[0].suggested, items[0].confidence) == ("letter", 0.7)
        session.decide("tab", items[0].key, items[0].key, "label", label="letter")
    assert shown == ["item-1", "item-2", "item-0", "item-3"]  # the new order, and no page twice
    made_by = {key: decision.suggested_by for key, decision in session.decisions.items()}
    assert made_by.pop("item-1") is None  # what was suggested when it was shown came from the queue
    assert set(made_by.values()) == {"fit 2"}
    session.journal.close()
    again = _session(queue, tmp_path, clock)
    assert again.rounds == 1
    assert again.decisions == session.decisions
    assert again.labels_of_pages() == (4, ["letter", "form", "letter", "letter"])


def test_a_page_at_hand_gets_its_first_suggestion(tmp_path: Path, clock: Clock) -> None:
    items = tuple(
        replace(item, suggested=None, confidence=None, runner_up_confidence=None)
        for item in _items(tmp_path, [("form", 0.9)] * 2)
    )
    session = _session(ReviewQueue(tmp_path, items, CLASSES), tmp_path, clock)
    (held,) = session.next_items("tab", 1, UNCERTAIN)
    session.offer({item.key: Suggestion("letter", 0.7, None, None, "fit 1") for item in items}, [0, 1])
    (again,) = session.next_items("tab", 1, UNCERTAIN)
    assert (again.key, again.suggested) == (held.key, "letter")
    session.decide("tab", "d1", held.key, "label", label="letter")
    assert session.decisions[held.key].suggested_by == "fit 1"


def test_a_journal_of_an_earlier_docclf_is_read(queue: ReviewQueue, tmp_path: Path, clock: Clock) -> None:
    session = _session(queue, tmp_path, clock)
    (item,) = session.next_items("tab", 1, BY_FILE)
    session.decide("tab", "d1", item.key, "label", label="form")
    session.journal.close()
    path = tmp_path / "review" / "journal.jsonl"
    event = json.loads(path.read_text())
    del event["suggested_by"]
    path.write_text(json.dumps(event) + "\n")
    assert _session(queue, tmp_path, clock).decisions[item.key].suggested_by is None
