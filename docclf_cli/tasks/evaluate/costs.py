"""What decisions by expected cost pay on labelled pages, against a person who looks at each."""

from __future__ import annotations

import numpy as np

from docclf_cli.metrics.costs import Costs
from docclf_cli.metrics.intervals import mean_of
from docclf_cli.results.metrics import Estimate
from docclf_cli.results.predictions import Predictions
from docclf_cli.results.unknown import CostReport
from docclf_cli.text import Message

PAGES = 1000


def measure_costs(predictions: Predictions, costs: Costs, *, chosen_on_split: bool) -> CostReport:
    """Decide labelled pages by expected cost, and add up what that pays.

    Args:
        predictions: Calibrated, with labels; each page is of a known class.
        costs: The prices.
        chosen_on_split: Whether these pages chose the epoch and the temperature.
    """
    scored = predictions.scored()
    table = np.column_stack([costs.prices, costs.review])
    probs = np.exp(scored.log_probs.astype(np.float64))
    decisions, review = costs.decisions(probs), scored.num_classes
    paid, reviewed = costs.paid(scored.labels, decisions), costs.review[scored.labels]
    conditions = [
        Message.of("These costs hold while every page belongs to a known class and classes are as frequent as here.")
    ]
    if chosen_on_split:
        conditions.append(
            Message.of("These pages chose the epoch or fitted the temperature, so costs are slightly too low.")
        )
    return CostReport(
        pages=len(scored),
        decided=int((decisions != review).sum()),
        paid=_of_1000(paid, scored.groups, table),
        expected=float(costs.expected(probs).min(axis=1).mean() * PAGES),
        all_reviewed=_of_1000(reviewed, scored.groups, costs.review),
        saved=_of_1000(reviewed - paid, scored.groups, costs.review[:, None] - table),
        condition=Message.joined(conditions),
    )


def _of_1000(values: np.ndarray, groups: np.ndarray | None, possible: np.ndarray) -> Estimate:
    """A cost of 1,000 pages from that of each page, [n], and all that a page may cost."""
    found = mean_of(values.astype(np.float64), groups, lowest=float(possible.min()), highest=float(possible.max()))
    return Estimate(found.value * PAGES, found.low * PAGES, found.high * PAGES)
