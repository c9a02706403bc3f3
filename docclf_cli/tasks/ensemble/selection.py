"""Scores and compares members, methods and views by the monitored metric."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from docclf_cli.ensembling.pooling import Score, by_log_loss
from docclf_cli.errors import InputError
from docclf_cli.metrics.class_metrics import headline_metrics, per_sample_loss
from docclf_cli.metrics.compare import paired_difference, sentence
from docclf_cli.metrics.confusion import MATRIX_METRICS, confusion, counts_of
from docclf_cli.results.ensembling import Line, Measured
from docclf_cli.results.figures import Difference
from docclf_cli.results.predictions import Predictions

LOG_LOSS = "log_loss"
SHOWN = ("accuracy", "f1_macro", LOG_LOSS)
# Metrics of training that predictions alone do not have, and the metrics used instead.
_IN_PLACE_OF = {"blend": "f1_macro", "f1_macro_degraded": "f1_macro", "val_loss": LOG_LOSS}
# Weight of the log loss: it decides between equal metrics, and is too small to outweigh one page.
_TIE_BREAK = 1e-6


def metric_of(monitor: str) -> str:
    """Return the metric of predictions that corresponds to `train.monitor`.

    Raises:
        InputError: There is none.
    """
    figure = _IN_PLACE_OF.get(monitor, monitor)
    if figure != LOG_LOSS and figure not in MATRIX_METRICS:
        known = ", ".join((*_IN_PLACE_OF, *MATRIX_METRICS))
        raise InputError(f"train.monitor: nothing can be compared by '{monitor}'", f"known: {known}")
    return figure


def score_by(figure: str) -> Score:
    """Return the function that choices maximise: the metric, and between equals the smaller log loss."""
    if figure == LOG_LOSS:
        return by_log_loss

    def scored(log_probs: np.ndarray, targets: np.ndarray) -> float:
        counts = counts_of(confusion(targets, log_probs.argmax(axis=1), log_probs.shape[1]))
        return float(MATRIX_METRICS[figure](counts)) + _TIE_BREAK * by_log_loss(log_probs, targets)

    return scored


def measure(predictions: Predictions, against: Predictions | None, figure: str) -> Measured | None:
    """Score calibrated predictions, and measure the paired difference to others.

    Returns:
        None if no page is labelled and readable.
    """
    if not can_be_scored(predictions):
        return None
    scored = predictions.scored()
    found = headline_metrics(scored, per_sample_loss(scored))
    difference = None if against is None else paired_difference(predictions, against, figure)
    return Measured({name: found[name] for name in SHOWN}, len(scored), difference)


def can_be_scored(predictions: Predictions) -> bool:
    """Return whether any page is labelled and could be read."""
    if predictions.targets is None:
        return False
    return bool(((predictions.targets >= 0) & ~np.isnan(predictions.log_probs).any(axis=1)).any())


def advice(what: str, line: Line, against: str) -> str:
    """Say whether something is worth its cost, from the interval of the difference in the monitored metric.

    The conclusion follows the held-out pages if there are any; the test pages are reported beside them.

    Args:
        what: Name of what is judged.
        line: Scores of it.
        against: Name of what it is compared with.
    """
    sides = ((line.held_out, "held-out"), (line.test, "test"))
    differences = [(each.difference, f"{each.pages} {kind} pages") for each, kind in sides if each and each.difference]
    if not differences:
        return f"Nothing tells whether {what} is worth it: no labelled page was kept from training."
    parts = "; ".join(f"on {pages} {sentence(difference)}" for difference, pages in differences)
    signs = [_sign(difference) for difference, _ in differences]
    return f"{what} against {against}: {parts}. {_CONCLUSIONS[signs[0]]}{_AND_TEST[tuple(signs)]}"


_CONCLUSIONS = {1: "It is worth its cost.", -1: "Leave it out.", 0: "It brings nothing here that can be shown"}
_AND_TEST = defaultdict(str, {(0,): ".", (0, 0): ".", (0, 1): " by the held-out pages alone.", (0, -1): "."})


def _sign(difference: Difference) -> int:
    """1 where the interval says better, -1 for worse, 0 where it holds zero."""
    if difference.low <= 0 <= difference.high:
        return 0
    return 1 if (difference.value > 0) != (difference.figure == LOG_LOSS) else -1
