"""From pages to documents: what a model says about a document is the geometric mean of what it says about its pages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import log_softmax

from docclf_cli.ensembling.pooling import floored
from docclf_cli.page_ids import document_of
from docclf_cli.results.predictions import READABLE, Predictions


def has_documents(predictions: Predictions) -> bool:
    """Whether any page is one of a document with several."""
    return any(document_of(name) != name for name in predictions.ids.tolist())


def document_predictions(predictions: Predictions) -> Predictions:
    """Predictions for documents, in the order of their first pages; a file of one page is a document of its own.

    Log-probabilities are the mean over the readable pages, normalised; NaN where no page can be read. The target is -1
    where pages have different ones, the group is that of the first page.
    """
    place: dict[str, int] = {}
    names = [document_of(name) for name in predictions.ids.tolist()]
    of_page = np.array([place.setdefault(name, len(place)) for name in names], dtype=np.int64)
    first = np.unique(of_page, return_index=True)[1]
    readable = ~np.isnan(predictions.log_probs).any(axis=1)
    total = np.zeros((len(place), predictions.num_classes))
    np.add.at(total, of_page[readable], floored(predictions.log_probs[readable]))
    pages = np.bincount(of_page[readable], minlength=len(place))
    log_probs = np.full(total.shape, np.nan)
    log_probs[pages > 0] = log_softmax(total[pages > 0] / pages[pages > 0, None], axis=1)
    targets = None
    if predictions.targets is not None:
        targets = predictions.targets[first]
        targets[of_page[predictions.targets != targets[of_page]]] = -1
    status = predictions.take(first).status
    return replace(
        predictions,
        ids=np.array(list(place), dtype=np.str_),
        log_probs=log_probs.astype(np.float32),
        targets=targets,
        groups=None if predictions.groups is None else predictions.groups[first],
        status=None if status is None else np.where(pages > 0, READABLE, status),
        image=None,
        text=None,
    )
