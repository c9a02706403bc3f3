"""The threshold from held-out pages, and the pages that need review."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from docclf_cli.errors import InputError
from docclf_cli.metrics.thresholds import find_threshold
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.evaluate.confidence_threshold import (
    check_target,
    evaluate_threshold,
    threshold_on,
    write_review_queue,
)


def of(confidences: list[float], right: list[bool]) -> Predictions:
    """Pages predicted as class a with these confidences (NaN: unreadable)."""
    first = np.array(confidences)
    probs = np.stack([first, (1 - first) * 0.75, (1 - first) * 0.25], axis=1)
    status = np.array(["" if value == value else "no image" for value in confidences])
    ids = np.array([f"{row}.jpg" for row in range(len(first))])
    targets = np.where(right, 0, 1)
    return Predictions(ids, np.log(probs).astype(np.float32), ("a", "b", "c"), targets, status=status)


def many(pages: int, wrong: int = 0) -> Predictions:
    """The least certain ones are wrong."""
    return of(np.linspace(0.999, 0.6, pages).tolist(), (np.arange(pages) < pages - wrong).tolist())


def test_the_queue_begins_with_what_is_least_certain(tmp_path: Path) -> None:
    pages = of([0.9, 0.6, float("nan"), 0.99, 0.7], [True, False, True, True, True])
    assert write_review_queue(tmp_path / "queue.csv", pages, 1.0, 0.9) == 3
    with (tmp_path / "queue.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["ID"] for row in rows] == ["2.jpg", "1.jpg", "4.jpg"]
    assert (rows[0]["prediction"], rows[0]["status"], rows[0]["target"]) == ("", "no image", "a")
    assert [rows[1][name] for name in ("prediction", "confidence", "runner_up", "target")] == [
        "a",
        "0.600000",
        "b",
        "b",
    ]
    assert float(rows[1]["runner_up_confidence"]) == pytest.approx(0.3)


def test_the_queue_is_at_the_temperature_of_the_model(tmp_path: Path) -> None:
    pages = of([0.9, 0.8], [True, True])
    assert write_review_queue(tmp_path / "queue.csv", pages, 2.0, 0.8) == 2
    assert write_review_queue(tmp_path / "queue.csv", pages, 0.5, 0.8) == 0
    assert (tmp_path / "queue.csv").read_text().startswith("ID,prediction,")


def test_every_page_goes_to_a_person_without_a_threshold(tmp_path: Path) -> None:
    found = evaluate_threshold(
        many(50), None, many(7), target=0.99, temperature=1.0, chosen_on_split=False, folder=tmp_path
    )
    assert (found.held_out.value, found.on_split, found.needs_review) == (None, None, 7)


def test_other_pages_check_the_threshold(tmp_path: Path) -> None:
    found = evaluate_threshold(
        many(400, wrong=40),
        None,
        many(100, wrong=30),
        target=0.9,
        temperature=1.0,
        chosen_on_split=False,
        folder=tmp_path,
    )
    assert found.on_split is not None
    assert found.on_split.value == found.held_out.value
    assert found.on_split.pages == 100
    assert found.needs_review == 100 - found.on_split.decided
    assert found.on_split.never == ("b",)


def test_clean_and_degraded_pages_choose_together() -> None:
    clean, degraded = many(200), many(200, wrong=120)
    apart, together = find_threshold(clean, 0.9), threshold_on(clean, degraded, 0.9, 1.0)
    assert apart.value is not None
    assert together.value is not None
    assert together.value > apart.value
    assert (together.pages, threshold_on(clean, None, 0.9, 1.0).pages) == (400, 200)


def test_a_page_and_its_degraded_copy_are_one_trial() -> None:
    short, enough = many(298), many(299)
    assert threshold_on(short, short, 0.99, 1.0).value is None
    assert threshold_on(short, short, 0.99, 1.0).more_pages == find_threshold(short, 0.99).more_pages
    assert threshold_on(enough, enough.take(np.arange(299)[::-1]), 0.99, 1.0).decided == 598


def test_copies_are_paired_by_the_page_and_grouped_with_its_group() -> None:
    clean = many(400)
    grouped = replace(clean, groups=np.repeat(np.arange(200), 2).astype(str))
    assert threshold_on(clean, clean, 0.99, 1.0).value is not None
    assert threshold_on(grouped, grouped, 0.99, 1.0).value is None
    assert threshold_on(grouped, None, 0.99, 1.0).value is None


def test_a_page_of_which_one_copy_is_decided_is_a_trial_with_this_copy() -> None:
    clean, unsure = many(400), of([0.5] * 400, [False] * 400)
    found = threshold_on(clean, unsure, 0.99, 1.0)
    assert found.value is not None
    assert (found.decided, found.precision.value) == (400, 1.0)
    few, fewer = np.arange(298), np.arange(298, 0, -1)
    assert threshold_on(many(298), unsure.take(few), 0.99, 1.0).value is None
    assert threshold_on(many(298), many(298).take(fewer - 1), 0.99, 1.0).value is None


@pytest.mark.parametrize("target", [0.0, 1.0, 99.0, float("nan")])
def test_a_precision_is_a_share(target: float) -> None:
    with pytest.raises(InputError, match="--target-precision"):
        check_target(target)


def test_labels_that_are_not_known_stay_empty(tmp_path: Path) -> None:
    pages = replace(of([0.6], [True]), targets=np.array([-1]))
    write_review_queue(tmp_path / "queue.csv", pages, 1.0, None)
    assert (tmp_path / "queue.csv").read_text().splitlines()[1].endswith(",,")
