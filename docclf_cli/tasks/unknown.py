"""Which pages are called unknown: those that look like no class the model knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.metrics.novelty import probability
from docclf_cli.metrics.thresholds import ForeignPages
from docclf_cli.text import Message

MAX_LOST = 0.05
EXPECTED = 0.1  # share of unknown pages that the probability is for, unless one is given


@dataclass(frozen=True)
class UnknownRule:
    """How pages of no known class are told from the others.

    Attributes:
        threshold: Log-odds (at even odds) above which a page is called unknown; infinite where none is.
        max_lost: Share of known pages that this may cost.
        expected: Share of unknown pages that probabilities are for.
        reason: Why no page can be called unknown, as a sentence; empty where pages can.
    """

    threshold: float = math.inf
    max_lost: float = MAX_LOST
    expected: float = EXPECTED
    reason: str = ""

    @property
    def active(self) -> bool:
        """Whether pages can be called unknown."""
        return math.isfinite(self.threshold)

    def probability(self, log_odds: float) -> float | None:
        """Probability of being unknown; None where it is not known."""
        return None if math.isnan(log_odds) else float(probability(np.array(log_odds), self.expected))


NO_RULE = UnknownRule()  # calls no page unknown


def check_shares(max_lost: float, expect_unknown: float | None) -> None:
    """Refuse shares out of range.

    Raises:
        InputError: One is.
    """
    if not 0 <= max_lost < 1:
        raise InputError(f"--max-lost: {max_lost:g} is not a share from 0 to below 1", "0.05; 0 calls no page unknown")
    if expect_unknown is not None and not 0 < expect_unknown < 1:
        raise InputError(f"--expect-unknown: {expect_unknown:g} is not between 0 and 1", "0.1 expects one page in ten")


def unknown_rule(
    members: Sequence[TrainedModel],
    max_lost: float = MAX_LOST,
    expect_unknown: float | None = None,
    *,
    has_features: bool = True,
    plain_view: bool = True,
) -> UnknownRule:
    """The rule of a model, or of the members of an ensemble.

    A page's log-odds are the mean of those of all checkpoints, and so is the threshold.

    Args:
        members: Who predicts.
        max_lost: Share of known pages that may be called unknown; 0 calls no page unknown.
        expect_unknown: Share of unknown pages that are expected; None takes `EXPECTED` for probabilities.
        has_features: Whether what runs the models gives features; onnxruntime does not.
        plain_view: Whether a view shows the page as it is.
    """
    rule = UnknownRule(math.inf, max_lost, EXPECTED if expect_unknown is None else expect_unknown)
    infos = [info for member in members for info in member.checkpoints]
    lacking = next((info for info in infos if info.novelty is None), None)
    reason, thresholds = "", [math.inf]
    if not has_features:
        reason = Message.of("No page can be called unknown with the onnx backend, which gives no features.")
    elif not plain_view:
        reason = Message.of(
            "No page can be called unknown without a view of the page as it is (ensemble.tta.include_identity)."
        )
    elif any(info.text is not None and info.text.alone for info in infos):
        reason = Message.of(
            "No page can be called unknown by a model that only reads: its network gives no features of pages."
        )
    elif lacking is not None:
        reason = Message.of(
            "No page can be called unknown: {file} holds no score of unknown pages, because it was made by an "
            "earlier version or a refit, or has too few classes (three are needed) or held-out pages.",
            file=lacking.path,
        )
    elif max_lost == 0:
        reason = Message.of("No page is called unknown, because --max-lost is 0.")
    else:
        thresholds = [info.novelty.threshold(max_lost) for info in infos if info.novelty is not None]
        if not math.isfinite(max(thresholds)):
            reason = Message.of(
                "No page can be called unknown at --max-lost {share:g}: that takes at least {fewest} held-out pages (or "
                "groups of pages).",
                share=max_lost,
                fewest=math.ceil(1 / max_lost) - 1,
            )
    return UnknownRule(float(np.mean(thresholds)), rule.max_lost, rule.expected, reason)


def foreign_pages(member: TrainedModel, rule: UnknownRule, expect_unknown: float | None) -> ForeignPages | None:
    """The pages that stand for those of no known class: each held-out page, judged without its class.

    Args:
        member: A model.
        rule: Which pages are called unknown, and so never decided.
        expect_unknown: Their share; None expects none.

    Raises:
        InputError: The model has no score of unknown pages.
    """
    if expect_unknown is None:
        return None
    held_out = [info.novelty for info in member.checkpoints if info.novelty is not None]
    if len(held_out) < len(member.checkpoints):
        raise InputError(f"--expect-unknown: {rule.reason}", "leave it out, or train again")
    log_odds, confidence, units = (
        np.concatenate([getattr(one, name) for one in held_out])
        for name in ("left_out_log_odds", "left_out_confidence", "units")
    )
    decided = np.where(log_odds > rule.threshold, -np.inf, confidence)
    return ForeignPages(decided, units, expect_unknown, rule.max_lost if rule.active else 0.0)


def conditions(rule: UnknownRule, target_precision: float | None, expect_unknown: float | None) -> tuple[str, ...]:
    """What must hold for decisions to be as good as they are said to be, in sentences."""
    found = []
    if target_precision is not None:
        found.append(precision_condition(target_precision, expect_unknown))
    if rule.active:
        found.append(
            Message.of(
                "About {lost:.1%} of the pages of known classes are called unknown, as among the held-out pages; the "
                "column unknown is the probability where {expected:.0%} of the pages belong to no class.",
                lost=rule.max_lost,
                expected=rule.expected,
            )
        )
    elif rule.reason:
        found.append(rule.reason)
    return tuple(found)


def precision_condition(target: float, expect_unknown: float | None) -> str:
    """When a target precision holds, as a sentence."""
    if expect_unknown is None:
        return Message.of(
            "The precision of {target:g} % holds for pages like the held-out ones, if every page belongs to a known class; "
            "if some do not, name their share with --expect-unknown.",
            target=_percent(target),
        )
    return Message.of(
        "The precision of {target:g} % holds for pages like the held-out ones, if at most {share:g} % of the pages belong to "
        "no class and these are recognised as often as held-out pages of classes that are left out.",
        target=_percent(target),
        share=_percent(expect_unknown),
    )


def _percent(share: float) -> float:
    return round(100 * share, 4)
