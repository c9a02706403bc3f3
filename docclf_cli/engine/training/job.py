"""What one fit works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from docclf_cli.data.images.corruptions import DegradedView
from docclf_cli.data.loading.datasets import EpochBatches
from docclf_cli.data.loading.prepared_pages import PreparedPages
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.engine.runtime.numerics import SCORING_BATCH
from docclf_cli.engine.training.preflight import batches_of
from docclf_cli.engine.training.validator import Validator
from docclf_cli.events import Emit
from docclf_cli.profile.schema import Profile
from docclf_cli.stop import StopFlag

Validate = Callable[[torch.nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class TrainingJob:
    """What one fit works on: a profile, pages with their two splits, a folder, a device.

    `scoring` is the runtime with the numerics of validation; it may differ from that of training.
    """

    profile: Profile
    prepared: PreparedPages
    train_rows: np.ndarray
    val_rows: np.ndarray
    run: RunFolder
    runtime: Runtime
    scoring: Runtime
    label: str

    @property
    def batches(self) -> EpochBatches:
        """The share of the training batches that is this process's."""
        return batches_of(self.profile, len(self.train_rows), self.runtime)

    @property
    def degraded_view(self) -> DegradedView:
        """How held-out pages are damaged."""
        return DegradedView.of_validation(self.prepared.index.ids, self.profile.data)

    def validator(self, emit: Emit, stop: StopFlag) -> Validator:
        """What scores a model on the held-out pages."""
        batch_size, degraded = SCORING_BATCH * self.profile.train.batch_size, None
        if self.profile.data.degraded_validation:
            degraded = self.prepared.view_dataset(self.degraded_view, self.val_rows, self.runtime.workers, stop)
        return Validator(self.prepared, self.val_rows, degraded, self.scoring, batch_size, emit, stop)
