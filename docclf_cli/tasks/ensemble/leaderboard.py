"""Aligns the members of an ensemble, combines them by each method, and scores both side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from docclf_cli.engine.inference.member_predictions import VAL, EvaluationPages, MemberPredictions
from docclf_cli.ensembling.alignment import Stack
from docclf_cli.ensembling.combine import Method, best_member, cross_combine
from docclf_cli.ensembling.held_out import HeldOut
from docclf_cli.results.ensembling import ScoreRow
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.ensemble.selection import measure, score_by

UNSEEN = "averaging"  # what is written where nothing tells methods apart


@dataclass(frozen=True, eq=False)
class CombinedPredictions:
    """The predictions of one method.

    Attributes:
        method: The method.
        held_out: Cross-fitted predictions for held-out pages; None if there are none.
        target: Predictions for the pages to predict.
        info: Weights and other facts of the fit, as JSON values.
    """

    method: Method
    held_out: Predictions | None
    target: Predictions
    info: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class AlignedMembers:
    """Predictions of the members, aligned by class name and page, in the order of the members' fingerprints.

    Attributes:
        names: Names of the members.
        weights: Weights of the members as the profile lists them, float [members].
        held_out: Predictions for pages that no member was trained on; None if there are none.
        target: Predictions for the pages to predict.
        same: Whether the pages to predict are the held-out ones.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    held_out: Stack | None
    target: Stack
    same: bool

    @classmethod
    def of(
        cls, answers: Sequence[MemberPredictions], view: str, evaluation_pages: EvaluationPages, in_sample: np.ndarray
    ) -> AlignedMembers:
        """Align the predictions of members in one view.

        Args:
            answers: Of each member.
            view: Its name.
            evaluation_pages: The pages.
            in_sample: Which pages to predict some member was trained on, bool [n]; they are not scored.
        """
        names = [answer.member.name for answer in answers]
        held_out = None
        if len(evaluation_pages.common):
            held_out = Stack.of([answer.held_out[view] for answer in answers], names=names, ids=evaluation_pages.common)
        same = evaluation_pages.split == VAL
        target = held_out if same else Stack.of([answer.target[view] for answer in answers], names=names)
        assert target is not None
        if target.targets is not None:
            target = replace(target, targets=np.where(in_sample, -1, target.targets))
        order = target.order
        weights = np.array([answers[place].member.weight for place in order])
        return cls(tuple(names[place] for place in order), weights, held_out, target, same)

    @cached_property
    def fit_rows(self) -> HeldOut | None:
        """Held-out pages that are labelled and that all members could read."""
        return None if self.held_out is None or self.held_out.targets is None else HeldOut.of(self.held_out)

    def member(self, place: int) -> tuple[Predictions | None, Predictions]:
        """Return a member's predictions for held-out pages and for the pages to predict."""
        held_out = None if self.held_out is None else self.held_out.predictions(self.held_out.log_probs[place], "alone")
        return held_out, self.target.predictions(self.target.log_probs[place], "alone")

    def best(self, metric: str) -> int | None:
        """The place of the member that is best on held-out pages; None where there are none."""
        if self.fit_rows is None or not len(self.fit_rows):
            return None
        return best_member(self.fit_rows, score_by(metric))

    def combined(self, method: Method) -> CombinedPredictions:
        """Combine the members by a method.

        Raises:
            InputError: The method is fitted and there are too few held-out pages, or all listed weights are 0.
        """
        combination = method.combination(self.weights, self.fit_rows)
        label = method.label
        held_out = self._cross_combined(method)
        target = held_out
        if not self.same or target is None:
            target = self.target.predictions(combination.apply(self.target.log_probs), label)
        return CombinedPredictions(method, held_out, target, combination.describe())

    def _cross_combined(self, method: Method) -> Predictions | None:
        if self.held_out is None or self.fit_rows is None or not len(self.fit_rows):
            return None
        log_probs = np.full(self.held_out.log_probs.shape[1:], np.nan)
        log_probs[self.fit_rows.rows] = cross_combine(method, self.weights, self.fit_rows)
        return self.held_out.predictions(log_probs, method.label)

    def choose(self, candidates: Sequence[CombinedPredictions], metric: str) -> CombinedPredictions:
        """Choose the candidate that is best on held-out pages; without such pages, averaging or the first one."""
        if self.fit_rows is None or not len(self.fit_rows):
            return next((one for one in candidates if one.method.name == UNSEEN), candidates[0])
        rows, score = self.fit_rows.rows, score_by(metric)
        targets = self.fit_rows.targets
        return max(candidates, key=lambda one: score(_log_probs(one)[rows], targets))


def _log_probs(one: CombinedPredictions) -> np.ndarray:
    assert one.held_out is not None
    return one.held_out.log_probs.astype(np.float64)


def member_lines(aligned: AlignedMembers, metric: str) -> tuple[ScoreRow, ...]:
    """Each member alone, compared with the best of them."""
    best = aligned.best(metric)
    against = (None, None) if best is None else aligned.member(best)
    return tuple(
        ScoreRow(
            name, *_measured(aligned.member(place), (None, None) if place == best else against, metric, aligned.same)
        )
        for place, name in enumerate(aligned.names)
    )


def method_line(
    aligned: AlignedMembers,
    one: CombinedPredictions,
    against: tuple[Predictions | None, Predictions | None],
    metric: str,
    name: str = "",
) -> ScoreRow:
    """Score a method, and compare it with other predictions."""
    weights = one.info["weights"]
    named = None if weights is None else dict(zip(aligned.names, weights, strict=True))
    measured = _measured((one.held_out, one.target), against, metric, aligned.same)
    return ScoreRow(name or one.method.label, *measured, weights=named)


def _measured(
    sides: tuple[Predictions | None, Predictions],
    against: tuple[Predictions | None, Predictions | None],
    metric: str,
    same: bool,
) -> tuple[Any, Any]:
    held_out = None if sides[0] is None else measure(sides[0], against[0], metric)
    return held_out, None if same else measure(sides[1], against[1], metric)
