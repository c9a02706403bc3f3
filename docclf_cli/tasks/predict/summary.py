"""Sums up predictions for `docclf drift`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from docclf_cli.data.loading.pages import PLAIN
from docclf_cli.engine.inference.ensemble_predictor import EnsemblePredictor
from docclf_cli.files import fingerprint_of
from docclf_cli.metrics.drift import Moments
from docclf_cli.results.prediction import PredictResult
from docclf_cli.results.summary import CONFIDENCE_EDGES, LOG_ODDS_EDGES, PredictionSummary
from docclf_cli.tasks.predict.page_predictions import PagePredictions

_MIX = 2654435761  # Knuth's multiplicative hash: which page of a file counts


@dataclass(frozen=True)
class PredictorFacts:
    """What results say of the model that predicted.

    Attributes:
        class_names: Names along the class axis.
        temperature: It divides the logits; None if each member has its own.
        precision: Number format.
        key: Fingerprint of the checkpoints.
        plain: Whether pages were looked at as they are, and once.
    """

    class_names: tuple[str, ...]
    temperature: float | None
    precision: str
    key: str
    plain: bool

    @classmethod
    def of(cls, predictor: EnsemblePredictor) -> PredictorFacts:
        """What a predictor says of itself."""
        plain = [view.name for _, views in predictor.inputs for view in views] == [PLAIN]
        key = model_key(predictor)
        return cls(tuple(predictor.class_names), predictor.temperature, predictor.precision, key, plain)


def summarise(predictions: PagePredictions, predictor: PredictorFacts, result: PredictResult) -> PredictionSummary:
    """Count one page of each file; memory does not grow with the number of pages."""
    classes = len(predictor.class_names)
    predicted = np.zeros(classes, np.int64)
    confidence, log_odds = np.zeros(len(CONFIDENCE_EDGES) - 1, np.int64), np.zeros(len(LOG_ODDS_EDGES) + 1, np.int64)
    moments: Moments | None = None
    for part in range(predictions.plan.shards):
        shard, first = predictions.shards.read(part), predictions.plan.numbers(part).start
        for batch in predictions.plan.batches(part):  # the same in each division into parts, to the last bit of a sum
            numbers = np.array(batch)
            here = numbers - first
            rows = here[_chosen(predictions, numbers) & ~np.isnan(shard.log_probs[here]).any(axis=1)]
            if not len(rows):
                continue
            log_probs = shard.log_probs[rows].astype(np.float64)
            predicted += np.bincount(log_probs.argmax(axis=1), minlength=classes)
            confidence += binned_confidence(np.exp(log_probs.max(axis=1)))
            if shard.leading.shape[1]:
                log_odds += binned_log_odds(shard.unknown[rows])
                own = Moments.of(shard.leading[rows])
                moments = own if moments is None else moments + own
    return PredictionSummary(
        model=predictor.key,
        plain=predictor.plain,
        class_names=predictor.class_names,
        files=result.inputs,
        pages=result.pages,
        unreadable=result.unreadable,
        needs_review=result.needs_review if result.reviews else None,
        unknown=result.unknown,
        counted=int(predicted.sum()),
        predicted=tuple(predicted.tolist()),
        confidence=tuple(confidence.tolist()),
        log_odds=() if moments is None else tuple(log_odds.tolist()),
        mean=() if moments is None else tuple(moments.mean.tolist()),
        covariance=() if moments is None else tuple(map(tuple, moments.covariance.tolist())),
    )


def model_key(predictor: EnsemblePredictor) -> str:
    """The same for the same checkpoints; of a single model `TrainedModel.key`."""
    hashes = list(itertools.chain.from_iterable(predictor.settings["checkpoint"]))
    return fingerprint_of(hashes)


def binned_confidence(values: np.ndarray) -> np.ndarray:
    """Counts between `CONFIDENCE_EDGES`."""
    return np.histogram(np.clip(values, 0, 1), CONFIDENCE_EDGES)[0]


def binned_log_odds(values: np.ndarray) -> np.ndarray:
    """Counts cut at `LOG_ODDS_EDGES`, one more than edges."""
    return np.bincount(np.searchsorted(LOG_ODDS_EDGES, values), minlength=len(LOG_ODDS_EDGES) + 1)


def _chosen(predictions: PagePredictions, numbers: np.ndarray) -> np.ndarray:
    """Which pages count: one of each file, by its place in the list."""
    starts = predictions.pages.starts
    files = np.searchsorted(starts, numbers, side="right") - 1
    counts = np.maximum(predictions.pages.counts[files].astype(np.int64), 1)
    return np.asarray(numbers - starts[files] == (files * _MIX >> 7) % counts)
