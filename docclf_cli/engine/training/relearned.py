"""What the end of `train` learns beside the weights, learned again for weights that have changed since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from docclf_cli.data.loading.prepared_pages import prepare
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.engine.training.job import TrainingJob
from docclf_cli.engine.training.novelty import learn_novelty
from docclf_cli.engine.training.orientation import learn_orientation
from docclf_cli.engine.training.packets import learn_packets
from docclf_cli.events import Emit
from docclf_cli.profile.schema import Profile
from docclf_cli.stop import StopFlag


def relearned(
    checkpoint: Checkpoint,
    held_out: PredictionRequest,
    train_rows: np.ndarray,
    runtime: Runtime,
    emit: Emit,
    stop: StopFlag,
) -> Checkpoint:
    """Learn from its run's own pages again what a checkpoint knows about features: unknown pages, which side is up, cuts.

    Args:
        checkpoint: With its new weights and the temperature of its image; it has of each what its weights had before, and what it
            lacks it does not get.
        held_out: The pages that the run held out, and how they are read.
        train_rows: Rows of the pages that the run was trained on, int64 [n].
        runtime: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        Interrupted: `stop` was set.
    """
    had = (checkpoint.novelty, checkpoint.orientation, checkpoint.boundaries)
    if not any(had):
        return checkpoint
    index, data = held_out.index, held_out.data
    prepared = prepare(index, checkpoint.preprocess, data, runtime.workers, emit=emit, stop=stop)
    train, val = (
        np.array([row for row in rows.tolist() if row not in prepared.unreadable], np.int64)
        for rows in (train_rows, held_out.rows)
    )
    profile = Profile.model_validate(dict(checkpoint.profile)).model_copy(update={"data": data})
    job = TrainingJob(
        profile, prepared, train, val, RunFolder(held_out.info.path.parent), runtime, runtime, "adapted statistics"
    )
    validator = job.validator(emit, stop)
    learners = (learn_novelty, learn_orientation, learn_packets)
    found: list[Mapping[str, np.ndarray]] = [
        learn(job, checkpoint, validator) if before else {} for learn, before in zip(learners, had, strict=True)
    ]
    return replace(checkpoint, novelty=found[0], orientation=found[1], boundaries=found[2])
