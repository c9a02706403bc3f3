"""What a trained model needs to tell pages of no known class: fitted at the end of `train`, on the user's own pages."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from docclf_cli.data.images.augmentation import Policy
from docclf_cli.data.images.corruptions import DegradedView
from docclf_cli.data.index.splits import stratified_sample
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.inference.predictor import Network
from docclf_cli.engine.training.job import TrainingJob
from docclf_cli.engine.training.last_look import last_look, network_of
from docclf_cli.engine.training.text import reads_only
from docclf_cli.engine.training.validator import Validator
from docclf_cli.hardware import one_thread
from docclf_cli.metrics.intervals import unit_of
from docclf_cli.metrics.novelty import GALLERY, Observed, fit_novelty
from docclf_cli.models.features import FeatureRecorder

MOST_HELD_OUT = 1000  # pages, each with its degraded copy where the run validates on these
TASK = "learning what is unknown"
logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class AlteredView:
    """A copy of each training page as pages arrive: every other one is degraded, the rest are augmented as in training.

    With such copies among the known pages, damage alone makes a page less foreign.
    """

    quick: ClassVar = False
    degraded: DegradedView
    policy: Policy
    seed: int
    name: str = "altered"

    def __call__(self, page: np.ndarray, row: int) -> np.ndarray:
        """The copy of the page of a row."""
        return self.policy(page, np.random.default_rng((self.seed, row))) if row % 2 else self.degraded(page, row)


def learn_novelty(task: TrainingJob, best: Checkpoint, validator: Validator) -> Mapping[str, np.ndarray]:
    """Fit a `NoveltyModel` to the best epoch; rank 0 does it alone.

    Args:
        task: Says which pages trained the model, and which are held out.
        best: The best epoch, with its temperature.
        validator: Its pages, batch size, `emit` and `stop` serve here as well.

    Returns:
        Its arrays; none where there are too few classes.

    Raises:
        Interrupted: `stop` was set.
    """
    if reads_only(task.profile):  # its images say nothing
        return {}
    started, index, seed = time.monotonic(), task.prepared.index, task.profile.data.split_seed
    network = network_of(task, best)
    network = replace(network, recorder=FeatureRecorder(network.model))
    labels = index.labels
    trained_rows = task.train_rows[stratified_sample(labels[task.train_rows], GALLERY, seed)]
    held_out_rows = task.val_rows[stratified_sample(labels[task.val_rows], MOST_HELD_OUT, seed)]
    view = AlteredView(task.degraded_view, Policy.from_config(task.profile.augmentation), seed)
    altered = InferenceDataset((ModelInput(task.prepared.pages, (view,)),), index.targets)
    trained = _observe(network, validator.clean, labels, trained_rows, validator)
    trained += _observe(network, altered, labels, trained_rows, validator)
    held_out = _observe(network, validator.clean, labels, held_out_rows, validator)
    clean = len(held_out.pages)
    if validator.degraded is not None:
        held_out += _observe(network, validator.degraded, labels, held_out_rows, validator)
    units = unit_of(len(index), index.groups)[held_out.pages]
    degraded = np.arange(len(held_out.pages)) >= clean
    with one_thread():
        found = fit_novelty(trained, held_out, units, degraded, best.temperature)
    logger.info("%s took %.1f s", TASK, time.monotonic() - started)
    return {} if found is None else found.to_arrays()


def _observe(
    network: Network, dataset: InferenceDataset, labels: np.ndarray, rows: np.ndarray, validator: Validator
) -> Observed:
    """Features and logits of the pages that could be read."""
    features, logits, read = [], [], list[int]()
    for batch, found in last_look(network, dataset, rows.tolist(), validator, TASK):
        read += batch.rows.tolist()
        logits.append(found.logits)
        features.append(found.features)
    seen = np.array(read, dtype=np.int64)
    assert network.recorder is not None
    all_features, all_logits = (
        torch.cat(parts).cpu().numpy() if parts else np.empty((0, 0)) for parts in (features, logits)
    )
    return Observed(all_features, all_logits, labels[seen], seen, network.recorder.widths)
