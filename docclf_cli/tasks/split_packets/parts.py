"""From the pages of a packet to its documents: cuts, joins, and places that are left to a person."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from docclf_cli.data.packets.boundary_model import UNSURE, Gap, pool
from docclf_cli.results.packets import PacketPart

UNREAD = Gap(UNSURE, "")  # beside a page that could not be read

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


def is_uncertain(gap: Gap, limits: Limits) -> bool:
    """Whether a place is neither cut nor joined without review."""
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
    cut = [gap.probability >= UNSURE and bool(gap.kind) for gap in found.gaps]
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
            uncut=(max(one for one in sure if one <= first) + 1, min(one for one in sure if one >= end)),
            status="; ".join(dict.fromkeys(reasons)),
        )


def _class_of(log_probs: Sequence[np.ndarray]) -> tuple[int | None, float | None]:
    if not log_probs:
        return None, None
    pooled = pool(log_probs)
    best = int(pooled.argmax())
    return best, float(np.exp(pooled[best]))
