"""Scores of documents: all pages of a file count once, by what the model says about them together."""

from __future__ import annotations

from docclf_cli.ensembling.documents import document_predictions, has_documents
from docclf_cli.errors import InputError
from docclf_cli.metrics.class_metrics import score
from docclf_cli.results.metrics import Scores
from docclf_cli.results.predictions import Predictions


def score_documents(judged: Predictions) -> Scores | None:
    """The scores of documents, with intervals by document; None where no file has several pages, or none can be scored.

    Args:
        judged: Predictions for pages, calibrated (`as_judged`).
    """
    if not has_documents(judged):
        return None
    try:
        return score(document_predictions(judged))
    except InputError:  # their pages have different labels
        return None
