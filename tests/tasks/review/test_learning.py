"""Learning in rounds while people label: what is computed, suggested and asked about first."""

import signal
import threading
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.engine.training import frozen_backbone
from docclf_cli.engine.training.frozen_backbone import FrozenBackbone
from docclf_cli.errors import RemoteError
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.tasks.review.learning import (
    WITHOUT_WEIGHTS,
    Failure,
    FeatureProgress,
    Labels,
    Learning,
    LearningJob,
    Suggestions,
    learn,
)
from docclf_cli.tasks.review.query_order import by_margin, first_order, uncovered
from docclf_cli.tasks.review.queue import ReviewPage

COLOURS = ("red", "green", "blue")


def colour_backbone(class_names: tuple[str, ...] = (), log_probs: Any = None, calls: list[int] | None = None) -> Any:
    """A backbone whose features are the mean colour of a page."""

    def run(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        if calls is not None:
            calls.append(len(images))
        features = images.float().mean(dim=(2, 3)).numpy() / 255
        found = np.empty((len(features), 0)) if log_probs is None else log_probs(features)
        return features, found

    return FrozenBackbone("colours", Preprocess(8), class_names, run)


def draw(folder: Path, each: int) -> tuple[ReviewPage, ...]:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    pages = []
    for number in range(3 * each):
        colour = np.full(3, 60)
        colour[number % 3] = 200
        path = folder / f"{number:03}.png"
        Image.fromarray(np.clip(colour + rng.normal(0, 25, (8, 8, 3)), 0, 255).astype(np.uint8)).save(path)
        pages.append(ReviewPage(path.name, path, folder))
    return tuple(pages)


class Talk:
    """A learning that runs in a thread, and the review's end of its pipe."""

    def __init__(self, pages: tuple[ReviewPage, ...], folder: Path, run: Path | None = None) -> None:
        self.pipe, theirs = Pipe()
        job = LearningJob(pages, folder, run, RuntimeConfig(), 10**6, False)
        self.thread = threading.Thread(target=self._run, args=(theirs, job), daemon=True)
        self.thread.start()

    def _run(self, pipe: Any, job: LearningJob) -> None:
        try:
            Learning(pipe, job).run()
        except (EOFError, ConnectionError):
            return

    def suggestions(self) -> Suggestions:
        """The next ones."""
        while self.pipe.poll(20):
            message = self.pipe.recv()
            if isinstance(message, Suggestions):
                return message
        raise TimeoutError

    def label(self, *names: tuple[int, str]) -> Suggestions:
        self.pipe.send(Labels(tuple(row for row, _ in names), tuple(name for _, name in names)))
        return self.suggestions()

    def close(self) -> None:
        self.pipe.close()
        self.thread.join(10)


@pytest.fixture
def talks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Talk]]:
    started: list[Talk] = []
    monkeypatch.setattr(frozen_backbone, "pretrained_backbone", lambda *_: colour_backbone())
    yield started
    for talk in started:
        talk.close()


def test_labels_become_suggestions_and_classes_may_come_later(tmp_path: Path, talks: list[Talk]) -> None:
    pages = draw(tmp_path / "scans", 12)
    talks.append(talk := Talk(pages, tmp_path))
    first = talk.suggestions()
    assert (first.best == -1).all()
    assert sorted(first.order.tolist()) == list(range(36))
    assert len({row % 3 for row in first.order[:3]}) == 3  # one page that stands for each colour
    one_class = talk.label((0, "red"), (3, "red"))
    assert (one_class.best == -1).all()
    two = talk.label(*((row, COLOURS[row % 3]) for row in (0, 1, 3, 4)))
    names = [two.class_names[best] for best in two.best]
    assert all(names[row] == COLOURS[row % 3] for row in range(36) if row % 3 < 2)
    assert two.labels == 4
    unlabelled = [row for row in two.order if row not in (0, 1, 3, 4)]
    assert two.order[: len(unlabelled)].tolist() == unlabelled
    three = talk.label(*((row, COLOURS[row % 3]) for row in (0, 1, 2, 3, 4, 5)))
    assert [three.class_names[best] for best in three.best] == [COLOURS[row % 3] for row in range(36)]
    assert three.made_by != two.made_by


def test_features_are_computed_once(tmp_path: Path, talks: list[Talk], monkeypatch: pytest.MonkeyPatch) -> None:
    pages, calls = draw(tmp_path / "scans", 8), list[int]()
    monkeypatch.setattr(frozen_backbone, "pretrained_backbone", lambda *_: colour_backbone(calls=calls))
    talks.append(Talk(pages, tmp_path))
    talks[-1].suggestions()
    talks[-1].close()
    assert sum(calls) == 24
    Image.new("RGB", (9, 9), "white").save(pages[5].path)
    talks.append(Talk(pages, tmp_path))
    talks[-1].suggestions()
    assert calls[-1] == 1
    assert sum(calls) == 25


