"""From the pages of a packet to its documents: cuts, joins, and places that are left to a person."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from docclf_cli.data.packets.boundary_model import UNSURE, Gap, pool
from docclf_cli.engine.inference.packet_model import LookedAt, PacketModel
from docclf_cli.results.packets import CutLimits, PacketPart

UNREAD = Gap(UNSURE, "")  # beside a page that could not be read
DECIDED = "decided"  # kind of a place that a person has decided about

Limits = Mapping[str, tuple[float, float]]  # by kind: join up to, cut from


@dataclass(frozen=True, eq=False)
class PacketGaps:
    """What was found in a packet.

    Attributes:
        packet: As it was named.
        log_probs: Of each page, if it is the first one of its document and if it is not, float64 [2, classes]; None for a page
            that could not be read.
        gaps: Of each place between two pages.
        reasons: Why pages could not be read, by number counted from 0.
    """

    packet: str
    log_probs: Sequence[np.ndarray | None]
    gaps: Sequence[Gap]
    reasons: Mapping[int, str]


class PacketCollector:
    """Takes the pages of a packet one after another.

    Args:
        packet: As it was named.
        model: Says what is between two pages.
        decided: Whether a document begins with a page, by its number counted from 1, where a person has decided that.
    """

    def __init__(self, packet: str, model: PacketModel, decided: Mapping[int, bool] | None = None) -> None:
        self._packet, self._model, self._decided = packet, model, decided or {}
        self._before: LookedAt | str | None = None
        self._log_probs, self._gaps, self._reasons = list[np.ndarray | None](), list[Gap](), dict[int, str]()

    def add(self, page: LookedAt | str) -> bool:
        """Take the next page, or why it could not be read; whether a document more probably begins with it than not."""
        place = len(self._log_probs)
        if isinstance(page, str):
            self._reasons[place] = page
        if place:
            self._gaps.append(self._gap(self._before, page, place + 1))
        self._log_probs.append(None if isinstance(page, str) else np.stack([page.first, page.later]))
        self._before = page
        return not place or is_cut(self._gaps[-1])

    def _gap(self, before: LookedAt | str | None, page: LookedAt | str, number: int) -> Gap:
        if number in self._decided:
            return Gap(float(self._decided[number]), DECIDED)
        if isinstance(before, LookedAt) and isinstance(page, LookedAt):
            return self._model.gap(before, page)
        return UNREAD

    def found(self) -> PacketGaps:
        """What was found in all pages."""
        return PacketGaps(self._packet, self._log_probs, self._gaps, self._reasons)


def is_cut(gap: Gap) -> bool:
    """Whether a document more probably begins behind a place than not."""
    return gap.probability >= UNSURE and bool(gap.kind)


def is_uncertain(gap: Gap, limits: Limits) -> bool:
    """Whether a place is neither cut nor joined without review."""
    if gap.kind == DECIDED:
        return False
    if not gap.kind:
        return True
    join_to, cut_from = limits[gap.kind]
    return join_to < gap.probability < cut_from if gap.probability != UNSURE else True


def parts_of(found: PacketGaps, limits: Limits, class_names: Sequence[str]) -> Iterator[PacketPart]:
    """The documents of a packet, in the order of their pages.

    Places that are not sure are decided by what is more probable, and their documents marked for review.
    """
    pages = len(found.log_probs)
    uncertain = [is_uncertain(gap, limits) for gap in found.gaps]
    cut = [is_cut(gap) for gap in found.gaps]
    starts = [0, *(place + 1 for place, one in enumerate(cut) if one), pages]
    sure = [0, *(place + 1 for place, one in enumerate(cut) if one and not uncertain[place]), pages]
    for number, (first, end) in enumerate(itertools.pairwise(starts), 1):
        touched = list(range(max(first - 1, 0), min(end, pages - 1)))
        unsure = tuple(place + 2 for place in touched if uncertain[place])
        reasons = [found.reasons[page] for page in range(first, end) if page in found.reasons]
        pages_of_part = found.log_probs[first:end]
        read = [one[min(place, 1)] for place, one in enumerate(pages_of_part) if one is not None]
        chosen, confidence = _class_of(read)
        sureness = [abs(found.gaps[place].probability - (not cut[place])) for place in touched]
        yield PacketPart(
            packet=found.packet,
            part=number,
            first_page=first + 1,
            last_page=end,
            predicted=None if chosen is None else class_names[chosen],
            confidence=confidence,
            boundaries=min(sureness, default=1.0),
            review=bool(unsure or reasons),
            uncertain=unsure,
            cut_probabilities=tuple(found.gaps[page - 2].probability for page in unsure),
            uncut=(max(one for one in sure if one <= first) + 1, min(one for one in sure if one >= end)),
            status="; ".join(dict.fromkeys(reasons)),
        )


def cut_limits(limits: Limits) -> tuple[CutLimits, ...]:
    """Limits as people see them: without those that no cut and no join reaches."""
    return tuple(
        CutLimits(kind, join if join >= 0 else None, cut_from if cut_from <= 1 else None)
        for kind, (join, cut_from) in limits.items()
    )


def _class_of(log_probs: Sequence[np.ndarray]) -> tuple[int | None, float | None]:
    if not log_probs:
        return None, None
    pooled = pool(log_probs)
    best = int(pooled.argmax())
    return best, float(np.exp(pooled[best]))
