"""The pass of the best epoch over pages from which a checkpoint learns more than classes: unknown pages, cuts, which side is up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from docclf_cli.data.loading.batch import Batch
from docclf_cli.data.loading.data_loader import data_loader
from docclf_cli.data.loading.datasets import InferenceDataset, cut
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import precision_of
from docclf_cli.engine.inference.predictor import Network, NetworkOutputs, for_prediction
from docclf_cli.engine.inference.run_inference import run_inference
from docclf_cli.engine.training.job import TrainingJob
from docclf_cli.engine.training.validator import Validator


def network_of(task: TrainingJob, best: Checkpoint) -> Network:
    """The best epoch as it is going to predict, without recorders."""
    runtime = replace(task.scoring, precision=precision_of(best.profile))
    return Network(for_prediction(best, task.run.best, runtime), best.preprocess, runtime)


def last_look(
    network: Network, dataset: InferenceDataset, rows: Sequence[int], validator: Validator, task: str, views: int = 1
) -> Iterator[tuple[Batch, NetworkOutputs]]:
    """Batches of pages with what a network computes for them; those without a readable page are left out.

    Args:
        network: Runs in its own runtime.
        dataset: The pages.
        rows: Which of them.
        validator: Its batch size, `emit` and `stop` serve here as well.
        task: What progress is reported for.
        views: In how many views the dataset shows each page.

    Raises:
        Interrupted: `stop` was set.
    """
    batches = data_loader(
        dataset,
        cut(rows, max(1, validator.batch_size // views)),
        workers=network.runtime.workers,
        pin=network.runtime.device.type == "cuda",
        on_wait=validator.stop.check_while_waiting,
    )
    ran = run_inference(
        [lambda batch: network.outputs(batch.images[0])],
        batches,
        total=len(rows),
        task=task,
        emit=validator.emit,
        stop=validator.stop,
    )
    for batch, outputs in ran:
        if outputs:
            yield batch, outputs[0]
