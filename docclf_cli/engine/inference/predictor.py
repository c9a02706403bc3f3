"""One way from pages to predictions, shared by training, evaluation, TTA, ensembles and `predict`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading.loaders import Batch, PlainPages, View, plain_loader
from docclf_cli.data.loading.pages import Pages
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import precision_of
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime, fast_precisions, resolve_runtime
from docclf_cli.engine.runtime.numerics import for_inference, pick_numerics, precision_here
from docclf_cli.engine.runtime.numerics_benchmark import Workload
from docclf_cli.errors import ResourceError, is_out_of_memory
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag

logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class Predictor:
    """A model ready to look at pages.

    Attributes:
        model: In evaluation mode, on the runtime's device.
        preprocess: How pages become its input.
        class_names: Names along its output.
        runtime: Device and numerics.
        batch_size: Pages per forward pass.
    """

    model: torch.nn.Module
    preprocess: Preprocess
    class_names: tuple[str, ...]
    runtime: Runtime
    batch_size: int = 64

    def log_probs(self, images: torch.Tensor) -> torch.Tensor:
        """Log-probabilities, float32 [n, num_classes], of uint8 images [n, 3, size, size].

        Where memory runs out, half of them are tried at a time, and that is said.

        Raises:
            ResourceError: Memory does not do for a single page.
        """
        try:
            return self._log_probs(images)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(images) == 1:
                text = f"memory has run out at one page of {self.preprocess.size} pixels"
                raise ResourceError(text, "end other programs, or use a smaller model") from error
        half = len(images) // 2
        logger.warning("memory is short: %d pages at a time instead of %d", half, len(images))
        return torch.cat([self.log_probs(images[:half]), self.log_probs(images[half:])])

    def _log_probs(self, images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), self.runtime.autocast():
            logits = self.model(normalise(images, self.preprocess, self.runtime))
        return torch.log_softmax(logits.float(), dim=1)


def inference_runtime(config: RuntimeConfig, checkpoint: Checkpoint, pages: int = 0, batch: int = 64) -> Runtime:
    """The runtime to predict with: the checkpoint's own number format, unless another is asked for or it is emulated here.

    Args:
        config: Device, threads, and numerics that were asked for.
        checkpoint: Whose model it is.
        pages: How many pages there are, each as often as it is looked at; 0 where that is not known.
        batch: Pages of a forward pass.
    """
    asked = for_inference(config)
    runtime = resolve_runtime(asked)
    stored = RuntimeConfig.model_validate(checkpoint.profile.get("runtime", {})).inference
    own: dict[str, str] = {}
    if asked.precision == "auto":
        own["precision"] = precision_here(precision_of(checkpoint.profile), runtime.device)
    if asked.memory_format == "auto" and stored.precision in fast_precisions(runtime.device):
        own["memory_format"] = stored.memory_format
    asked = asked.model_copy(update=own)
    work = Workload(
        build=checkpoint.build,
        runtime=runtime,
        num_classes=len(checkpoint.class_names),
        size=checkpoint.preprocess.size,
        batch=batch,
        pages=pages,
        training=False,
    )
    return runtime.with_numerics(pick_numerics(asked, work, checkpoint.model_config))


def normalise(images: torch.Tensor, preprocess: Preprocess, runtime: Runtime) -> torch.Tensor:
    """uint8 [n, 3, h, w] to the float32 input of the model, on its device and in its memory layout."""
    count, channels, height, width = images.shape
    pages = runtime.to_device(images).movedim(1, -1)  # as pages are stored
    # Three channels as the last axis are not vectorised, a row of pixels is.
    rows = pages.reshape(count, height, width * channels).to(torch.float32)
    mean = torch.tensor(preprocess.mean, device=rows.device).repeat(width) * 255
    std = torch.tensor(preprocess.std, device=rows.device).repeat(width) * 255
    rows.sub_(mean).div_(std)
    return rows.view(pages.shape).movedim(-1, 1).contiguous(memory_format=runtime.memory_format)


def predict(
    predictor: Predictor,
    pages: Pages,
    rows: Sequence[int] | np.ndarray,
    *,
    view: View | None = None,
    fingerprint: Mapping[str, str] | None = None,
    task: str = "predict",
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> Predictions:
    """Predict the given rows of an index, each once, in their order; of several processes each does a share.

    Args:
        predictor: Model and preprocessing.
        pages: Where pages come from.
        rows: Which of them.
        view: Changes a page before the model sees it.
        fingerprint: Stored with the predictions.
        task: Name of the work in progress events.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        Interrupted: `stop` was set.
    """
    rows = np.asarray(rows)
    dataset, runtime = PlainPages(pages, pages.index.targets, view), predictor.runtime
    own = runtime.share_of(rows).tolist()
    pin = runtime.device.type == "cuda"
    batches = plain_loader(dataset, own, predictor.batch_size, runtime.workers, pin, stop.check_while_waiting)
    found = answers(predictor, batches, pages.index, rows, task=task, emit=emit, stop=stop)
    return replace(found, fingerprint=fingerprint or {})


def answers(
    predictor: Predictor,
    batches: Iterable[Batch],
    index: DocumentIndex,
    rows: np.ndarray,
    *,
    task: str,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> Predictions:
    """Predictions for rows of an index from batches that hold each of this process's share once (`Runtime.share_of`).

    Raises:
        Interrupted: `stop` was set.
    """

    def say(done: int) -> None:
        emit(Progress(task, min(done * predictor.runtime.world_size, len(rows)), len(rows)))

    found = distributed.together(lambda: _answers(predictor, batches, predictor.runtime.share_of(rows), say, stop))
    log_probs, status = map(distributed.interleaved, zip(*found, strict=True))
    return Predictions(
        ids=index.ids[rows],
        log_probs=log_probs,
        class_names=predictor.class_names,
        targets=None if index.targets is None else index.targets[rows],
        groups=None if index.groups is None else index.groups[rows],
        status=status.astype(np.str_),
    )


def _answers(
    predictor: Predictor, batches: Iterable[Batch], rows: np.ndarray, say: Callable[[int], None], stop: StopFlag
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities and status of rows, in their order."""
    log_probs = np.full((len(rows), len(predictor.class_names)), np.nan, dtype=np.float32)
    status = np.full(len(rows), "", dtype=object)
    place = {int(row): position for position, row in enumerate(rows)}
    places, told, done = list[int](), list[torch.Tensor](), 0  # what the model told stays on its device to the end
    for batch in batches:
        stop.raise_if_set(f"stopped after {done} of {len(rows)} pages", "start the command again; nothing was changed")
        if len(batch.rows):
            places += [place[int(row)] for row in batch.rows]
            told.append(predictor.log_probs(batch.images))
        for row, reason in batch.unreadable:
            status[place[row]] = reason
        done += len(batch.rows) + len(batch.unreadable)
        say(done)
    if told:
        log_probs[places] = torch.cat(told).cpu().numpy()
    return log_probs, status