def test_a_page_that_cannot_be_read_comes_last(tmp_path: Path, talks: list[Talk]) -> None:
    pages = draw(tmp_path / "scans", 4)
    pages[4].path.write_bytes(b"nothing")
    talks.append(talk := Talk(pages, tmp_path))
    assert talk.suggestions().order[-1] == 4
    found = talk.label((0, "red"), (1, "green"), (2, "blue"), (4, "green"))  # people may know it all the same
    assert found.best[4] == -1
    assert found.labels == 3


def test_a_run_suggests_at_once_and_learns_a_class_that_it_lacks(
    tmp_path: Path, talks: list[Talk], monkeypatch: pytest.MonkeyPatch
) -> None:
    def log_probs(features: np.ndarray) -> np.ndarray:
        logits = 10 * features[:, :2]
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    backbone = colour_backbone(("red", "green"), log_probs)
    monkeypatch.setattr(frozen_backbone, "trained_backbone", lambda *_: backbone)
    pages = draw(tmp_path / "scans", 8)
    talks.append(talk := Talk(pages, tmp_path, tmp_path / "run"))
    first = talk.suggestions()
    assert [first.class_names[best] for best in first.best[:2]] == ["red", "green"]
    assert (first.labels, first.made_by) == (0, "colours")
    later = talk.label(*((row, COLOURS[row % 3]) for row in range(9)))
    assert later.class_names == ("red", "green", "blue")
    assert [later.class_names[best] for best in later.best] == [COLOURS[row % 3] for row in range(24)]


def test_weights_out_of_reach_are_said_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> FrozenBackbone:
        raise RemoteError("the hub cannot be reached", "use another --model")

    monkeypatch.setattr(frozen_backbone, "pretrained_backbone", unreachable)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ours, theirs = Pipe()
    learn(theirs, LearningJob(draw(tmp_path / "scans", 1), tmp_path, None, RuntimeConfig(), 10**6, False))
    assert ours.recv() == Failure("the hub cannot be reached", WITHOUT_WEIGHTS)


def test_progress_names_all_pages(tmp_path: Path, talks: list[Talk]) -> None:
    talks.append(talk := Talk(draw(tmp_path / "scans", 6), tmp_path))
    messages = [talk.pipe.recv() for _ in range(3)]
    assert messages[:2] == [FeatureProgress(16, 18), FeatureProgress(18, 18)]


def test_pages_unlike_all_labelled_ones_stand_for_clusters_and_large_ones_come_first() -> None:
    rng = np.random.default_rng(0)
    sizes = (60, 30, 10)
    centres = np.eye(3) * 10
    features = np.concatenate([centres[label] + rng.normal(0, 0.5, (size, 3)) for label, size in enumerate(sizes)])
    cluster, labelled = np.repeat(range(3), sizes), np.zeros(100, bool)
    assert cluster[uncovered(features, labelled, 3)].tolist() == [0, 1, 2]
    assert uncovered(features[:2], labelled[:2], 3).tolist() == [0, 1]
    labelled[5] = True  # of the largest cluster
    assert cluster[uncovered(features, labelled, 2)].tolist() == [1, 2]
    assert sorted(first_order(50).tolist()) == list(range(50))


def test_kinds_without_a_label_come_before_uncertain_pages(tmp_path: Path, talks: list[Talk]) -> None:
    pages = draw(tmp_path / "scans", 30)
    for number in range(2, 90, 3):  # scarlet pages, which are red beyond doubt to who knows red and green
        Image.new("RGB", (8, 8), (255 - number % 9, 20, 20)).save(pages[number].path)
    labels = [(row, COLOURS[row % 3]) for row in range(75) if row % 3 < 2]
    talks.append(talk := Talk(pages, tmp_path))
    talk.suggestions()
    few = talk.label(*labels[:20])
    assert few.order[0] % 3 == 2
    assert few.confidence[few.order[0]] > few.confidence[few.order[:40]].min()
    many = talk.label(*labels)
    assert many.confidence[many.order[0]] == many.confidence[many.order[:40]].min()


def test_small_margins_come_first_and_classes_take_turns() -> None:
    probabilities = np.array([[0.9, 0.1], [0.55, 0.45], [0.2, 0.8], [0.4, 0.6]])
    assert by_margin(np.log(probabilities)).tolist() == [1, 3, 2, 0]
