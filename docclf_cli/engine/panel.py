"""Members side by side, and what methods make of them on held-out pages and on the pages to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from docclf_cli.engine.choosing import measure, score_by
from docclf_cli.engine.team import VAL, Answers, Ground
from docclf_cli.ensembling.alignment import Stack, align
from docclf_cli.ensembling.combine import Method, best_member, cross_combine
from docclf_cli.ensembling.held_out import HeldOut
from docclf_cli.results.ensembling import Line
from docclf_cli.results.predictions import Predictions

UNSEEN = "averaging"  # what is written where nothing tells methods apart


@dataclass(frozen=True, eq=False)
class Combined:
    """What a method makes of the members.

    Attributes:
        method: The method.
        held_out: For held-out pages, each by a combiner that was fitted without it; None where there are none.
        target: For the pages to predict.
        facts: Weights and whatever else is known of the fit, representable as JSON.
    """

    method: Method
    held_out: Predictions | None
    target: Predictions
    facts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Panel:
    """Members aligned by class name and page, in the order of their fingerprints.

    Attributes:
        names: Of the members, in that order.
        listed: Their weights as listed.
        held_out: Pages that no member was trained on; None where there are none.
        target: Pages to predict.
        same: Whether the pages to predict are the held-out ones.
    """

    names: tuple[str, ...]
    listed: np.ndarray
    held_out: Stack | None
    target: Stack
    same: bool

    @classmethod
    def of(cls, answers: Sequence[Answers], view: str, ground: Ground, in_sample: np.ndarray) -> Panel:
        """What members say in one view.

        Args:
            answers: Of each member.
            view: Its name.
            ground: The pages.
            in_sample: Which pages to predict some member was trained on, bool [n]; they are not scored.
        """
        names = [answer.member.name for answer in answers]
        held_out = None
        if len(ground.common):
            held_out = align([answer.held_out[view] for answer in answers], names=names, ids=ground.common)
        same = ground.split == VAL
        target = held_out if same else align([answer.target[view] for answer in answers], names=names)
        assert target is not None
        if target.targets is not None:
            target = replace(target, targets=np.where(in_sample, -1, target.targets))
        order = target.order
        listed = np.array([answers[place].member.weight for place in order])
        return cls(tuple(names[place] for place in order), listed, held_out, target, same)

    @cached_property
    def learnable(self) -> HeldOut | None:
        """Held-out pages that are labelled and that all members could read."""
        return None if self.held_out is None or self.held_out.targets is None else HeldOut.of(self.held_out)

    def member(self, place: int) -> tuple[Predictions | None, Predictions]:
        """What the member at a place says about held-out pages and pages to predict."""
        held_out = None if self.held_out is None else self.held_out.predictions(self.held_out.log_probs[place], "alone")
        return held_out, self.target.predictions(self.target.log_probs[place], "alone")

    def best(self, figure: str) -> int | None:
        """The place of the member that is best on held-out pages; None where there are none."""
        if self.learnable is None or not len(self.learnable):
            return None
        return best_member(self.learnable, score_by(figure))

    def combined(self, method: Method) -> Combined:
        """What a method makes of the members.

        Raises:
            InputError: It is fitted and there are too few held-out pages, or all listed weights are 0.
        """
        combination = method.combination(self.listed, self.learnable)
        label = method.label
        held_out = self._cross_combined(method)
        target = held_out
        if not self.same or target is None:
            target = self.target.predictions(combination.apply(self.target.log_probs), label)
        return Combined(method, held_out, target, combination.describe())

    def _cross_combined(self, method: Method) -> Predictions | None:
        if self.held_out is None or self.learnable is None or not len(self.learnable):
            return None
        log_probs = np.full(self.held_out.log_probs.shape[1:], np.nan)
        log_probs[self.learnable.rows] = cross_combine(method, self.listed, self.learnable)
        return self.held_out.predictions(log_probs, method.label)

    def choose(self, candidates: Sequence[Combined], figure: str) -> Combined:
        """The candidate that is best on held-out pages; where there are none, the one that needs none to be sound."""
        if self.learnable is None or not len(self.learnable):
            return next((one for one in candidates if one.method.name == UNSEEN), candidates[0])
        rows, score = self.learnable.rows, score_by(figure)
        targets = self.learnable.targets
        return max(candidates, key=lambda one: score(_log_probs(one)[rows], targets))


def _log_probs(one: Combined) -> np.ndarray:
    assert one.held_out is not None
    return one.held_out.log_probs.astype(np.float64)


def member_lines(panel: Panel, figure: str) -> tuple[Line, ...]:
    """Each member alone, compared with the best of them."""
    best = panel.best(figure)
    against = (None, None) if best is None else panel.member(best)
    return tuple(
        Line(name, *_measured(panel.member(place), (None, None) if place == best else against, figure, panel.same))
        for place, name in enumerate(panel.names)
    )


def method_line(
    panel: Panel, one: Combined, against: tuple[Predictions | None, Predictions | None], figure: str, name: str = ""
) -> Line:
    """A method, compared with something else."""
    weights = one.facts["weights"]
    named = None if weights is None else dict(zip(panel.names, weights, strict=True))
    measured = _measured((one.held_out, one.target), against, figure, panel.same)
    return Line(name or one.method.label, *measured, weights=named)


def _measured(
    sides: tuple[Predictions | None, Predictions],
    against: tuple[Predictions | None, Predictions | None],
    figure: str,
    same: bool,
) -> tuple[Any, Any]:
    held_out = None if sides[0] is None else measure(sides[0], against[0], figure)
    return held_out, None if same else measure(sides[1], against[1], figure)
