"""The confidence threshold of a member, from the pages that it held out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from docclf_cli.data.images.corruptions import DegradedView
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.members import Indices, merge_checkpoints, requests_of
from docclf_cli.engine.inference.stored import kept
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.events import Emit
from docclf_cli.metrics.thresholds import find_threshold
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.metrics import Threshold
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import StopFlag


def threshold_from_held_out(
    member: TrainedModel, target_precision: float, runtime_config: RuntimeConfig, emit: Emit, stop: StopFlag
) -> float:
    """The least confidence at which the pages that a member held out show this precision.

    Raises:
        InputError: No confidence does, or no predictions of these pages are there nor can be made.
    """
    clean, degraded = held_out(member, runtime_config, emit, stop)
    found = threshold_on(clean, degraded, target_precision, member.temperature_of("val"))
    if found.value is None:
        more = (
            f"about {found.more_pages} more pages would be enough" if found.more_pages else "more pages would not help"
        )
        raise InputError(
            f"the {len(clean)} held-out pages give no confidence threshold with a precision of {target_precision:g}",
            f"{more}; lower --target-precision, or set a threshold with --min-confidence",
        )
    return found.value


def threshold_on(clean: Predictions, degraded: Predictions | None, target: float, temperature: float) -> Threshold:
    """The threshold that held-out pages show, as they are and, where there is one, in their degraded copy.

    What is promised is the precision of pages that arrive half as they are and half degraded. The two copies of a
    page are one trial (and so are the pages of a group): 150 faultless pages and their copies are 150 trials, not
    300. Where only one of the two reaches a threshold, the page counts there with this one alone. `pages` and
    `decided` of what is returned count copies.

    Args:
        clean: Predictions for held-out pages.
        degraded: For their degraded copies, found by ID, or where IDs are not shared row by row.
        target: The precision.
        temperature: Divides the logits.
    """
    if degraded is None:
        return find_threshold(clean, target, temperature=temperature)
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
    found = find_threshold(both, target, temperature=temperature)
    # Each further page comes twice: as it is, and degraded.
    return replace(found, more_pages=None if found.more_pages is None else math.ceil(found.more_pages / 2))


def held_out(
    member: TrainedModel, runtime_config: RuntimeConfig | None, emit: Emit, stop: StopFlag
) -> tuple[Predictions, Predictions | None]:
    """What a member says about the pages it held out: as they are, and degraded where it validates on these too.

    Where the pages are no longer there, what is stored beside the member.

    Raises:
        InputError: No predictions of these pages are there, nor can they be made.
    """
    try:
        return _made(member, runtime_config, emit, stop)
    except InputError as error:
        clean = kept(member, "val")
        if clean is None:
            hint = "use the complete run folder with its split.csv, or set a threshold: `docclf predict --min-confidence 0.9`"
            raise InputError(f"the confidence threshold cannot be computed: {error.message}", hint) from error
        data = member.info.data
        return clean, kept(
            member, "val", DegradedView.of_validation(clean.ids, data).name
        ) if data.degraded_validation else None


def _made(
    member: TrainedModel, runtime_config: RuntimeConfig | None, emit: Emit, stop: StopFlag
) -> tuple[Predictions, Predictions | None]:
    data, indices = member.info.data, Indices(member.info.data)
    plain = requests_of(member, "val", indices)
    requests = list(plain)
    if data.degraded_validation:
        requests += requests_of(member, "val", indices, DegradedView.of_validation(plain[0].index.ids, data))
    found = get_predictions(requests, runtime_config=runtime_config, emit=emit, stop=stop)
    degraded = found[len(plain) :]
    return merge_checkpoints(member, "val", found[: len(plain)]), merge_checkpoints(
        member, "val", degraded
    ) if degraded else None
