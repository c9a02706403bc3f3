"""Two models on the same pages: which pages, which metrics, and the answer in words."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from docclf_cli.errors import InputError
from docclf_cli.metrics.compare import mcnemar, paired_difference, scored_together, sentence
from docclf_cli.metrics.intervals import clusters_of
from docclf_cli.metrics.metrics import DEFAULT, METRICS, ComparableMetric, headline_metrics, metric_of_column
from docclf_cli.results.evaluation import Comparison
from docclf_cli.results.predictions import Predictions

logger = logging.getLogger("docclf")


def compare(mine: Predictions, other: Predictions, path: Path, split: str, monitor: str) -> Comparison:
    """How much better or worse a model is than another, on the pages that neither was trained on.

    Args:
        mine: Calibrated predictions for the split.
        other: Those of the other model, for the same pages or for the pages that it holds out itself.
        path: The other model, for messages.
        split: Which pages, for messages.
        monitor: `train.monitor` of the model.

    Raises:
        InputError: No page, or not the same classes, or labels that differ.
    """
    shared = np.intersect1d(mine.ids.astype(np.str_), other.ids.astype(np.str_))
    if not len(shared):
        raise InputError(
            f"{path}: it holds out none of these {len(mine)} {split} pages",
            "compare on pages that neither model was trained on: --split test, or --data",
        )
    left_out = len(mine) - len(shared)
    if left_out:
        logger.warning(
            "%d of %d pages are left out: %s was trained on them, or does not know them", left_out, len(mine), path
        )
    a, b = scored_together((_among(mine, shared), _among(other, shared)), names=("the model", str(path)))
    decides = metric_of_column(monitor)
    if decides is None or not isinstance(METRICS.get(decides).build, ComparableMetric):
        decides = DEFAULT
    differences = tuple(paired_difference(a, b, name) for name in dict.fromkeys((decides, *headline_metrics())))
    sentences = tuple(sentence(difference) for difference in differences)
    return Comparison(
        path, len(a), left_out, decides, differences, sentences, mcnemar(a, b), clusters_of(a.groups) is not None
    )


def _among(predictions: Predictions, ids: np.ndarray) -> Predictions:
    return predictions.take(np.isin(predictions.ids.astype(np.str_), ids))
