"""When not to trust a prediction: a confidence threshold from held-out pages, checked on others."""

from __future__ import annotations

from pathlib import Path

from docclf_cli.errors import InputError
from docclf_cli.metrics.thresholds import apply_threshold
from docclf_cli.results.evaluation import ThresholdReport
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.evaluate.member_threshold import threshold_on
from docclf_cli.tasks.result_files import write_review_queue

QUEUE = "review_queue.csv"


def check_target(target: float) -> None:
    """Refuse a precision that no threshold can be about.

    Raises:
        InputError: It is not between 0 and 1.
    """
    if not 0 < target < 1:
        raise InputError(
            f"--target-precision: {target:g} is not between 0 and 1", "0.99 leaves one mistake in a hundred"
        )


def confidence_threshold(
    held_out: Predictions,
    degraded: Predictions | None,
    pages: Predictions,
    *,
    target: float,
    temperature: float,
    chosen_on_split: bool,
    folder: Path,
) -> ThresholdReport:
    """The threshold that held-out pages show to be precise enough, what it does on a split, and the pages it leaves.

    Args:
        held_out: Predictions for the pages that choose the threshold.
        degraded: Those for the degraded copy of the same pages, where there is one.
        pages: Predictions for the split asked for.
        target: The precision.
        temperature: Divides the logits.
        chosen_on_split: Whether `pages` are the held-out pages.
        folder: Where the review queue is written.
    """
    found = threshold_on(held_out, degraded, target, temperature)
    value = found.value
    checked = None if value is None else apply_threshold(pages, value, target, temperature=temperature)
    queue = folder / QUEUE
    needs_review = write_review_queue(queue, pages, temperature, value)
    return ThresholdReport(found, degraded is not None, checked, chosen_on_split, needs_review, queue)
