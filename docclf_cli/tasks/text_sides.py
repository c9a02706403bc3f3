"""Image, text and both of them side by side, for models that look and read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from docclf_cli.ensembling.documents import document_predictions
from docclf_cli.errors import InputError
from docclf_cli.metrics.class_metrics import score
from docclf_cli.results.metrics import SideScores
from docclf_cli.results.predictions import Predictions

BOTH = "both"


def score_sides(predictions: Predictions, judged: Predictions) -> tuple[SideScores, ...]:
    """The scores of each side; empty for a model that does not do both.

    Args:
        predictions: With what each side says.
        judged: The same pages as they are scored (`as_judged`).
    """
    return tuple(_sides(predictions, judged))


def _sides(predictions: Predictions, judged: Predictions) -> Iterator[SideScores]:
    if predictions.image is None or predictions.text is None:
        return
    with_text = ~np.isnan(predictions.text).any(axis=1)
    of_text = predictions.take(with_text)
    assert of_text.text is not None
    sides = {
        "image": replace(predictions, log_probs=predictions.image),
        "text": replace(of_text, log_probs=of_text.text),
        BOTH: judged,
    }
    for name, side in sides.items():
        try:
            pages, documents = score(side), score(document_predictions(side))
        except InputError:  # no labelled page has text, or the pages of a document have different labels
            continue
        yield SideScores(
            name, pages.support, pages.metrics["accuracy"], pages.metrics["f1_macro"],
            documents.support, documents.metrics["accuracy"], documents.metrics["f1_macro"],
        )  # fmt: skip
