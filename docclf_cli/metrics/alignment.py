"""Predictions of several members side by side: classes matched by name, pages by ID."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from docclf_cli.errors import InputError
from docclf_cli.results.predictions import Predictions
from docclf_cli.text import and_more

SHOWN = 3


def align(
    members: Sequence[Predictions], *, names: Sequence[str] | None = None, ids: Sequence[str] | np.ndarray | None = None
) -> tuple[Predictions, ...]:
    """The same predictions with pages and classes in one order; a label that some member knows, all know.

    Args:
        members: Predictions of each; the class order is that of the first.
        names: What messages call them; default "member 1", ...
        ids: Pages wanted, in this order (a submission file, `common_held_out_rows`); others are left out.
            Default: the pages of the first member, and all must be about exactly these.

    Raises:
        InputError: Classes or pages differ, or labels contradict each other.
    """
    names = names or default_names(members)
    wanted = np.asarray(members[0].ids if ids is None else ids, dtype=np.str_)
    check_same_classes([member.class_names for member in members], names)
    class_names = members[0].class_names
    aligned = [
        _aligned(member, _rows_of(member, name, wanted, exact=ids is None), class_names)
        for member, name in zip(members, names, strict=True)
    ]
    targets = _agreed_targets(aligned, names)
    return tuple(replace(member, targets=targets) for member in aligned)


def default_names(members: Sequence[Predictions]) -> list[str]:
    """What messages call members that have no names."""
    return [f"member {number}" for number in range(1, len(members) + 1)]


def check_same_classes(class_names: Sequence[tuple[str, ...]], names: Sequence[str]) -> None:
    """Raise an `InputError` where members know different classes (in whatever order).

    Args:
        class_names: Of each member.
        names: What messages call them.
    """
    expected = set(class_names[0])
    for own, name in zip(class_names, names, strict=True):
        other = set(own)
        differing = [f"only {names[0]} knows {_first_of(expected - other)}"] if expected - other else []
        differing += [f"only {name} knows {_first_of(other - expected)}"] if other - expected else []
        if differing:
            raise InputError(
                f"{names[0]} and {name} have different classes: {'; '.join(differing)}",
                "members must be trained on the same set of classes",
            )


def _rows_of(member: Predictions, name: str, wanted: np.ndarray, exact: bool) -> list[int]:
    place = {page: row for row, page in enumerate(member.ids.tolist())}
    listed = wanted.tolist()
    if missing := set(listed) - set(place):
        raise InputError(f"{name} has no prediction for {len(missing)} of {len(listed)} pages: {_first_of(missing)}")
    if exact and (more := set(place) - set(listed)):
        raise InputError(
            f"{name} has predictions for {len(more)} pages that other members do not have: {_first_of(more)}"
        )
    return [place[page] for page in listed]


def _aligned(member: Predictions, rows: list[int], class_names: tuple[str, ...]) -> Predictions:
    columns = np.array([member.class_names.index(name) for name in class_names])
    taken = member.take(rows)
    targets = taken.targets
    if targets is not None:
        # The inverse of the column permutation; the added entry maps -1, an unknown label, to itself.
        targets = np.append(np.argsort(columns), -1)[targets]
    sides: dict[str, Any] = {
        name: None if (side := getattr(taken, name)) is None else side[:, columns] for name in ("image", "text")
    }
    return replace(taken, log_probs=taken.log_probs[:, columns], class_names=class_names, targets=targets, **sides)


def _agreed_targets(aligned: Sequence[Predictions], names: Sequence[str]) -> np.ndarray | None:
    agreed: np.ndarray | None = None
    for member, name in zip(aligned, names, strict=True):
        if member.targets is None:
            continue
        if agreed is None:
            agreed = member.targets
        outliers = np.flatnonzero((agreed >= 0) & (member.targets >= 0) & (agreed != member.targets))
        if len(outliers):
            raise InputError(
                f"{name} was given other labels than the members before it, for {len(outliers)} pages: "
                f"{_first_of(member.ids[outliers].tolist())}"
            )
        agreed = np.where(agreed >= 0, agreed, member.targets)
    return agreed


def _first_of(names: Collection[str]) -> str:
    return and_more(sorted(names)[:SHOWN], len(names))
