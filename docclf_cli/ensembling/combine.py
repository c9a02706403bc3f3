"""Combiners of the probabilities of several members.

A combiner is one registered function from the members' listed weights and, where it is `fitted`, from held-out
pages to a `Combination`. Its keyword-only parameters are what `ensemble.*` of a profile may set.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from docclf_cli.ensembling.held_out import HeldOut, enough
from docclf_cli.ensembling.pooling import Score, arithmetic, by_log_loss, geometric
from docclf_cli.ensembling.stacking import fit_stacking
from docclf_cli.ensembling.weights import greedy_weights, optimal_weights
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import EnsembleConfig
from docclf_cli.registry import Registry

# Decides ties between equally many votes, and keeps classes without a vote above probability 0. Below one vote of
# 999 members, so that it can never overrule one.
TIE_BREAK = 1e-3
NESTED_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Combination:
    """A combiner that is ready for new pages.

    Attributes:
        apply: From members' log-probabilities [members, n, num_classes] to float64 [n, num_classes]; a page that
            one member could not read comes out as NaN.
        weights: Of each member, their sum 1; None where members have no single weight.
        facts: Further results of the fit, representable as JSON.
    """

    apply: Callable[[np.ndarray], np.ndarray]
    weights: tuple[float, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """For `ensemble_predictions_meta.json`."""
        return {"weights": None if self.weights is None else list(self.weights), **self.facts}


COMBINERS: Registry[Callable[..., Combination]] = Registry("ensemble method")


@COMBINERS.register("voting", fitted=False)
def voting(listed: np.ndarray, held_out: HeldOut | None) -> Combination:
    """Majority of the members' predicted classes; ties go to the larger mean probability."""
    return Combination(_vote, _equal(len(listed)))


@COMBINERS.register("averaging", fitted=False)
def averaging(listed: np.ndarray, held_out: HeldOut | None, *, space: Literal["prob", "log"] = "prob") -> Combination:
    """Mean of the probabilities: arithmetic, or geometric with `space: log`."""
    return Combination(arithmetic if space == "prob" else geometric, _equal(len(listed)), {"space": space})


@COMBINERS.register("weighted", fitted=False)
def weighted(listed: np.ndarray, held_out: HeldOut | None) -> Combination:
    """Weighted mean of the probabilities, with the weights listed beside the members."""
    if not listed.any():
        raise InputError("the weights of all members are 0", "give one of them a positive `weight`")
    return _mean(listed / listed.sum())


@COMBINERS.register("auto_weights", fitted=True)
def auto_weights(listed: np.ndarray, held_out: HeldOut) -> Combination:
    """Weighted mean of the probabilities, with the weights of the smallest log loss on held-out pages."""
    weights, gap = optimal_weights(held_out)
    return _mean(weights, log_loss_gap=gap)


@COMBINERS.register("greedy", fitted=True)
def greedy(listed: np.ndarray, held_out: HeldOut, *, rounds: Annotated[int, Field(ge=1, le=1000)] = 50) -> Combination:
    """Forward selection with replacement by log loss on held-out pages (Caruana et al. 2004)."""
    weights, picks = greedy_weights(held_out, rounds)
    return _mean(weights, picks=picks)


@COMBINERS.register("stacking", fitted=True)
def stacking(listed: np.ndarray, held_out: HeldOut) -> Combination:
    """Multinomial logistic regression on the members' log-probabilities, regularisation chosen by cross-validation."""
    apply, facts = fit_stacking(held_out)
    return Combination(apply, None, facts)


@dataclass(frozen=True)
class Method:
    """A combiner by name, with its parameters."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fitted(self) -> bool:
        """Whether it learns from held-out pages."""
        return bool(COMBINERS.get(self.name).facts["fitted"])

    @property
    def label(self) -> str:
        """For tables."""
        return self.name if self.params.get("space", "prob") == "prob" else f"{self.name} ({self.params['space']})"

    def combination(self, listed: Sequence[float] | np.ndarray, held_out: HeldOut | None = None) -> Combination:
        """Fit the combiner, where it is fitted, for use on new pages.

        Args:
            listed: The members' weights as listed, in the order of the stack.
            held_out: Pages that a fitted method learns from; others ignore them.

        Raises:
            InputError: Unknown name or parameter, too few held-out pages, or all weights 0.
        """
        pages = enough(held_out, self.name) if self.fitted else None
        return self._build(np.asarray(listed, dtype=np.float64), pages)

    def _build(self, listed: np.ndarray, held_out: HeldOut | None) -> Combination:
        combination: Combination = COMBINERS.create(self.name, listed, held_out, **self.params)
        return combination


def methods_of(config: EnsembleConfig) -> tuple[Method, ...]:
    """The methods a profile asks for: one, or every one of them for `all`.

    Raises:
        InputError: Unknown name.
    """
    if config.method == "all":
        return tuple(_method(name, config) for name in COMBINERS.names())
    name = COMBINERS.get(config.method).name
    return (_method("auto_weights" if name == "weighted" and config.weights == "auto" else name, config),)


def cross_combine(
    method: Method, listed: Sequence[float] | np.ndarray, held_out: HeldOut, *, folds: int = NESTED_FOLDS, seed: int = 0
) -> np.ndarray:
    """Combined log-probabilities of held-out pages, each from a combiner that was fitted without it.

    Args:
        method: Which combiner.
        listed: The members' weights as listed.
        held_out: Pages that no member was trained on.
        folds: How many times a fitted combiner is fitted, each time without one part of the pages (and of their groups).
        seed: Of the parts.

    Returns:
        float64 [n, num_classes].

    Raises:
        InputError: Too few held-out pages for a fitted combiner.
    """
    weights = np.asarray(listed, dtype=np.float64)
    if not method.fitted:
        return method.combination(weights).apply(held_out.log_probs)
    out = np.empty(enough(held_out, method.name).log_probs.shape[1:])
    fold = held_out.folds(folds, seed)
    for number in np.unique(fold):
        left_out = fold == number
        combination = method._build(weights, held_out.take(~left_out))
        out[left_out] = combination.apply(held_out.log_probs[:, left_out])
    return out


def best_member(held_out: HeldOut, score: Score = by_log_loss) -> int:
    """The member with the best score on held-out pages; among equals the first of the stack."""
    return int(np.argmax([score(member, held_out.targets) for member in held_out.log_probs]))


def _method(name: str, config: EnsembleConfig) -> Method:
    return Method(name, {"space": config.space} if "space" in COMBINERS.get(name).parameters else {})


def _vote(log_probs: np.ndarray) -> np.ndarray:
    readable = ~np.isnan(log_probs).any(axis=(0, 2))
    chosen = np.where(readable, np.nan_to_num(log_probs, nan=0.0).argmax(axis=2), 0)
    shares = (chosen[..., None] == np.arange(log_probs.shape[2])).mean(axis=0)
    votes = np.log((shares + TIE_BREAK * np.exp(arithmetic(log_probs))) / (1 + TIE_BREAK))
    return np.where(readable[:, None], votes, np.nan)


def _mean(weights: np.ndarray, **facts: Any) -> Combination:
    return Combination(lambda log_probs: arithmetic(log_probs, weights), tuple(weights.tolist()), facts)


def _equal(members: int) -> tuple[float, ...]:
    return (1 / members,) * members
