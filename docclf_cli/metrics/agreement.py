"""How alike the members of an ensemble are: only members that err on different pages can help each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from docclf_cli.metrics.alignment import align
from docclf_cli.metrics.compare import scored_together
from docclf_cli.results.predictions import Predictions


def disagreement(members: Sequence[Predictions]) -> np.ndarray:
    """Share of pages on which two members name different classes, float64 [members, members].

    Labels are not needed. A page that both could not read counts as agreement.

    Raises:
        InputError: The members' pages or classes differ.
    """
    named = np.stack([member.predicted() for member in align(members)])
    return np.stack([(named != own).mean(axis=1) for own in named])


def error_correlation(members: Sequence[Predictions]) -> np.ndarray:
    """Correlation of two members' mistakes (the phi coefficient), float64 [members, members].

    1: they fail on the same pages; 0: independently of each other; NaN where a member is always or never right.

    Raises:
        InputError: The members' pages or classes differ, or no page can be scored.
    """
    scored = scored_together(members)
    wrong = np.stack([member.predicted() != member.targets for member in scored]).astype(np.float64)
    wrong -= wrong.mean(axis=1, keepdims=True)
    size = np.sqrt((wrong**2).sum(axis=1))
    size[size == 0] = np.nan
    return (wrong @ wrong.T) / np.outer(size, size)
