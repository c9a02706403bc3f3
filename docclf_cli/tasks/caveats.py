"""Measures metrics on pages that fitted the temperature, and writes the notes that go with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from docclf_cli.ensembling.fusion import cross_fitted_fusion
from docclf_cli.metrics.calibration import TEMPERATURES, at_bound, cross_fitted
from docclf_cli.metrics.metrics import BLEND_LOSS, label_of
from docclf_cli.page_ids import document_of
from docclf_cli.results.predictions import Predictions
from docclf_cli.text import Message

LAST = "epoch"  # the `train.monitor` of which the last epoch has most
UNFITTED = 1.0  # the temperature of checkpoints that none was fitted for, such as snapshots


def as_judged(predictions: Predictions, split: str, temperature: float) -> Predictions:
    """Calibrate predictions for their metrics: each validation page at a temperature that was fitted on other pages.

    Likewise where image and text are joined by weights that these pages fitted.

    Args:
        predictions: Uncalibrated.
        split: `val` names the pages that fitted the temperature.
        temperature: The model's, for these pages.
    """
    if split == "val" and predictions.image is not None and predictions.text is not None:
        names = [document_of(name) for name in predictions.ids.tolist()]
        documents = np.unique(np.array(names), return_inverse=True)[1]
        fused = cross_fitted_fusion(predictions.image, predictions.text, predictions.labels, documents)
        predictions = replace(predictions, log_probs=fused)
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
    if split == "val" and monitor == LAST:
        found.append(Message.of("These pages chose no epoch: the last one is taken (train.monitor: epoch)."))
    elif split == "val" and monitor == BLEND_LOSS:
        found.append(
            Message.of(
                "These pages chose the best epoch (by {monitor}), which made macro-F1 on 100 pages no better than on other pages where it "
                "was measured. Use --split test for an unbiased estimate.",
                monitor=label_of(monitor),
            )
        )
    elif split == "val":
        found.append(
            Message.of(
                "These pages chose the best epoch (by {monitor}), so the metrics are slightly optimistic: by about one point "
                "of macro-F1 on 100 pages. Use --split test for an unbiased estimate.",
                monitor=label_of(monitor),
            )
        )
    if split == "val" and temperature != UNFITTED:
        found.append(
            Message.of(
                "Log loss and calibration error are cross-fitted: each page uses a temperature that was fitted on other pages."
            )
        )
    if split == "val" and folds:
        found.append(
            Message.of(
                "Each page was predicted by the one fold that was not trained on it; new pages get the mean of all folds."
            )
        )
    if split == "train":
        found.append(
            Message.of("The model was trained on these pages, so the metrics do not show how good it is on new pages.")
        )
    if at_bound(temperature):
        low, high = TEMPERATURES
        found.append(
            Message.of(
                "The temperature is at a limit of its search range ({low:g} to {high:g}): do not read this model's confidence "
                "as a probability.",
                low=low,
                high=high,
            )
        )
    return tuple(found)
