"""Align members: classes by name, pages by ID, members sorted by fingerprint."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from docclf_cli.errors import InputError
from docclf_cli.files import fingerprint_of
from docclf_cli.results.predictions import Predictions

SHOWN = 3


@dataclass(frozen=True, eq=False)
class Stack:
    """Aligned members.

    Attributes:
        log_probs: float64 [members, n, num_classes]; a row of NaN where a member could not read a page.
        ids: Text [n].
        class_names: Names along the class axis.
        targets: int64 [n], -1 where no member knows the label; None for unlabelled pages.
        groups: Text [n], or None.
        status: Text [n]: why a page could not be read by some member, else empty.
        order: Position of each member in the list that was aligned.
        keys: `member_key` of each member.
    """

    log_probs: np.ndarray
    ids: np.ndarray
    class_names: tuple[str, ...]
    targets: np.ndarray | None
    groups: np.ndarray | None
    status: np.ndarray
    order: tuple[int, ...]
    keys: tuple[str, ...]

    def predictions(self, log_probs: np.ndarray, made_by: str) -> Predictions:
        """Combined log-probabilities [n, num_classes] as predictions, with `made_by` in their fingerprint."""
        return Predictions(
            ids=self.ids,
            log_probs=log_probs.astype(np.float32),
            class_names=self.class_names,
            targets=self.targets,
            groups=self.groups,
            status=self.status,
            fingerprint={"members": fingerprint_of(self.keys), "combiner": made_by},
        )


def member_key(member: Predictions) -> str:
    """The identity of a member: the fingerprint of its predictions without the pages, so that all splits sort alike."""
    return fingerprint_of({name: value for name, value in member.fingerprint.items() if name != "data"})


def common_held_out_rows(members: Sequence[Predictions]) -> np.ndarray:
    """IDs of the pages that every member holds out, in the order of the first.

    Args:
        members: Predictions for held-out pages only (of a folds run: its out-of-fold rows).
    """
    shared = set.intersection(*(set(member.ids.tolist()) for member in members))
    return np.array([page for page in members[0].ids.tolist() if page in shared], dtype=np.str_)


def align(
    members: Sequence[Predictions], *, names: Sequence[str] | None = None, ids: Sequence[str] | np.ndarray | None = None
) -> Stack:
    """Align the predictions of members, sorted by fingerprint.

    Args:
        members: Predictions of each.
        names: Names for messages; default "member 1", ...
        ids: Pages wanted, in this order (a submission file, `common_held_out_rows`); others are left out.
            Default: the pages of the first member, and all must be about exactly these.

    Raises:
        InputError: No member, one listed twice, other classes, other pages, or labels that contradict each other.
    """
    if not members:
        raise InputError("an ensemble needs members", "name runs or checkpoints with --members")
    names = names or [f"member {number}" for number in range(1, len(members) + 1)]
    keys = [member_key(member) for member in members]
    refuse_duplicates(keys, names)
    wanted = np.asarray(members[0].ids if ids is None else ids, dtype=np.str_)
    check_same_classes([member.class_names for member in members], names)
    order = sorted(range(len(members)), key=keys.__getitem__)
    rows = [_rows_of(member, name, wanted, exact=ids is None) for member, name in zip(members, names, strict=True)]
    aligned = [_aligned(members[i], rows[i], members[0].class_names) for i in order]
    return Stack(
        log_probs=np.stack([member.log_probs for member in aligned]).astype(np.float64),
        ids=wanted,
        class_names=members[0].class_names,
        targets=_agreed_targets(aligned, [names[i] for i in order]),
        groups=next((member.groups for member in aligned if member.groups is not None), None),
        status=_first_reason(aligned),
        order=tuple(order),
        keys=tuple(keys[i] for i in order),
    )


def refuse_duplicates(keys: Sequence[str], names: Sequence[str]) -> None:
    """Raise an `InputError` where two members are the same.

    Args:
        keys: `member_key` of each.
        names: Names for messages.
    """
    for position, key in enumerate(keys):
        if (first := keys.index(key)) != position:
            raise InputError(
                f"{names[position]} and {names[first]} are the same checkpoint, seen in the same way",
                "list each member once; `weight` makes one count more",
            )


def check_same_classes(class_names: Sequence[tuple[str, ...]], names: Sequence[str]) -> None:
    """Raise an `InputError` where members know different classes (in whatever order).

    Args:
        class_names: Of each member.
        names: Names for messages.
    """
    expected = set(class_names[0])
    for own, name in zip(class_names, names, strict=True):
        other = set(own)
        differing = [f"only {names[0]} knows {_some(expected - other)}"] if expected - other else []
        differing += [f"only {name} knows {_some(other - expected)}"] if other - expected else []
        if differing:
            raise InputError(
                f"{names[0]} and {name} have different classes: {'; '.join(differing)}",
                "members must be trained on the same set of classes",
            )


def _rows_of(member: Predictions, name: str, wanted: np.ndarray, exact: bool) -> list[int]:
    place = {page: row for row, page in enumerate(member.ids.tolist())}
    listed = wanted.tolist()
    if missing := set(listed) - set(place):
        raise InputError(f"{name} has no prediction for {len(missing)} of {len(listed)} pages: {_some(missing)}")
    if exact and (more := set(place) - set(listed)):
        raise InputError(f"{name} has predictions for {len(more)} pages that others lack: {_some(more)}")
    return [place[page] for page in listed]


def _aligned(member: Predictions, rows: list[int], class_names: tuple[str, ...]) -> Predictions:
    columns = np.array([member.class_names.index(name) for name in class_names])
    taken = member.take(rows)
    targets = taken.targets
    if targets is not None:
        # The inverse of the column permutation; the added entry maps -1, an unknown label, to itself.
        targets = np.append(np.argsort(columns), -1)[targets]
    return Predictions(taken.ids, taken.log_probs[:, columns], class_names, targets, taken.groups, taken.status)


def _agreed_targets(aligned: Sequence[Predictions], names: Sequence[str]) -> np.ndarray | None:
    agreed: np.ndarray | None = None
    for member, name in zip(aligned, names, strict=True):
        if member.targets is None:
            continue
        if agreed is None:
            agreed = member.targets
        disagree = np.flatnonzero((agreed >= 0) & (member.targets >= 0) & (agreed != member.targets))
        if len(disagree):
            raise InputError(
                f"{name} was given other labels than the members before it, for {len(disagree)} pages: "
                f"{_some(member.ids[disagree].tolist())}"
            )
        agreed = np.where(agreed >= 0, agreed, member.targets)
    return agreed


def _first_reason(aligned: Sequence[Predictions]) -> np.ndarray:
    reason = np.full(len(aligned[0]), "", dtype=object)
    for member in aligned:
        if member.status is not None:
            reason = np.where(reason == "", member.status, reason)
    return reason.astype(np.str_)


def _some(names: set[str] | list[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:SHOWN]) + (", …" if len(listed) > SHOWN else "")
