"""Run folders with models that were never trained: quick to make, and all that members are about."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import load_index
from docclf_cli.data.index.splits import Split, folds, hold_out
from docclf_cli.data.loading.pages import NamedView, Pages
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.run_folder import FINISHED, RunFolder
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.members import Indices, merge_checkpoints, requests_of
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import AugmentationConfig, DataConfig, ModelConfig, Profile, TransformConfig
from docclf_cli.results.predictions import Predictions

SIZE = 32


def untrained(root: Path, seed: int, size: int = SIZE, **changes: object) -> Checkpoint:
    """A checkpoint whose weights depend on the seed alone."""
    data = DataConfig(root=str(root), image_size=size)
    names = load_index(data, "train").class_names
    config = ModelConfig(name="test_resnet", model_name="test_resnet", pretrained=False)
    torch.manual_seed(seed)
    model = create_model(config, len(names), image_size=size)
    _spread(model.eval(), _some_pages(root, size))
    policy = AugmentationConfig(
        transforms=(TransformConfig(name="quarter_turn"), TransformConfig(name="rotate", degrees=8))
    )
    checkpoint = Checkpoint(
        model=model.state_dict(), model_config=config, class_names=names, preprocess=Preprocess(size),
        augmentation=policy, profile=Profile(data=data).model_dump(mode="json"), epoch=1,
        metrics={"f1_macro": 0.5},
    )  # fmt: skip
    return replace(checkpoint, **changes)  # type: ignore[arg-type]


def make_run(
    folder: Path, root: Path, seed: int, *, val_fraction: float = 0.2, split_seed: int = 0, **changes: object
) -> Path:
    """A finished run that held out a share of the pages."""
    run = RunFolder(folder)
    untrained(root, seed, **changes).save(run.best)
    index = load_index(DataConfig(root=str(root)), "train")
    train, val = hold_out(index, val_fraction, split_seed)
    Split.of_rows(index, {"train": train, "val": val}).save(run.split)
    run.write_state(FINISHED)
    return folder


def make_folds(folder: Path, root: Path, k: int, seed: int) -> Path:
    """A finished folds run."""
    run = RunFolder(folder)
    index = load_index(DataConfig(root=str(root)), "train")
    Split.of_folds(index, folds(index, k, 0)).save(run.split)
    for number in range(k):
        untrained(root, seed * 100 + number).save(run.fold(number).best)
    run.write_state(FINISHED)
    return folder


def with_shuffled_classes(checkpoint: Checkpoint, seed: int = 0) -> Checkpoint:
    """The same model with the class axis in another order."""
    order = np.random.default_rng(seed).permutation(len(checkpoint.class_names))
    model = dict(checkpoint.model)
    for name in _classifier(checkpoint):
        model[name] = model[name][torch.from_numpy(order)]
    return replace(checkpoint, model=model, class_names=tuple(checkpoint.class_names[place] for place in order))


def _classifier(checkpoint: Checkpoint) -> list[str]:
    classes = len(checkpoint.class_names)
    return [name for name, value in checkpoint.model.items() if name.startswith("fc.") and len(value) == classes]


@cache
def _some_pages(root: Path, size: int) -> torch.Tensor:
    data = DataConfig(root=str(root))
    index = load_index(data, "train")
    pages = Pages(index, Preprocess(size), data)
    images = np.stack([pages[row] for row in range(0, len(index), 3)])
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.45) / 0.225


def _spread(model: Any, images: torch.Tensor) -> None:
    """Fresh classifiers see little difference between pages: make them differ."""
    with torch.no_grad():
        features = model.forward_head(model.forward_features(images), pre_logits=True)
        weights = model.get_classifier().weight.normal_()
        weights.mul_(3 / ((features - features.mean(dim=0)) @ weights.T).std(dim=0)[:, None])
        model.get_classifier().bias.copy_(-(weights @ features.mean(dim=0)))


def predictions_of(
    member: TrainedModel,
    split: str,
    *,
    data: DataConfig | None = None,
    view: NamedView | None = None,
    **options: Any,
) -> Predictions:
    """What a member says about a split of its data, or of other data, as commands ask for it."""
    requests = requests_of(member, split, Indices(data or member.info.data), view)
    return merge_checkpoints(member, split, get_predictions(requests, **options))
