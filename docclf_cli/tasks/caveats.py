"""Scores pages that selected the epoch or fitted the temperature, and words the notes on such scores."""

from __future__ import annotations

from docclf_cli.metrics.calibration import TEMPERATURES, at_bound, cross_fitted
from docclf_cli.results.predictions import Predictions

UNFITTED = 1.0  # temperature of checkpoints without a fitted one, such as snapshots


def calibrated_for_scoring(predictions: Predictions, split: str, temperature: float) -> Predictions:
    """Calibrate the predictions of a split for scoring: validation pages by cross-fitting, as they fitted the temperature.

    Args:
        predictions: Uncalibrated predictions.
        split: `val` are the pages that fitted the temperature.
        temperature: The model's temperature for these pages.
    """
    if split == "val" and temperature != UNFITTED:
        return cross_fitted(predictions)
    return predictions.at_temperature(temperature)


def caveats(split: str, *, monitor: str, folds: bool, temperature: float) -> tuple[str, ...]:
    """Write the notes that a reader needs to judge the scores of a split.

    Args:
        split: `val` and `train` are the run's own; other pages are no part of its training.
        monitor: The metric that selected the epoch.
        folds: Whether the model is a folds run.
        temperature: The model's temperature.
    """
    found = []
    if split == "val":
        found.append(
            f"The epoch was chosen on these pages (by {monitor}), so the figures flatter the model a little: by about a "
            "point of macro-F1 on 100 pages. Pages that chose nothing (--split test) say how good it is."
        )
    if split == "val" and temperature != UNFITTED:
        found.append("Log loss and calibration error are cross-fitted: each page at a temperature that others fitted.")
    if split == "val" and folds:
        found.append("Each page was read by the one fold that did not train on it; new pages are read by all of them.")
    if split == "train":
        found.append("The model was trained on these pages: the figures say what it remembers, not how good it is.")
    if at_bound(temperature):
        low, high = TEMPERATURES
        found.append(
            f"The temperature is at a bound of what is tried ({low:g} to {high:g}): this model's confidence is no "
            "probability."
        )
    return tuple(found)
