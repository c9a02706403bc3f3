"""Align members: classes by name, pages by ID, members sorted by fingerprint."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from docclf_cli.errors import InputError
from docclf_cli.files import fingerprint_of
from docclf_cli.metrics.alignment import align, default_names
from docclf_cli.results.predictions import Predictions


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

    @classmethod
    def of(
        cls,
        members: Sequence[Predictions],
        *,
        names: Sequence[str] | None = None,
        ids: Sequence[str] | np.ndarray | None = None,
    ) -> "Stack":
        """Put members side by side (see `align`), sorted by fingerprint.

        Raises:
            InputError: No member, one listed twice, other classes, other pages, or labels that contradict each other.
        """
        if not members:
            raise InputError("an ensemble needs members", "name runs or checkpoints with --members")
        keys = [member_key(member) for member in members]
        refuse_duplicates(keys, names or default_names(members))
        aligned = align(members, names=names, ids=ids)
        order = sorted(range(len(members)), key=keys.__getitem__)
        first = aligned[0]
        groups = [aligned[place].groups for place in order]
        return cls(
            log_probs=np.stack([aligned[place].log_probs for place in order]).astype(np.float64),
            ids=first.ids.astype(np.str_),
            class_names=first.class_names,
            targets=first.targets,
            groups=next((each for each in groups if each is not None), None),
            status=_first_reason([aligned[place] for place in order]),
            order=tuple(order),
            keys=tuple(keys[place] for place in order),
        )

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


def refuse_duplicates(keys: Sequence[str], names: Sequence[str]) -> None:
    """Raise an `InputError` where two members are the same.

    Args:
        keys: `member_key` of each.
        names: Names for messages.
    """
    for position, key in enumerate(keys):
        if (first := keys.index(key)) != position:
            raise InputError(
                f"{names[position]} and {names[first]} are the same checkpoint with the same view",
                "list each member once, and use `weight` to give it more weight",
            )


def _first_reason(aligned: Sequence[Predictions]) -> np.ndarray:
    reason = np.full(len(aligned[0]), "", dtype=object)
    for member in aligned:
        if member.status is not None:
            reason = np.where(reason == "", member.status, reason)
    return reason.astype(np.str_)
