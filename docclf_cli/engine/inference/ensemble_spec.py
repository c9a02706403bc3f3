"""Describes what predicts: a checkpoint, a run, a run of folds, or the members of a profile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from docclf_cli.engine.inference.member_predictions import (
    MERGED,
    VAL,
    EvaluationPages,
    find_evaluation_pages,
    open_members,
    predict_members,
)
from docclf_cli.engine.inference.store import PLAIN
from docclf_cli.engine.inference.trained_model import TrainedModel, refit_or
from docclf_cli.engine.inference.views import PLAIN_VIEW, PageView, views_of
from docclf_cli.ensembling.alignment import Stack
from docclf_cli.ensembling.combine import Method, methods_of
from docclf_cli.ensembling.held_out import HeldOut, enough
from docclf_cli.errors import InputError
from docclf_cli.events import Emit
from docclf_cli.profile.schema import EnsembleConfig, RuntimeConfig, TTAConfig
from docclf_cli.stop import StopFlag

ALONE = Method("averaging")
NOTHING_TO_LEARN = "choose a method that is not fitted: voting, averaging, or weighted with a `weight` for each member"


@dataclass(frozen=True, eq=False)
class EnsembleSpec:
    """The members that predict, how they are combined, and in which views.

    Attributes:
        name: What the result calls them.
        members: One model, or several.
        method: How several combine.
        views: How they look at pages; None is plainly.
        held_out: What a fitted method learns from: the members in this order; None for other methods.
    """

    name: str
    members: tuple[TrainedModel, ...]
    method: Method = ALONE
    views: TTAConfig | None = None
    held_out: HeldOut | None = None

    @classmethod
    def of_checkpoint(cls, path: Path, tta: bool = False) -> EnsembleSpec:
        """A checkpoint file, a run folder, or a run of folds, of which the refit on all pages predicts if there is one.

        Raises:
            CheckpointError: There is no checkpoint, or it is damaged.
        """
        return cls(str(path), (refit_or(TrainedModel.load(path)),), views=TTAConfig() if tta else None)

    @classmethod
    def of_ensemble(cls, name: str, config: EnsembleConfig, tta: bool = False) -> EnsembleSpec:
        """The members of a profile.

        Raises:
            InputError: They do not fit together, or the profile asks for all methods.
            CheckpointError: A checkpoint is missing or damaged.
        """
        methods = methods_of(config)
        if len(methods) > 1:
            raise InputError(
                f"ensemble.method: predict needs one method, not '{config.method}'",
                "`docclf ensemble --method all` says which is best",
            )
        members = sorted(open_members(config.models), key=lambda member: member.key)
        return cls(name, tuple(members), methods[0], config.tta if tta or config.tta.enabled else None)

    def view_specs(self) -> list[tuple[PageView, ...]]:
        """The views of each member.

        Raises:
            InputError: A view is unknown or listed twice, or none is left.
        """
        return views_of(self.views, self.members) if self.views else [(PLAIN_VIEW,) for _ in self.members]

    def fitted_on_held_out(self, runtime_config: RuntimeConfig, emit: Emit, stop: StopFlag) -> EnsembleSpec:
        """Return the spec with the data that a fitted method learns from: predictions for pages that all members hold out.

        Stored predictions are used again.

        Raises:
            InputError: There are too few such pages.
        """
        if not self.method.fitted:
            return self
        evaluation_pages, view_specs = self._held_out_pages(), self.view_specs()
        predicted = predict_members(
            self.members, view_specs, evaluation_pages, runtime_config=runtime_config, emit=emit, stop=stop
        )
        view = PLAIN
        if self.views:
            view, how = MERGED, self.views.merge
            predicted = [
                one.merged([view_spec.name for view_spec in own], how)
                for one, own in zip(predicted, view_specs, strict=True)
            ]
        stack = Stack.of([one.held_out[view] for one in predicted], ids=evaluation_pages.common)
        held_out = enough(HeldOut.of(stack), self.method.label)
        return replace(self, held_out=replace(held_out, log_probs=held_out.log_probs[np.argsort(stack.order)]))

    def _held_out_pages(self) -> EvaluationPages:
        try:
            return find_evaluation_pages(self.members, {}, VAL)
        except InputError as error:
            raise InputError(
                f"ensemble.method: {self.method.label} is fitted on held-out pages, but {error.message}",
                NOTHING_TO_LEARN,
            ) from error
