"""When not to trust a prediction: a confidence threshold from held-out pages, checked on others."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from docclf_cli.engine.outputs import write_review_queue
from docclf_cli.errors import InputError
from docclf_cli.metrics.thresholds import apply_threshold, find_threshold
from docclf_cli.results.evaluation import Trust
from docclf_cli.results.figures import Threshold
from docclf_cli.results.predictions import Predictions

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


def trust(
    held_out: Predictions,
    degraded: Predictions | None,
    pages: Predictions,
    *,
    target: float,
    temperature: float,
    chosen_here: bool,
    folder: Path,
) -> Trust:
    """The threshold that held-out pages show to be precise enough, what it does on a split, and the pages it leaves.

    Args:
        held_out: Predictions for the pages that choose the threshold.
        degraded: Those for the degraded copy of the same pages, where there is one.
        pages: Predictions for the split asked for.
        target: The precision.
        temperature: Divides the logits.
        chosen_here: Whether `pages` are the held-out pages.
        folder: Where the review queue is written.
    """
    found = _found(held_out, degraded, target, temperature)
    value = found.value
    checked = None if value is None else apply_threshold(pages, value, target, temperature=temperature)
    queue = folder / QUEUE
    for_a_person = write_review_queue(queue, pages, temperature, value)
    return Trust(found, degraded is not None, checked, chosen_here, for_a_person, queue)


def _found(held_out: Predictions, degraded: Predictions | None, target: float, temperature: float) -> Threshold:
    if degraded is None:
        return find_threshold(held_out, target, temperature=temperature)
    found = find_threshold(_both(held_out, degraded), target, temperature=temperature)
    # Each further page comes twice: as it is, and degraded.
    more = None if found.more_pages is None else math.ceil(found.more_pages / 2)
    return replace(found, more_pages=more)


def _both(clean: Predictions, degraded: Predictions) -> Predictions:
    return Predictions(
        ids=np.concatenate([clean.ids, degraded.ids]),
        log_probs=np.concatenate([clean.log_probs, degraded.log_probs]),
        class_names=clean.class_names,
        targets=np.concatenate([clean.labels, degraded.labels]),
    )
