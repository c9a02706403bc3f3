"""What members, methods and views are compared by: the monitored figure, and what its interval says."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from docclf_cli.ensembling.pooling import Score, by_log_loss
from docclf_cli.errors import InputError
from docclf_cli.metrics.class_metrics import headline_metrics, per_sample_loss
from docclf_cli.metrics.compare import paired_difference, sentence
from docclf_cli.metrics.confusion import MATRIX_METRICS, confusion, counts_of
from docclf_cli.results.ensembling import ScoreRow, SetScores
from docclf_cli.results.figures import Difference
from docclf_cli.results.predictions import Predictions

LOG_LOSS = "log_loss"
SHOWN = ("accuracy", "f1_macro", LOG_LOSS)
# Figures of training that plain predictions do not have, by what is looked at in their place.
_IN_PLACE_OF = {"blend": "f1_macro", "f1_macro_degraded": "f1_macro", "val_loss": LOG_LOSS}
# Decides between equal figures, and is too small to overrule one page.
_TIE_BREAK = 1e-6


def metric_of(monitor: str) -> str:
    """The figure of predictions that `train.monitor` means.

    Raises:
        InputError: It means none.
    """
    figure = _IN_PLACE_OF.get(monitor, monitor)
    if figure != LOG_LOSS and figure not in MATRIX_METRICS:
        known = ", ".join((*_IN_PLACE_OF, *MATRIX_METRICS))
        raise InputError(f"train.monitor: models cannot be compared by '{monitor}'", f"known: {known}")
    return figure


def score_by(figure: str) -> Score:
    """What choices make large: the figure, and among equals minus the log loss."""
    if figure == LOG_LOSS:
        return by_log_loss

    def scored(log_probs: np.ndarray, targets: np.ndarray) -> float:
        counts = counts_of(confusion(targets, log_probs.argmax(axis=1), log_probs.shape[1]))
        return float(MATRIX_METRICS[figure](counts)) + _TIE_BREAK * by_log_loss(log_probs, targets)

    return scored


def measure(predictions: Predictions, against: Predictions | None, figure: str) -> SetScores | None:
    """Figures of predictions whose temperature is applied already, and the paired difference to others.

    Returns:
        None where no page is labelled and readable.
    """
    if not can_be_scored(predictions):
        return None
    scored = predictions.scored()
    found = headline_metrics(scored, per_sample_loss(scored))
    difference = None if against is None else paired_difference(predictions, against, figure)
    return SetScores({name: found[name] for name in SHOWN}, len(scored), difference)


def can_be_scored(predictions: Predictions) -> bool:
    """Whether any page is labelled and was read."""
    if predictions.targets is None:
        return False
    return bool(((predictions.targets >= 0) & ~np.isnan(predictions.log_probs).any(axis=1)).any())


def advice(what: str, line: ScoreRow, against: str) -> str:
    """Whether something is worth it, in a sentence that follows the interval of the monitored figure.

    The conclusion is drawn on held-out pages where there are any; test pages are told beside them.

    Args:
        what: Subject of the sentence.
        line: Its scores.
        against: What it is compared with.
    """
    sides = ((line.held_out, "held-out"), (line.test, "test"))
    told = [(each.difference, f"{each.pages} {kind} pages") for each, kind in sides if each and each.difference]
    if not told:
        return f"It is unknown whether {what} is worth its cost: there are no labelled held-out pages."
    predictions = "; ".join(f"{sentence(difference)} on {pages}" for difference, pages in told)
    signs = [_sign(difference) for difference, _ in told]
    return f"{what} compared with {against}: {predictions}. {_CONCLUSIONS[signs[0]]}{_AND_TEST[tuple(signs)]}"


_CONCLUSIONS = {1: "It is worth its cost.", -1: "Leave it out.", 0: "It shows no significant gain"}
_AND_TEST = defaultdict(str, {(0,): ".", (0, 0): ".", (0, 1): " on the held-out pages.", (0, -1): "."})


def _sign(difference: Difference) -> int:
    """1 where the interval says better, -1 for worse, 0 where it holds zero."""
    if difference.low <= 0 <= difference.high:
        return 0
    return 1 if (difference.value > 0) != (difference.figure == LOG_LOSS) else -1
