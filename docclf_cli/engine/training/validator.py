"""Computes the metrics of an epoch on the held-out pages, clean and degraded."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from torch.utils.data import ConcatDataset

from docclf_cli.data.loading.batch import Batch
from docclf_cli.data.loading.data_loader import data_loader
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput, cut
from docclf_cli.data.loading.prepared_pages import PreparedPages
from docclf_cli.engine.inference.predictor import Network, Predictor
from docclf_cli.engine.inference.run_inference import predict_batches
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.engine.runtime.folded_norms import inference_model
from docclf_cli.events import Emit
from docclf_cli.metrics.class_metrics import compute_metrics
from docclf_cli.metrics.metrics import BLEND, BLEND_LOSS, DEFAULT, DEGRADED_SUFFIX, LOSS, by_column, metrics_with
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import StopFlag

CLEAN, DEGRADED = "val", "val, degraded"


class Validator:
    """Scores a model on held-out pages after each epoch, with one data loader that prefetches into the degraded pages.

    Args:
        prepared: The pages.
        rows: The held-out ones.
        degraded: The same pages, degraded; None scores only the clean ones.
        runtime: Device and numerics of scoring.
        batch_size: Pages of a forward pass.
        emit: Consumer of progress events.
        stop: Polled between batches.
        reads: Predictions by text in the place of those by image, for a model that only reads.

    Attributes:
        last_predictions: Predictions of the last call, by `CLEAN` and `DEGRADED`; empty before the first.
    """

    def __init__(
        self,
        prepared: PreparedPages,
        rows: np.ndarray,
        degraded: InferenceDataset | None,
        runtime: Runtime,
        batch_size: int,
        emit: Emit,
        stop: StopFlag,
        reads: Callable[[Predictions], Predictions] | None = None,
    ) -> None:
        self.prepared, self.rows, self.degraded, self.runtime = prepared, rows, degraded, runtime
        self.batch_size, self.emit, self.stop = batch_size, emit, stop
        self.reads = reads
        self.clean = InferenceDataset((ModelInput(prepared.pages),), prepared.index.targets)
        self.last_predictions: dict[str, Predictions] = {}

    def __call__(self, model: torch.nn.Module) -> Mapping[str, float]:
        """Metrics by name; `blend` is the mean of clean and degraded macro-F1, `blend_loss` of the log losses.

        Raises:
            Interrupted: `stop` was set.
        """
        predictor, batches = self.predictor(model), iter(self._loader)
        self.last_predictions = {CLEAN: self._answers(predictor, batches, "validation")}
        clean = compute_metrics(self.last_predictions[CLEAN])
        measured = by_column(clean)
        measured |= {BLEND: clean[DEFAULT], BLEND_LOSS: clean["log_loss"]}
        if self.degraded is not None:
            self.last_predictions[DEGRADED] = self._answers(predictor, batches, "degraded validation")
            corrupted = compute_metrics(self.last_predictions[DEGRADED])
            measured[DEFAULT + DEGRADED_SUFFIX] = corrupted[DEFAULT]
            measured[LOSS + DEGRADED_SUFFIX] = corrupted["log_loss"]
            measured[BLEND] = (clean[DEFAULT] + corrupted[DEFAULT]) / 2
            measured[BLEND_LOSS] = (clean["log_loss"] + corrupted["log_loss"]) / 2
        return distributed.broadcast(measured)

    def predictor(self, model: torch.nn.Module) -> Predictor:
        """The model ready to score, as it is going to predict (`inference_model`)."""
        network = inference_model(placed(model, self.runtime), self.prepared.preprocess.size, self.runtime)
        return Predictor((Network(network, self.prepared.preprocess, self.runtime),), self.prepared.index.class_names)

    def _answers(self, predictor: Predictor, batches: Iterator[Batch], task: str) -> Predictions:
        own = islice(batches, -(-len(self._own) // self.batch_size))
        index = self.prepared.index
        found = predict_batches(predictor, own, index, self.rows, task=task, emit=self.emit, stop=self.stop)
        return found if self.reads is None else self.reads(found)

    @property
    def _own(self) -> np.ndarray:
        return self.runtime.shard_of(self.rows)

    @cached_property
    def _loader(self) -> Iterable[Batch]:
        datasets = [self.clean] if self.degraded is None else [self.clean, self.degraded]
        # The rows of the first dataset, then the same of the next, which follows it.
        batches = [
            [row + number * len(self.clean) for row in batch]
            for number in range(len(datasets))
            for batch in cut(self._own.tolist(), self.batch_size)
        ]
        return data_loader(
            ConcatDataset(datasets),
            batches,
            workers=self.runtime.workers,
            pin=self.runtime.device.type == "cuda",
            on_wait=self.stop.check_while_waiting,
            persistent=True,
        )


def measured_metrics(num_classes: int, degraded: bool) -> tuple[str, ...]:
    """The names of what a `Validator` measures, known before it does.

    Args:
        num_classes: Length of the class axis.
        degraded: Whether it also scores degraded pages.
    """
    found = (BLEND, BLEND_LOSS, *(metric.column or name for name, metric in metrics_with(num_classes).items()))
    return (*found, DEFAULT + DEGRADED_SUFFIX, LOSS + DEGRADED_SUFFIX) if degraded else found


def placed(model: torch.nn.Module, runtime: Runtime) -> torch.nn.Module:
    """Return a model in evaluation mode on a runtime: a copy if its weights need another memory layout."""
    memory_format = runtime.memory_format
    moves = (
        weight.ndim == 4 and not weight.is_contiguous(memory_format=memory_format) for weight in model.parameters()
    )
    return (runtime.place(copy.deepcopy(model)) if any(moves) else model).eval()