def evaluate_single_class_performance(
    model: torch.nn.Module, dataloader: Iterable[Any], target_class: int, device: str | torch.device = "cpu"
) -> dict[str, float]:
    """How a model does on one class, with the arguments and keys of the seed framework.

    Args:
        model: Gives logits [n, num_classes] for a batch of images.
        dataloader: Yields (images, targets) as the model takes them.
        target_class: Index of the class.
        device: Where to run.

    Returns:
        `accuracy` (recall: the share of the class's pages that were recognised), `f1`, `loss` (mean cross entropy
        of the class's pages) and `support` (how many there are).

    Raises:
        InputError: No page of the class is there.
    """
    from docclf_cli.metrics.class_metrics import single_class

    model = model.to(device).eval()
    log_probs, targets = [], []
    with torch.inference_mode():
        for images, batch_targets in dataloader:
            log_probs.append(torch.log_softmax(model(images.to(device)).float(), dim=1).cpu())
            targets.append(torch.as_tensor(batch_targets).cpu())
    stacked, truth = torch.cat(log_probs).numpy(), torch.cat(targets).numpy()
    names = tuple(f"class_{index}" for index in range(stacked.shape[1]))
    ids = np.arange(len(truth)).astype(np.str_)
    return single_class(Predictions(ids, stacked, names, truth), target_class)
