"""What a trained model needs to tell pages of no known class: fitted at the end of `train`, on the user's own pages."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from docclf_cli.data.index.splits import stratified_sample
from docclf_cli.data.loading.data_loader import data_loader
from docclf_cli.data.loading.datasets import InferenceDataset, cut
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import precision_of
from docclf_cli.engine.inference.predictor import Network
from docclf_cli.engine.inference.run_inference import run_inference
from docclf_cli.engine.training.job import TrainingJob
from docclf_cli.engine.training.text import reads_only
from docclf_cli.engine.training.validator import Validator
from docclf_cli.metrics.intervals import unit_of
from docclf_cli.metrics.novelty import GALLERY, Observed, fit_novelty
from docclf_cli.models.features import FeatureRecorder

MOST_HELD_OUT = 1000  # pages, each with its degraded copy where the run validates on these
TASK = "learning what is unknown"
logger = logging.getLogger("docclf")


def learn_novelty(task: TrainingJob, best: Checkpoint, validator: Validator) -> Mapping[str, np.ndarray]:
    """Fit a `NoveltyModel` to the best epoch; the leader does it alone.

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
    runtime = replace(task.scoring, precision=precision_of(best.profile))  # as it is going to predict
    model = runtime.place(best.build(task.run.best))
    network = Network(model, best.preprocess, runtime, FeatureRecorder(model))
    labels = index.labels
    trained_rows = task.train_rows[stratified_sample(labels[task.train_rows], GALLERY, seed)]
    held_out_rows = task.val_rows[stratified_sample(labels[task.val_rows], MOST_HELD_OUT, seed)]
    trained, _ = _observe(network, validator.clean, labels, trained_rows, validator)
    held_out, rows = _observe(network, validator.clean, labels, held_out_rows, validator)
    degraded = np.zeros(len(rows), dtype=bool)
    if validator.degraded is not None:
        copies, rows_of_copies = _observe(network, validator.degraded, labels, held_out_rows, validator)
        held_out = Observed(
            np.concatenate([held_out.features, copies.features]),
            np.concatenate([held_out.logits, copies.logits]),
            np.concatenate([held_out.targets, copies.targets]),
        )
        rows = np.concatenate([rows, rows_of_copies])
        degraded = np.concatenate([degraded, np.ones(len(rows_of_copies), dtype=bool)])
    units = unit_of(len(index), index.groups)[rows]
    found = fit_novelty(trained, held_out, units, degraded, best.temperature)
    logger.info("%s took %.1f s", TASK, time.monotonic() - started)
    return {} if found is None else found.to_arrays()


def _observe(
    network: Network, dataset: InferenceDataset, labels: np.ndarray, rows: np.ndarray, validator: Validator
) -> tuple[Observed, np.ndarray]:
    """Features and logits of pages, and the rows of those that could be read."""
    batches = data_loader(
        dataset,
        cut(rows.tolist(), validator.batch_size),
        workers=network.runtime.workers,
        pin=network.runtime.device.type == "cuda",
        on_wait=validator.stop.check_while_waiting,
    )
    features, logits, read = [], [], list[int]()
    ran = run_inference(
        [lambda batch: network.outputs(batch.images[0])],
        batches,
        total=len(rows),
        task=TASK,
        emit=validator.emit,
        stop=validator.stop,
    )
    for batch, outputs in ran:
        read += batch.rows.tolist()
        for found in outputs:
            logits.append(found[0])
            features.append(found[1])
    seen = np.array(read, dtype=np.int64)
    if not features:
        return Observed(np.empty((0, 0)), np.empty((0, len(validator.prepared.index.class_names))), seen), seen
    return Observed(torch.cat(features).cpu().numpy(), torch.cat(logits).cpu().numpy(), labels[seen]), seen
