"""Scores and compares members, methods and views by the monitored metric."""

from __future__ import annotations

import numpy as np

from docclf_cli.ensembling.pooling import Score, by_log_loss
from docclf_cli.errors import InputError
from docclf_cli.metrics.class_metrics import estimates
from docclf_cli.metrics.compare import is_better, paired_difference, sentence
from docclf_cli.metrics.metrics import METRICS, ComparableMetric, comparable_metric, compared_metric, headline_metrics
from docclf_cli.results.ensembling import ScoreRow, SetScores
from docclf_cli.results.predictions import Predictions
from docclf_cli.text import Message

# Decides between equal metrics, and is too small to overrule one page.
_TIE_BREAK = 1e-6


def metric_of(monitor: str) -> str:
    """Return the metric of predictions that corresponds to `train.monitor`.

    Raises:
        InputError: There is none.
    """
    name = compared_metric(monitor)
    if name is None:
        known = ", ".join(entry.name for entry in METRICS if isinstance(entry.build, ComparableMetric))
        raise InputError(
            f"train.monitor: nothing can be compared by '{monitor}'", f"known: blend, blend_loss, val_loss, {known}"
        )
    return name


def score_by(metric: str) -> Score:
    """The value that choices maximise: the metric, then minus the log loss."""
    if metric == "log_loss":
        return by_log_loss
    chosen = comparable_metric(metric)
    sign = 1 if chosen.higher_is_better else -1

    def scored(log_probs: np.ndarray, targets: np.ndarray) -> float:
        return sign * chosen.of(log_probs, targets) + _TIE_BREAK * by_log_loss(log_probs, targets)

    return scored


def measure(predictions: Predictions, against: Predictions | None, metric: str) -> SetScores | None:
    """Headline metrics of predictions whose temperature is applied already, and the paired difference to others.

    Returns:
        None where no page is labelled and readable.
    """
    if not can_be_scored(predictions):
        return None
    scored = predictions.scored()
    difference = None if against is None else paired_difference(predictions, against, metric)
    return SetScores(estimates(scored, headline_metrics()), len(scored), difference)


def can_be_scored(predictions: Predictions) -> bool:
    """Return whether any page is labelled and could be read."""
    if predictions.targets is None:
        return False
    return bool(((predictions.targets >= 0) & ~np.isnan(predictions.log_probs).any(axis=1)).any())


def advice(what: str, line: ScoreRow, against: str) -> str:
    """Say whether something is worth its cost, from the interval of the difference in the monitored metric.

    The conclusion follows the held-out pages if there are any; the test pages are reported beside them.

    Args:
        what: Name of what is judged.
        line: Scores of it.
        against: Name of what it is compared with.
    """
    sides = ((line.held_out, "held-out"), (line.test, "test"))
    told = [(each, each.difference, kind) for each, kind in sides if each and each.difference]
    if not told:
        return Message.of(
            "It is unknown whether {what} is worth its cost: there are no labelled held-out pages.", what=what
        )
    found = [
        Message.of(_ON_PAGES[kind], found=sentence(difference), pages=each.pages) for each, difference, kind in told
    ]
    signs = [
        0 if difference.low <= 0 <= difference.high else 1 if is_better(difference) else -1 for _, difference, _ in told
    ]
    conclusion = (
        _CONCLUSIONS[signs[0]] if signs != [0, 1] else Message.of("It shows no significant gain on the held-out pages.")
    )
    return Message.of(
        "{what} compared with {against}: {found}. {conclusion}",
        what=what,
        against=against,
        found=Message.joined(found, "; "),
        conclusion=conclusion,
    )


_ON_PAGES = {"held-out": "{found} on {pages} held-out pages", "test": "{found} on {pages} test pages"}
_CONCLUSIONS = {
    1: Message.of("It is worth its cost."),
    -1: Message.of("Leave it out."),
    0: Message.of("It shows no significant gain."),
}
