"""Training against held-out pages, class by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from docclf_cli.results.metrics import ClassGap, ClassRow, Estimate


def train_val_gap(
    train_rows: Sequence[ClassRow], val_rows: Sequence[ClassRow], metric: str = "accuracy"
) -> tuple[ClassGap, ...]:
    """How much better each class does on training pages, and whether that can be chance.

    The interval of the difference is made from those of its two sides (the square-and-add limits of Newcombe
    1998; Zou and Donner 2008). It is widened by the number of classes (Bonferroni), so that one report in twenty,
    not one class in twenty, cries wolf where nothing over-fits.

    Args:
        train_rows: Rows of the training pages, scored without augmentation.
        val_rows: Rows of the held-out pages, the same classes in the same order.
        metric: `accuracy` (recall), `precision` or `f1`.

    Returns:
        One a class; NaN where a side has no pages.
    """
    classes = sum(np.isfinite(getattr(row, metric).low) for row in val_rows)
    widen = float(ndtri(1 - 0.025 / max(1, classes)) / ndtri(0.975))
    pairs = zip(train_rows, val_rows, strict=True)
    gaps = [(train.name, _difference(getattr(train, metric), getattr(val, metric), widen)) for train, val in pairs]
    return tuple(ClassGap(name, metric, gap, bool(gap.low > 0)) for name, gap in gaps)


def _difference(a: Estimate, b: Estimate, widen: float) -> Estimate:
    value = a.value - b.value
    below = widen * np.hypot(a.value - a.low, b.high - b.value)
    above = widen * np.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, float(max(-1.0, value - below)), float(min(1.0, value + above)))
