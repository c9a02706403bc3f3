"""Distillation: a model learns from the probabilities that its teachers give to the same augmented pages.

Teacher and student see the same view of a page (Beyer et al. 2022, "Knowledge distillation: a good teacher is patient and
consistent"). Where a teacher is a folds run, each page is judged by the fold that did not train on it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import interpolate

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.splits import Split
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.members import trained_ids
from docclf_cli.engine.inference.predictor import Network
from docclf_cli.engine.inference.trained_model import VAL, TrainedModel
from docclf_cli.engine.training.losses import Loss
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import DataConfig, DistillConfig, RuntimeConfig
from docclf_cli.text import and_more, composed, plural

if TYPE_CHECKING:
    from docclf_cli.data.loading.batch import Batch

ALL = -1  # the fold of a page that no fold trained on: the mean of all counts
SHOWN = 3
logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class Teacher:
    """One teacher, ready to judge pages.

    Attributes:
        networks: Its network; of a folds run one per fold.
        temperatures: Divides the logits of each network.
        fold_of_row: The network that judges each row of the index, int64 [n]; `ALL` is the mean of all.
        classes: Its column of each class of the student, int64 [num_classes].
    """

    networks: tuple[Network, ...]
    temperatures: tuple[float, ...]
    fold_of_row: np.ndarray
    classes: torch.Tensor

    def probs(self, images: torch.Tensor, rows: np.ndarray, softening: float) -> torch.Tensor:
        """Its probabilities of some pages, float32 [n, num_classes], on the device.

        Args:
            images: uint8 [n, 3, size, size], as the student sees them.
            rows: Their rows of the index, int64 [n].
            softening: Divides the calibrated logits as well.
        """
        folds = self.fold_of_row[rows]
        found = torch.zeros(len(rows), len(self.classes), device=self.classes.device)
        for number, network in enumerate(self.networks):
            mine = np.flatnonzero((folds == number) | (folds == ALL))
            if not len(mine):
                continue
            seen = as_seen(images[torch.as_tensor(mine)], network.preprocess.size)
            logits = network.outputs(seen)[0][:, self.classes] / (self.temperatures[number] * softening)
            share = np.where(folds[mine] == ALL, 1 / len(self.networks), 1.0)
            weights = torch.as_tensor(share, dtype=torch.float32, device=logits.device)
            found[torch.as_tensor(mine, device=found.device)] += torch.softmax(logits, dim=1) * weights[:, None]
        return found


@dataclass(frozen=True, eq=False)
class Teachers:
    """The teachers of a fit, whose mean is learned from, and how much that counts.

    Attributes:
        members: The teachers.
        config: Weight and softening.
    """

    members: tuple[Teacher, ...]
    config: DistillConfig

    @classmethod
    def open(cls, config: DistillConfig, index: DocumentIndex, runtime: RuntimeConfig) -> Teachers:
        """Load the teachers of a profile.

        Args:
            config: Names them.
            index: The pages of the student.
            runtime: Device and threads; each teacher has its own numerics.

        Raises:
            DocclfError: As `check_teachers`, or a checkpoint is damaged.
        """
        own = runtime.model_copy(update={"precision": "auto", "memory_format": "auto", "compile": "off"})
        members = []
        for path in config.teachers:
            model = TrainedModel.load(Path(path))
            networks = model.predictor(own).networks
            classes = torch.as_tensor(_columns(model, index.class_names), device=networks[0].runtime.device)
            temperature = model.temperature_of(VAL)  # that of a single fold, which is what judges a page
            members.append(Teacher(networks, (temperature,) * len(networks), _fold_of_row(model, index), classes))
        return cls(tuple(members), config)

    def loss(self, of_labels: torch.Tensor, loss: Loss, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss of each page, [n]: that of its label, and the cross entropy to the teachers' probabilities.

        Args:
            of_labels: The loss of the labels, [n].
            loss: The loss; what the teachers say is not smoothed again.
            logits: float32 [n, num_classes] of the student.
            batch: The pages.
        """
        images, rows, softening = batch.images[0], batch.rows, self.config.softening
        probs = torch.stack([one.probs(images, rows, softening) for one in self.members]).mean(dim=0).clone()
        # The gradient of softened logits is smaller by the square of the softening (Hinton et al. 2015).
        plain = Loss(loss.penalty, 0.0, loss.class_weights)
        of_teachers = plain(logits / softening, probs.to(logits.device)) * softening**2
        return (1 - self.config.weight) * of_labels + self.config.weight * of_teachers


def as_seen(images: torch.Tensor, size: int) -> torch.Tensor:
    """Pages at the size of another network: uint8 [n, 3, size, size]."""
    if images.shape[-1] == size:
        return images
    resized = interpolate(images.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def check_teachers(
    config: DistillConfig, index: DocumentIndex, val_rows: Sequence[np.ndarray], data: DataConfig
) -> None:
    """Refuse teachers that do not fit the student's pages, before any long work.

    Args:
        config: Names them.
        index: The pages of the student.
        val_rows: The held-out rows of each of its fits.
        data: Its data section.

    Raises:
        InputError: A teacher does not know a class, sees pages in another shape, or was trained on held-out pages.
    """
    held_out = {composed(str(name)) for rows in val_rows for name in index.ids[rows].tolist()}
    for path in config.teachers:
        model = TrainedModel.load(Path(path))
        _columns(model, index.class_names)
        if model.info.data.resize_mode != data.resize_mode:
            raise InputError(
                f"{path} sees pages in the shape '{model.info.data.resize_mode}', and the student would in '{data.resize_mode}'",
                "give the student the same data.resize_mode",
            )
        if model.is_folds:
            continue
        seen = [name for name in trained_ids(model).tolist() if composed(str(name)) in held_out]
        if seen:
            raise InputError(
                f"{path} was trained on {plural(len(seen), 'page', 'pages')} that the student would be scored on, such as "
                f"{and_more([repr(name) for name in seen[:SHOWN]], len(seen))}",
                "keep the teachers' data and split (leave out --data and settings of data), or teach by a folds run",
            )


def _columns(model: TrainedModel, class_names: Sequence[str]) -> np.ndarray:
    """The teacher's column of each class.

    Raises:
        InputError: It does not know one.
    """
    known = model.info.class_names
    if missing := [name for name in class_names if name not in known]:
        raise InputError(
            f"{model.path} does not know the class {and_more(missing[:SHOWN], len(missing))}",
            "train it on the same classes first",
        )
    return np.array([known.index(name) for name in class_names], dtype=np.int64)


def _fold_of_row(model: TrainedModel, index: DocumentIndex) -> np.ndarray:
    """The network that judges each page: of a folds run that which did not train on it."""
    found = np.full(len(index), 0 if not model.is_folds else ALL, dtype=np.int64)
    if not model.is_folds:
        return found
    split = Split.load(RunFolder(model.path).split)
    network_of = {info.path.parent.name: number for number, info in enumerate(model.checkpoints)}
    part_of = dict(zip(map(composed, split.ids.tolist()), split.parts.tolist(), strict=True))
    for row, name in enumerate(index.ids.tolist()):
        part = part_of.get(composed(name))
        if part is not None and part in network_of:
            found[row] = network_of[part]
    if unknown := int((found == ALL).sum()):
        logger.info(
            "%s: %s not held out by any of its folds: their mean judges them",
            model.name,
            plural(unknown, "page is", "pages are"),
        )
    return found
