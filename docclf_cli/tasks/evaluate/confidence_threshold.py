"""Finds the confidence from which on predictions have a target precision, on a model's held-out pages."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.data.images.corruptions import DegradedView
from docclf_cli.engine.checkpoints.run_folder import write_csv
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.members import Indices, merge_checkpoints, requests_of, stored_predictions
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.runtime import distributed
from docclf_cli.errors import InputError
from docclf_cli.events import Emit
from docclf_cli.metrics.thresholds import ForeignPages, apply_threshold, find_threshold
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.evaluation import ThresholdReport
from docclf_cli.results.metrics import Threshold
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import StopFlag

QUEUE = "review_queue.csv"


def check_target(target: float) -> None:
    """Refuse a target precision that is not between 0 and 1.

    Raises:
        InputError: It is not.
    """
    if not 0 < target < 1:
        raise InputError(
            f"--target-precision: {target:g} is not between 0 and 1", "0.99 leaves one mistake in a hundred"
        )


def evaluate_threshold(
    held_out: Predictions,
    degraded: Predictions | None,
    pages: Predictions,
    *,
    target: float,
    temperature: float,
    chosen_on_split: bool,
    folder: Path,
    foreign: ForeignPages | None = None,
    condition: str = "",
) -> ThresholdReport:
    """Find a threshold on held-out pages, apply it to a split, and write the pages below it to a review queue.

    Args:
        held_out: Predictions for the held-out pages.
        degraded: Predictions for the degraded copies of the held-out pages; None if there are none.
        pages: Predictions for the split.
        target: The precision.
        temperature: Divides the logits.
        chosen_on_split: Whether `pages` are the held-out pages.
        folder: Where the review queue is written.
        foreign: Pages of no known class that are to be expected; None expects none.
        condition: When the precision holds, as a sentence.
    """
    found = threshold_on(held_out, degraded, target, temperature, foreign)
    queue = folder / QUEUE
    return ThresholdReport(
        held_out=found,
        includes_degraded=degraded is not None,
        on_split=None if found.value is None else apply_threshold(pages, found.value, target, temperature=temperature),
        chosen_on_split=chosen_on_split,
        needs_review=write_review_queue(queue, pages, temperature, found.value),
        review_queue=queue,
        condition=condition,
        expect_unknown=None if foreign is None else foreign.expected,
    )


def threshold_from_held_out(
    member: TrainedModel,
    target_precision: float,
    runtime_config: RuntimeConfig,
    emit: Emit,
    stop: StopFlag,
    foreign: ForeignPages | None = None,
) -> float:
    """Find the smallest confidence at which the held-out pages of a model show a precision.

    Args:
        member: The model.
        target_precision: In (0, 1).
        runtime_config: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.
        foreign: Pages of no known class that are to be expected; None expects none.

    Raises:
        InputError: No confidence does, or predictions for these pages are neither stored nor can be made.
    """
    member = member.sisters or member
    clean, degraded = held_out(member, runtime_config, emit, stop)
    found = threshold_on(clean, degraded, target_precision, member.temperature_of("val"), foreign)
    if found.value is None and foreign is not None:
        raise InputError(
            f"the {len(clean)} held-out pages give no confidence threshold with a precision of {target_precision:g} among "
            f"{foreign.expected:.1%} unknown pages",
            "lower --target-precision or --expect-unknown, or set a threshold with --min-confidence",
        )
    if found.value is None:
        more = (
            f"about {found.more_pages} more pages would be enough" if found.more_pages else "more pages would not help"
        )
        raise InputError(
            f"the {len(clean)} held-out pages give no confidence threshold with a precision of {target_precision:g}",
            f"{more}; lower --target-precision, or set a threshold with --min-confidence",
        )
    return found.value


def threshold_on(
    clean: Predictions,
    degraded: Predictions | None,
    target: float,
    temperature: float,
    foreign: ForeignPages | None = None,
) -> Threshold:
    """Find the threshold on held-out pages and, if there are any, on their degraded copies.

    The precision is that of pages half of which are degraded. The two copies of a page count as one trial (and so do
    the pages of a group): 150 correct pages and their copies are 150 trials, not 300. If only one copy reaches a
    threshold, the page counts with this copy. `pages` and `decided` of the result count copies.

    Args:
        clean: Predictions for held-out pages.
        degraded: Predictions for their degraded copies, matched by ID, or by row if the IDs differ.
        target: The precision.
        temperature: Divides the logits.
        foreign: Pages of no known class that are to be expected; None expects none.
    """
    if degraded is None:
        return find_threshold(clean, target, temperature=temperature, foreign=foreign)
    row_of = {name: row for row, name in enumerate(clean.ids.tolist())}
    copy_of = [row_of.get(name, row) for row, name in enumerate(degraded.ids.tolist())]
    trials = np.arange(len(clean)).astype(np.str_) if clean.groups is None else clean.groups
    both = Predictions(
        ids=np.concatenate([clean.ids, degraded.ids]),
        log_probs=np.concatenate([clean.log_probs, degraded.log_probs]),
        class_names=clean.class_names,
        targets=np.concatenate([clean.labels, degraded.labels]),
        groups=np.concatenate([trials, trials[copy_of]]),
    )
    found = find_threshold(both, target, temperature=temperature, foreign=foreign)
    # Each further page comes twice: as it is, and degraded.
    return replace(found, more_pages=None if found.more_pages is None else math.ceil(found.more_pages / 2))


def held_out(
    member: TrainedModel, runtime_config: RuntimeConfig | None, emit: Emit, stop: StopFlag
) -> tuple[Predictions, Predictions | None]:
    """Predict the held-out pages of a model: as they are, and degraded if it validates on degraded pages.

    If the pages are no longer there, the predictions stored beside the model are used.

    Raises:
        InputError: Predictions for these pages are neither stored nor can be made.
    """
    data = member.info.data
    try:
        requests = distributed.on_main(lambda: _held_out_requests(member))
        found = get_predictions(requests, runtime_config=runtime_config, emit=emit, stop=stop)
    except InputError as error:
        clean = stored_predictions(member, "val")
        if clean is None:
            hint = "use the complete run folder with its split.csv, or set a threshold: `docclf predict --min-confidence 0.9`"
            raise InputError(f"the confidence threshold cannot be computed: {error.message}", hint) from error
        if not data.degraded_validation:
            return clean, None
        return clean, stored_predictions(member, "val", DegradedView.of_validation(clean.ids, data).name)
    count = len(member.checkpoints)
    degraded = merge_checkpoints(member, "val", found[count:]) if data.degraded_validation else None
    return merge_checkpoints(member, "val", found[:count]), degraded


def _held_out_requests(member: TrainedModel) -> list[PredictionRequest]:
    """Request the held-out pages of each checkpoint; after them the degraded ones, if the model validates on these."""
    data = member.info.data
    indices = Indices(data)
    requests = requests_of(member, "val", indices)
    if not data.degraded_validation:
        return requests
    view = DegradedView.of_validation(requests[0].index.ids, data)
    return [*requests, *requests_of(member, "val", indices, view)]


def write_review_queue(path: Path, predictions: Predictions, temperature: float, threshold: float | None) -> int:
    """`review_queue.csv`: the pages that need review, unreadable ones first and then the least confident.

    Args:
        path: The CSV.
        predictions: Pages of a split.
        temperature: Divides the logits.
        threshold: Pages of at least this confidence are decided; None decides no page.

    Returns:
        How many pages it lists.
    """
    probs = predictions.probs(temperature)
    confidence = np.nan_to_num(probs.max(axis=1), nan=-1.0)
    waiting = np.flatnonzero(confidence < (np.inf if threshold is None else threshold))
    queue = waiting[np.argsort(confidence[waiting], kind="stable")]
    columns = ("ID", "prediction", "confidence", "runner_up", "runner_up_confidence", "target", "status")
    write_csv(path, [_review_record(predictions, probs, int(row)) for row in queue], columns)
    return len(queue)


def _review_record(predictions: Predictions, probs: np.ndarray, row: int) -> dict[str, Any]:
    record = {
        "ID": predictions.ids[row],
        "target": predictions.label_name(row),
        "status": "" if predictions.status is None else predictions.status[row],
        **dict.fromkeys(("prediction", "confidence", "runner_up", "runner_up_confidence"), ""),
    }
    if np.isnan(probs[row]).any():
        return record
    first, second = np.argsort(-probs[row], kind="stable")[:2]
    names = predictions.class_names
    return record | {
        "prediction": names[first],
        "confidence": f"{probs[row, first]:.6f}",
        "runner_up": names[second],
        "runner_up_confidence": f"{probs[row, second]:.6f}",
    }
