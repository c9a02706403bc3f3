"""The views of test-time augmentation of each member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from docclf_cli.data.images.augmentation import Policy
from docclf_cli.engine.inference.store import PLAIN
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.ensembling.tta import IDENTITY, View, default_views, expand, identity
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import TTAConfig


@dataclass(frozen=True)
class PageView:
    """A view of TTA as data loaders call it; the plain page has the name that plain predictions are stored under."""

    quick: ClassVar = True
    view: View

    @property
    def name(self) -> str:
        """Part of the fingerprint of predictions."""
        return PLAIN if self.view.name == IDENTITY else self.view.name

    def __call__(self, page: np.ndarray, row: int) -> np.ndarray:
        """The page as the view shows it."""
        return self.view.apply(page)


PLAIN_VIEW = PageView(identity()[0])


def views_of(config: TTAConfig, members: Sequence[TrainedModel]) -> list[tuple[PageView, ...]]:
    """The views of each member: those listed, or where none are, those that its own augmentation trained.

    Raises:
        InputError: A view is unknown or listed twice, or none is left.
    """
    if config.augmentations is not None:
        listed = _wrapped(expand(config.augmentations, config.include_identity))
        return [listed for _ in members]
    return [_trained(member, config.include_identity) for member in members]


def _trained(member: TrainedModel, include_identity: bool) -> tuple[PageView, ...]:
    policy = Policy.from_config(member.info.augmentation)
    views = default_views(policy.facts)
    if not views and not include_identity:
        raise InputError(
            f"{member.name}: its augmentation '{member.info.augmentation.name}' contains no transform that can be a view",
            "list ensemble.tta.augmentations, or leave include_identity at true",
        )
    return _wrapped(expand(views, include_identity))


def _wrapped(views: Sequence[View]) -> tuple[PageView, ...]:
    return tuple(PageView(view) for view in views)
