"""Mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019): the partner and λ are computed from (seed, epoch, index)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STREAM = 3  # apart from the streams of order and augmentation


@dataclass(frozen=True)
class MixPlan:
    """How one page is mixed.

    Attributes:
        partner: Position of the other page.
        share: What this page keeps of its target (before a cutmix box is rounded to pixels).
        box: Centre and half sides of the cutmix box, as shares of the page; None for mixup.
    """

    partner: int
    share: float
    box: tuple[float, float, float, float] | None


def mix_plan(
    seed: int, epoch: int, index: int, count: int, mixup: float, cutmix: float, probability: float
) -> MixPlan | None:
    """The plan of one page of an epoch, or None where it stays as it is.

    Args:
        seed: Seed of the run.
        epoch: Epoch.
        index: Position of the page among `count`.
        count: How many pages there are.
        mixup: Beta parameter of mixup; 0 for none.
        cutmix: Beta parameter of cutmix; 0 for none.
        probability: Share of pages that are mixed.
    """
    rng = np.random.default_rng((seed, _STREAM, epoch, index))
    if rng.random() >= probability:
        return None
    cut = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    alpha = cutmix if cut else mixup
    share, partner = float(rng.beta(alpha, alpha)), int(rng.integers(count))
    if not cut:
        return MixPlan(partner, share, None)
    half = float(np.sqrt(1 - share)) / 2
    return MixPlan(partner, share, (float(rng.random()), float(rng.random()), half, half))


def apply_mix(
    plan: MixPlan, page: np.ndarray, partner: np.ndarray, target: int, partner_target: int, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The mixed page, uint8 [H, W, 3], and its soft target, float32 [num_classes], which sums to 1."""
    if plan.box is None:
        share = plan.share
        mixed = np.rint(page * np.float32(share) + partner * np.float32(1 - share)).astype(np.uint8)
    else:
        mixed, share = _pasted(plan.box, page, partner)
    soft = np.zeros(num_classes, dtype=np.float32)
    soft[target] += share
    soft[partner_target] += 1 - share
    return mixed, soft


def _pasted(box: tuple[float, float, float, float], page: np.ndarray, partner: np.ndarray) -> tuple[np.ndarray, float]:
    height, width = page.shape[:2]
    y, x, half_h, half_w = box
    top, bottom = (round(np.clip(y + side * half_h, 0, 1) * height) for side in (-1, 1))
    left, right = (round(np.clip(x + side * half_w, 0, 1) * width) for side in (-1, 1))
    mixed = page.copy()
    mixed[top:bottom, left:right] = partner[top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
