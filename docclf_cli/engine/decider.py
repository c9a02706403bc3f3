"""What decides about a page: one model, or several that combine; each in one or more views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docclf_cli.data.augment import Policy
from docclf_cli.data.decode import RULES
from docclf_cli.data.page_loader import Look
from docclf_cli.engine.checkpoint import Checkpoint, find_checkpoint
from docclf_cli.engine.inference import Predictor
from docclf_cli.engine.runtime import Runtime
from docclf_cli.ensembling.merging import Merge, merge
from docclf_cli.ensembling.tta import View, default_views, expand
from docclf_cli.files import sha256_of
from docclf_cli.profile.schema import DataConfig, TTAConfig

Combine = Callable[[np.ndarray], np.ndarray]  # [members, n, num_classes] -> [n, num_classes]


@dataclass(frozen=True, eq=False)
class Voice:
    """One member.

    Attributes:
        predictors: Its models; the folds of a run, of which the mean counts.
        look: Which of the looks it wants.
        views: How many views this look has.
        how: How these are merged.
        columns: Where each class of the decider is on the member's class axis.
    """

    predictors: tuple[Predictor, ...]
    look: int
    views: int
    how: Merge
    columns: np.ndarray

    def log_probs(self, images: torch.Tensor) -> np.ndarray:
        """Log-probabilities [n, num_classes] of images [views * n, 3, size, size], view after view."""
        models = []
        for predictor in self.predictors:
            seen = predictor.log_probs(images).cpu().numpy().reshape(self.views, -1, len(self.columns))
            models.append(seen[0] if self.views == 1 else merge(seen, self.how))
        return (models[0] if len(models) == 1 else merge(np.stack(models)))[:, self.columns]


@dataclass(frozen=True, eq=False)
class Decider:
    """What decides.

    Attributes:
        voices: The members.
        looks: What they want to see of a page.
        combine: How the members' log-probabilities become one.
        class_names: Names along the class axis.
        temperature: Divides the logits of the combination.
        name: What messages call it.
        folder: Where what is derived from it goes.
        checkpoints: Its files.
        data: How its pages were read in training.
        settings: What makes its log-probabilities, representable as JSON.
    """

    voices: tuple[Voice, ...]
    looks: tuple[Look, ...]
    combine: Combine
    class_names: tuple[str, ...]
    temperature: float
    name: str
    folder: Path
    checkpoints: tuple[Path, ...]
    data: DataConfig
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def most_views(self) -> int:
        """Views of the look that has most."""
        return max(len(look.views) for look in self.looks)

    def log_probs(self, images: tuple[torch.Tensor, ...]) -> np.ndarray:
        """Uncalibrated log-probabilities, float32 [n, num_classes], of the images of each look."""
        return self.combine(np.stack([voice.log_probs(images[voice.look]) for voice in self.voices])).astype(np.float32)


def decider_at(path: Path, runtime: Runtime, *, views: TTAConfig | None = None) -> Decider:
    """What a checkpoint file, a run folder or a run of folds decides with.

    Args:
        path: Of a run, its best checkpoint; of a run of folds, the mean of their best checkpoints.
        runtime: Device and numerics.
        views: How pages are looked at; None is plainly.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    paths = fold_checkpoints(path) or [find_checkpoint(path)]
    checkpoints = [Checkpoint.load(one) for one in paths]
    first = checkpoints[0]
    shown = views_of(first, views)
    predictors = tuple(
        Predictor(runtime.place(checkpoint.build(one)), checkpoint.preprocess, checkpoint.class_names, runtime)
        for one, checkpoint in zip(paths, checkpoints, strict=True)
    )
    how = views.merge if views else "mean"
    voice = Voice(predictors, 0, len(shown), how, np.arange(len(first.class_names)))
    look = Look(first.preprocess, tuple(view.apply for view in shown))
    settings = {
        "checkpoint": [sha256_of(one) for one in paths],
        "views": [*(view.name for view in shown), how],
        "numerics": [runtime.precision, runtime.device.type, RULES],
    }
    folder = path if path.is_dir() else path.parent
    return Decider(
        (voice,), (look,), _only, first.class_names, _temperature(checkpoints), str(path), folder, tuple(paths),
        DataConfig.model_validate(first.profile["data"]), settings,
    )  # fmt: skip


def fold_checkpoints(run: Path) -> list[Path]:
    """The best checkpoints of a run of folds, by fold; none for anything else."""
    return sorted(run.glob("fold-*/best.ckpt"), key=lambda file: int(file.parent.name.removeprefix("fold-")))


def views_of(checkpoint: Checkpoint, views: TTAConfig | None) -> list[View]:
    """The views of a checkpoint: those listed, or what its own augmentation policy has shown it."""
    if views is None:
        return expand(())
    listed = views.augmentations
    if listed is None:
        listed = default_views(Policy.from_config(checkpoint.augmentation).facts)
    return expand(listed, views.include_identity)


def _temperature(checkpoints: Sequence[Checkpoint]) -> float:
    return float(np.exp(np.mean([np.log(checkpoint.temperature) for checkpoint in checkpoints])))


def _only(members: np.ndarray) -> np.ndarray:
    return members[0]
