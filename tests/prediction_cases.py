"""Predictions made by hand or at random, for tests of whatever takes predictions."""

from collections.abc import Sequence

import numpy as np

from docclf_cli.results.predictions import Predictions


def naming(targets: Sequence[int], named: Sequence[int], classes: int, sure: float = 0.9) -> Predictions:
    """Pages whose predicted classes are given, each with the same confidence."""
    probs = np.full((len(named), classes), (1 - sure) / max(1, classes - 1))
    probs[np.arange(len(named)), named] = sure
    return Predictions(
        ids=np.array([f"page{row}.jpg" for row in range(len(named))]),
        log_probs=np.log(probs).astype(np.float32),
        class_names=tuple(f"class {index}" for index in range(classes)),
        targets=np.asarray(targets, dtype=np.int64),
    )


def at_random(seed: int, pages: int, classes: int, skill: float = 1.0, labels_seed: int = 0) -> Predictions:
    """Pages with random logits in which the true class stands out by `skill`; labels depend on `labels_seed` alone."""
    targets = np.random.default_rng(labels_seed).integers(0, classes, pages)
    logits = np.random.default_rng(seed).normal(size=(pages, classes))
    logits[np.arange(pages), targets] += skill
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    ids = np.array([f"page{row}.jpg" for row in range(pages)])
    names = tuple(f"class {index}" for index in range(classes))
    return Predictions(ids, log_probs.astype(np.float32), names, targets)
