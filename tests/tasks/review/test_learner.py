"""When rounds start, and what the session gets of them; the process itself is stood in for by a thread."""

import contextlib
import json
import logging
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from docclf_cli.events import Progress
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.tasks.review import learner as module
from docclf_cli.tasks.review.learner import Learner
from docclf_cli.tasks.review.learning import Failure, FeatureProgress, Labels, LearningJob, Suggestions
from docclf_cli.tasks.review.queue import PAGES, UNCERTAIN, ReviewItem, ReviewPage, ReviewQueue
from docclf_cli.tasks.review.session import ReviewSession

PAGES_IN_ALL = 60


class _Thread(threading.Thread):
    """A thread that is started, and killed, as a process is."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], daemon: bool) -> None:
        self.pipe = Connection(os.dup(args[0].fileno()))
        self.socket = socket.socket(fileno=os.dup(args[0].fileno()))
        super().__init__(target=target, args=(self.pipe, *args[1:]), daemon=daemon)

    def kill(self) -> None:
        with contextlib.suppress(OSError):  # it was killed before
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Context:
    """Stands for `multiprocessing`."""

    Pipe = staticmethod(multiprocessing.Pipe)
    Process = _Thread


@pytest.fixture
def session(tmp_path: Path) -> ReviewSession:
    items = []
    for number in range(PAGES_IN_ALL):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (4, 4)).save(path)
        items.append(ReviewItem(path.name, PAGES, (ReviewPage(path.name, path, tmp_path),)))
    return ReviewSession(ReviewQueue(tmp_path, tuple(items), ("form", "letter")), tmp_path / "review")


@pytest.fixture
def start(session: ReviewSession, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Learner]]:
    """A learner whose process answers labels by suggesting `letter` for all pages."""
    received: list[Labels] = []
    started: list[Learner] = []

    def answer(pipe: Any, job: LearningJob) -> None:
        try:
            pipe.send(FeatureProgress(PAGES_IN_ALL, PAGES_IN_ALL))
            while True:
                labels = pipe.recv()
                received.append(labels)
                ones = np.ones(PAGES_IN_ALL)
                count = len(labels.rows)
                order = np.arange(PAGES_IN_ALL)[::-1]
                pipe.send(
                    Suggestions(
                        labels.number, count, 0.1, f"fit {count}", ("form", "letter"), ones.astype(int), 0.9 * ones,
                        0 * ones.astype(int), 0.1 * ones, order,
                    )
                )  # fmt: skip
        except (EOFError, OSError):
            return

    def start_(work: Callable[..., None] = answer, run: Path | None = None, **options: Any) -> Learner:
        monkeypatch.setattr(module, "learn", work)
        monkeypatch.setattr(multiprocessing, "get_context", lambda name: Context)
        pages = tuple(item.pages[0] for item in session.queue.items)
        job = LearningJob(pages, session.folder, run, RuntimeConfig(), 10**6, False)
        started.append(Learner(session, job, **{"every": 20, "emit": events.append} | options))
        return started[-1]

    events: list[object] = []
    start_.received, start_.events = received, events  # type: ignore[attr-defined]
    yield start_
    for learner in started:
        learner.close()


def label(session: ReviewSession, learner: Learner, count: int) -> None:
    for _ in range(count):
        (item,) = session.next_items("tab", 1, UNCERTAIN)
        number = session.progress().decided
        session.decide("tab", item.key, item.key, "label", label=("form", "letter")[number % 2])
        learner.notice()
    until(lambda: not learner.state().fitting)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_round_after_ten_labels_and_then_after_every_twenty(
    session: ReviewSession, start: Callable[..., Learner], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("docclf").propagate = True
    learner = start()
    assert learner.state().missing == 10
    with caplog.at_level(logging.INFO, logger="docclf"):
        label(session, learner, 9)
        assert (learner.state().round, learner.state().missing) == (0, 1)
        label(session, learner, 1)
        assert (learner.state().round, learner.state().labels, learner.state().missing) == (1, 10, 20)
        label(session, learner, 19)
        assert learner.state().round == 1
        label(session, learner, 1)
    assert learner.state().round == 2
    assert [len(labels.rows) for labels in start.received] == [10, 30]  # type: ignore[attr-defined]
    assert "round 2: learned from 30 labels of 2 classes" in caplog.text
    (item,) = session.next_items("tab", 1, UNCERTAIN)
    waiting = [number for number in range(PAGES_IN_ALL) if f"{number}.png" not in session.decisions]
    assert (item.key, item.suggested, item.suggested_by) == (f"{waiting[-1]}.png", "letter", "fit 30")
    assert [event["model"] for event in _events(session) if event["kind"] == "round"] == ["fit 10", "fit 30"]
    assert start.events == [Progress("computing features", PAGES_IN_ALL, PAGES_IN_ALL)]  # type: ignore[attr-defined]


def test_labels_of_an_earlier_review_are_learned_from_at_once(
    session: ReviewSession, start: Callable[..., Learner]
) -> None:
    for number in range(12):
        (item,) = session.next_items("tab", 1, UNCERTAIN)
        session.decide("tab", item.key, item.key, "label", label=("form", "letter")[number % 2])
    learner = start()
    until(lambda: learner.state().round == 1)
    assert learner.state().labels == 12


def test_with_a_run_the_first_round_takes_as_many_labels_as_the_others(
    session: ReviewSession, start: Callable[..., Learner], tmp_path: Path
) -> None:
    learner = start(run=tmp_path, every=15)
    assert learner.state().missing == 15


def test_labelling_goes_on_where_nothing_is_learned(
    session: ReviewSession, start: Callable[..., Learner], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(pipe: Any, job: LearningJob) -> None:
        pipe.send(Failure("no weights", "install them"))

    logging.getLogger("docclf").propagate = True
    with caplog.at_level(logging.WARNING, logger="docclf"):
        learner = start(fail)
        until(lambda: bool(learner.state().failure))
        label(session, learner, 12)
    assert learner.state().failure == "no weights"
    assert "nothing is learned, and labelling goes on: no weights (install them)" in caplog.text
    assert session.progress().decided == 12


def test_one_class_is_nothing_to_choose_from(session: ReviewSession, start: Callable[..., Learner]) -> None:
    learner = start()
    for number in range(13):
        (item,) = session.next_items("tab", 1, UNCERTAIN)
        session.decide("tab", item.key, item.key, "label", label="letter" if number == 12 else "form")
        learner.notice()
        assert learner.state().missing == (20 if number == 12 else max(1, 9 - number))
    until(lambda: learner.state().round == 1)


def test_a_process_that_dies_is_noticed(session: ReviewSession, start: Callable[..., Learner]) -> None:
    learner = start()
    learner._process.kill()
    until(lambda: "was killed" in learner.state().failure)


def _events(session: ReviewSession) -> list[dict[str, Any]]:
    return [json.loads(line) for line in session.journal.path.read_text().splitlines()]
