"""Whether a checkpoint with changed weights (`adapt`, `export --int8`) loses on the held-out pages of its run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from docclf_cli.engine.inference.members import Indices, requests_of, split_rows
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.trained_model import VAL, TrainedModel
from docclf_cli.errors import CheckpointError, InputError
from docclf_cli.metrics.compare import paired_difference, scored_together, tolerated_loss
from docclf_cli.metrics.metrics import DEFAULT, comparable_metric
from docclf_cli.results.metrics import Difference
from docclf_cli.results.predictions import Predictions


@dataclass(frozen=True, eq=False)
class HeldOutChange:
    """The old and the new weights on the same held-out pages.

    Attributes:
        before: Macro-F1 of the old ones.
        after: Macro-F1 of the new ones.
        difference: By how much it is larger.
        tolerance: By how much it may be smaller.
        scored: What the new ones say about the pages that both could read.
    """

    before: float
    after: float
    difference: Difference
    tolerance: float
    scored: Predictions


def held_out_pages(member: TrainedModel, hint: str) -> tuple[PredictionRequest, np.ndarray]:
    """Return a request for the held-out pages of a checkpoint, and the rows of its training pages.

    Args:
        member: One checkpoint.
        hint: What to do where they are not known.

    Raises:
        InputError: They are not known, or not there.
    """
    path = member.info.path
    try:
        (request,) = requests_of(member, VAL, Indices(member.info.data))
        training = split_rows(member.info, request.index, "train")
    except InputError as error:
        raise InputError(
            f"{path}: without its training and held-out pages nothing shows what it would lose: {error.message}", hint
        ) from error
    if not len(request.rows):
        raise InputError(f"{path}: no page was held out, so nothing would show what it loses", hint)
    return request, training


def require_small_loss(
    new: Predictions, old: Predictions, *, subject: str, tolerance: float | None, hint: str
) -> HeldOutChange:
    """Compare new weights with old ones on held-out pages.

    Args:
        new: Predictions of the new ones.
        old: Predictions of the old ones for the same pages.
        subject: What is changed and by what, such as "best.ckpt: int8".
        tolerance: By how much macro-F1 may fall; None is 0.01, or what two pages make of the held-out ones: of 98 pages one whose
            class changes costs more than 0.01, and shows nothing.
        hint: What to do where it falls by more.

    Raises:
        InputError: No page could be read by both.
        CheckpointError: It falls by more.
    """
    new, old = scored_together((new, old))
    difference = paired_difference(new, old, DEFAULT)
    tolerance = tolerated_loss(difference.pages) if tolerance is None else tolerance
    if not -difference.value <= tolerance:
        raise CheckpointError(
            f"{subject} changes macro-F1 by {difference.value:+.3f} (95 % {difference.low:+.3f} … {difference.high:+.3f}) on "
            f"{difference.pages} held-out pages, a loss of more than {tolerance:.2g}; nothing was written",
            hint,
        )
    f1_macro = comparable_metric(DEFAULT)
    return HeldOutChange(f1_macro(old), f1_macro(new), difference, tolerance, new)
