"""Computes the metrics of an epoch on the held-out pages, clean and degraded."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice

import numpy as np
import torch

from docclf_cli.data.loading.loaders import Batch, PlainPages, ViewedPages, views_loader
from docclf_cli.data.loading.prepared_pages import PreparedPages
from docclf_cli.engine.inference.predictor import Predictor, answers
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.events import Emit
from docclf_cli.metrics.class_metrics import figures, top_k
from docclf_cli.metrics.confusion import MATRIX_METRICS
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import StopFlag

CLEAN, DEGRADED = "val", "val, damaged"


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

    Attributes:
        last_predictions: Predictions of the last call, by `CLEAN` and `DEGRADED`; empty before the first.
    """

    def __init__(
        self,
        prepared: PreparedPages,
        rows: np.ndarray,
        degraded: PlainPages | None,
        runtime: Runtime,
        batch_size: int,
        emit: Emit,
        stop: StopFlag,
    ) -> None:
        self.prepared, self.rows, self.degraded, self.runtime = prepared, rows, degraded, runtime
        self.batch_size, self.emit, self.stop = batch_size, emit, stop
        self.last_predictions: dict[str, Predictions] = {}

    def __call__(self, model: torch.nn.Module) -> Mapping[str, float]:
        """Return the metrics by name; `blend` is the mean of clean and degraded macro-F1.

        Raises:
            Interrupted: `stop` was set.
        """
        predictor, batches = self.predictor(model), iter(self._loader)
        self.last_predictions = {CLEAN: self._answers(predictor, batches, "validation")}
        clean = figures(self.last_predictions[CLEAN])
        measured = {("val_loss" if name == "log_loss" else name): value for name, value in clean.items()}
        measured["blend"] = clean["f1_macro"]
        if self.degraded is not None:
            self.last_predictions[DEGRADED] = self._answers(predictor, batches, "degraded validation")
            corrupted = figures(self.last_predictions[DEGRADED])
            measured["f1_macro_degraded"] = corrupted["f1_macro"]
            measured["blend"] = (clean["f1_macro"] + corrupted["f1_macro"]) / 2
        return distributed.share(measured)

    def predictor(self, model: torch.nn.Module) -> Predictor:
        """The model ready to score; a copy of it where the layout of its weights in training is another."""
        about = self.prepared
        return Predictor(
            placed(model, self.runtime), about.preprocess, about.index.class_names, self.runtime, self.batch_size
        )

    def _answers(self, predictor: Predictor, batches: Iterator[Batch], task: str) -> Predictions:
        own = islice(batches, -(-len(self._own) // self.batch_size))
        index = self.prepared.index
        return answers(predictor, own, index, self.rows, task=task, emit=self.emit, stop=self.stop)

    @property
    def _own(self) -> np.ndarray:
        return self.runtime.share_of(self.rows)

    @cached_property
    def _loader(self) -> Iterable[Batch]:
        clean = PlainPages(self.prepared.pages, self.prepared.index.targets)
        dataset = ViewedPages([clean] if self.degraded is None else [clean, self.degraded])
        pin = self.runtime.device.type == "cuda"
        return views_loader(
            dataset, self._own.tolist(), self.batch_size, self.runtime.workers, pin, self.stop.check_while_waiting
        )


def measured_figures(num_classes: int, degraded: bool) -> tuple[str, ...]:
    """Return the names of the metrics that a `Validator` computes.

    Args:
        num_classes: Length of the class axis.
        degraded: Whether it also scores degraded pages.
    """
    found = ("blend", *MATRIX_METRICS, "val_loss", f"top{top_k(num_classes)}_accuracy", "ece")
    return (*found, "f1_macro_degraded") if degraded else found


def placed(model: torch.nn.Module, runtime: Runtime) -> torch.nn.Module:
    """Return a model in evaluation mode on a runtime: a copy if its weights need another memory layout."""
    memory_format = runtime.memory_format
    moves = (
        weight.ndim == 4 and not weight.is_contiguous(memory_format=memory_format) for weight in model.parameters()
    )
    return (runtime.place(copy.deepcopy(model)) if any(moves) else model).eval()
