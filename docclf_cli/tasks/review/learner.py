"""Learning in rounds, as the review sees it: labels go to a process, and its suggestions come back."""

from __future__ import annotations

import logging
import multiprocessing
import threading
from dataclasses import dataclass

from docclf_cli.events import Emit, Progress
from docclf_cli.tasks.review.learning import (
    FEWEST_CLASSES,
    FIRST_LABELS,
    Failure,
    FeatureProgress,
    LearningJob,
    Suggestions,
    labels_of,
    learn,
)
from docclf_cli.tasks.review.query_order import first_order
from docclf_cli.tasks.review.session import ReviewSession, Suggestion

COMPUTING = "computing features"
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class LearningState:
    """How far the learning is.

    Attributes:
        round: How often suggestions were learned from labels in this review; 0 before the first time.
        labels: How many labels the latest ones were learned from.
        missing: How many more labels start the next round.
        done: Pages whose features are computed.
        total: All pages.
        fitting: Whether suggestions from new labels are under way.
        failure: Why nothing more is learned; empty while it is.
    """

    round: int
    labels: int
    missing: int
    done: int
    total: int
    fitting: bool = False
    failure: str = ""


class Learner:
    """Starts the process, gives it the labels after every so many decisions, and the session what it suggests.

    Args:
        session: The review.
        job: What to learn.
        every: How many new labels start a round.
        emit: Consumer of progress events.
    """

    def __init__(self, session: ReviewSession, job: LearningJob, every: int, emit: Emit) -> None:
        self._session, self._every, self._emit = session, every, emit
        self._from_run = job.run is not None
        self._lock = threading.Lock()
        self._sent = -1  # decisions at the latest round; -1 before the first
        self._asked, self._answered = 0, 0  # messages with labels
        self._closing = False
        self._learned, self._done, self._total, self._failure = 0, 0, len(job.pages), ""
        session.offer({}, first_order(len(job.pages)).tolist())
        context = multiprocessing.get_context("spawn")  # a forked process could wait for threads that it has not got
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=learn, args=(theirs, job), daemon=True)
        self._process.start()
        theirs.close()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.notice()

    def notice(self) -> None:
        """Start a round where enough has been decided since the latest one."""
        with self._lock:
            if self._missing() > 0:
                return
            self._sent, names = self._session.labels_of_pages()
            self._asked += 1
            try:
                self._pipe.send(labels_of(names, self._asked))
            except (OSError, ValueError):  # the process has ended, and has said why
                return

    def _missing(self) -> int:
        """How many more labels start the next round."""
        count, names = self._session.labels_of_pages()
        if self._sent >= 0:
            return self._sent + self._every - count
        if self._from_run:
            return self._every - count
        classes = len({name for name in names if name is not None})
        return max(min(FIRST_LABELS, self._every) - count, FEWEST_CLASSES - classes)

    def state(self) -> LearningState:
        """How far it is."""
        return LearningState(
            round=self._session.rounds,
            labels=self._learned,
            missing=max(0, self._missing()),
            done=self._done,
            total=self._total,
            fitting=self._asked > self._answered and not self._failure,
            failure=self._failure,
        )

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._closing = True
        self._process.kill()
        self._process.join()
        self._thread.join(timeout=5)

    def _listen(self) -> None:
        while True:
            try:
                message = self._pipe.recv()
            except (EOFError, OSError):
                if not self._closing and not self._failure:
                    self._fail("the process that learns was killed: memory may have run out")
                return
            match message:
                case FeatureProgress(done, total):
                    self._done = done
                    self._emit(Progress(COMPUTING, done, total))
                case Failure(text, hint):
                    self._fail(text, hint)
                case Suggestions():
                    self._take(message)

    def _fail(self, text: str, hint: str = "") -> None:
        self._failure = text
        logger.warning("nothing is learned, and labelling goes on: %s%s", text, f" ({hint})" if hint else "")

    def _take(self, found: Suggestions) -> None:
        if found.labels and found.labels != self._learned:
            number = self._session.start_round(found.labels, found.made_by)
            logger.info(
                "round %d: learned from %d labels of %d classes in %.1f s",
                number, found.labels, len(found.class_names), found.seconds,
            )  # fmt: skip
        self._learned = found.labels
        items, names = self._session.queue.items, found.class_names
        suggestions = {
            items[row].key: Suggestion(
                names[best],
                float(found.confidence[row]),
                names[found.runner_up[row]] if found.runner_up[row] >= 0 else None,
                float(found.runner_up_confidence[row]) if found.runner_up[row] >= 0 else None,
                found.made_by,
            )
            for row, best in enumerate(found.best.tolist())
            if best >= 0
        }
        self._session.offer(suggestions, found.order.tolist())
        self._answered = found.number
