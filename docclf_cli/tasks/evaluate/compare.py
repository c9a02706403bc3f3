"""Two models on the same pages: which pages, which figures, and the answer in words."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from docclf_cli.errors import InputError
from docclf_cli.metrics.compare import mcnemar, paired_difference, scored_together, sentence
from docclf_cli.metrics.confusion import MATRIX_METRICS
from docclf_cli.metrics.intervals import clusters_of
from docclf_cli.results.evaluation import Comparison
from docclf_cli.results.predictions import Predictions

logger = logging.getLogger("docclf")
# What decides, by `train.monitor`; macro-F1 for whatever is not about single pages as they are.
_DECIDES = {**{name: name for name in MATRIX_METRICS}, "val_loss": "log_loss"}


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
    a, b = scored_together((_among(mine, shared), _among(other, shared)))
    decides = _DECIDES.get(monitor, "f1_macro")
    figures = dict.fromkeys((decides, "f1_macro", "accuracy"))
    differences = tuple(paired_difference(a, b, figure) for figure in figures)
    sentences = tuple(sentence(difference) for difference in differences)
    return Comparison(
        path, len(a), left_out, decides, differences, sentences, mcnemar(a, b), clusters_of(a.groups) is not None
    )


def _among(predictions: Predictions, ids: np.ndarray) -> Predictions:
    return predictions.take(np.isin(predictions.ids.astype(np.str_), ids))
