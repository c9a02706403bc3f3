"""How a page lies, told from pooled features and its layout: a small calibrated network that abstains where a page has no up.

The number of an orientation is that of `data.images.orientation`: quarter turns clockwise, four more where the page is mirrored, eight
where that cannot be told. Which side is up and whether a page is mirrored are decided apart: the first is far easier to see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.special import log_softmax, logsumexp

from docclf_cli.metrics.thresholds import find_threshold
from docclf_cli.results.predictions import Predictions

ORIENTATIONS = 8
UNTOLD = -1  # in place of a number: it cannot be told which side is up
TURN_PRECISION, USUAL, LEAST = 0.95, 0.9, 0.5  # shown by held-out copies; threshold where they are too few; lowest one
_LARGEST_CUE = 3  # in units of its scale
_OWN_ARRAYS = ("centre", "scale", "hidden_weight", "hidden_bias", "weight", "bias")
NEARLY_ALL, UNMIRRORED = 0.95, 0.99  # shares of copies without an up, and of unmirrored ones, that are to be left alone


@dataclass(frozen=True)
class HeldOutOrientation:
    """What turned and mirrored copies of held-out pages showed.

    Attributes:
        copies: How many copies.
        told: Share of them whose turn is told.
        right: Share of these whose turn is right.
        mirrored_found: Share of the mirrored copies that are called mirrored.
        turn_threshold: Probability below which a turn is not told.
        mirror_threshold: Probability below which a page is not called mirrored.
    """

    copies: int
    told: float
    right: float
    mirrored_found: float
    turn_threshold: float
    mirror_threshold: float


@dataclass(frozen=True, eq=False)
class LayoutModel:
    """How much the layout of a page speaks for each orientation: one small network looks at the page as if each were undone.

    So what it learns from a page holds for that page however it lies.

    Attributes:
        scale: The cues are divided by it, float32 [cues].
        hidden_weight: float32 [hidden, cues].
        hidden_bias: float32 [hidden].
        weight: float32 [hidden].
    """

    scale: np.ndarray
    hidden_weight: np.ndarray
    hidden_bias: np.ndarray
    weight: np.ndarray

    @classmethod
    def scale_of(cls, cues: np.ndarray) -> np.ndarray:
        """Root mean square of each cue, one for both axes, float32 [cues], of cues [n, cues]."""
        squares = np.square(cues.astype(np.float64)).mean(axis=0)
        axis = len(squares) // 2
        both = (squares[:axis] + squares[axis : 2 * axis]) / 2
        return np.maximum(np.sqrt(np.concatenate([both, both, squares[2 * axis :]])), 1e-6).astype(np.float32)

    @staticmethod
    def inputs(cues: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """What the network sees, float32 [n, orientations, cues], of cues [n, cues]."""
        return undone_cues(np.clip(cues / scale, -_LARGEST_CUE, _LARGEST_CUE)).astype(np.float32)

    def logits(self, cues: np.ndarray) -> np.ndarray:
        """Logits of the orientations, float32 [n, orientations], of cues [n, cues]."""
        hidden = self.inputs(cues, self.scale) @ self.hidden_weight.T + self.hidden_bias
        return np.asarray(np.maximum(hidden, 0) @ self.weight)


def undone_cues(cues: np.ndarray) -> np.ndarray:
    """The cues that pages would show if they lay in each orientation and that were undone, [n, orientations, cues].

    Args:
        cues: As the pages lie, [n, cues] (`data.images.layout_cues.layout_cues`).
    """
    axis = cues.shape[1] // 2
    across, down, direction = cues[:, :axis], cues[:, axis : 2 * axis], cues[:, 2 * axis :]
    turned = list[np.ndarray]()
    for _ in range(4):
        turned.append(np.concatenate([across, down, direction], axis=1))
        across, down, direction = down, -across, -direction  # another quarter turn is undone
    mirror = np.where(np.arange(cues.shape[1]) < axis, -1, 1)
    return np.stack([*turned, *(one * mirror for one in turned)], axis=1)


@dataclass(frozen=True, eq=False)
class OrientationModel:
    """What a checkpoint keeps to say how a page lies.

    Attributes:
        centre: Mean of the pooled features, float32 [width].
        scale: They are divided by it, float32 [width].
        hidden_weight: float32 [hidden, width].
        hidden_bias: float32 [hidden].
        weight: float32 [orientations, hidden].
        bias: float32 [orientations].
        temperature: Divides the logits.
        held_out: What held-out pages showed, and the thresholds that were chosen on them.
        layout: Adds its logits, before the temperature; None in checkpoints of earlier versions.
    """

    centre: np.ndarray
    scale: np.ndarray
    hidden_weight: np.ndarray
    hidden_bias: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    temperature: float
    held_out: HeldOutOrientation
    layout: LayoutModel | None = None

    def log_probs(self, features: np.ndarray, cues: np.ndarray) -> np.ndarray:
        """Calibrated log-probabilities of the orientations, float64 [n, orientations].

        Args:
            features: Pooled features, [n, width].
            cues: Cues of the layout, [n, cues]; not looked at without `layout`.
        """
        hidden = ((features.astype(np.float32) - self.centre) / self.scale) @ self.hidden_weight.T + self.hidden_bias
        logits = np.maximum(hidden, 0) @ self.weight.T + self.bias
        if self.layout is not None:
            logits = logits + self.layout.logits(cues)
        return np.asarray(log_softmax(logits.astype(np.float64) / self.temperature, axis=1))

    def decide(self, features: np.ndarray, cues: np.ndarray) -> np.ndarray:
        """Number of the orientation of each page, int8 [n]; `UNTOLD` where no side is surely up. Arguments as of `log_probs`."""
        return decided(self.log_probs(features, cues), self.held_out.turn_threshold, self.held_out.mirror_threshold)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays by name."""
        own = {name: np.asarray(getattr(self, name)) for name in (*_OWN_ARRAYS, "temperature")}
        if self.layout is not None:
            own |= {f"layout_{one.name}": getattr(self.layout, one.name) for one in fields(LayoutModel)}
        return own | {one.name: np.asarray(getattr(self.held_out, one.name)) for one in fields(HeldOutOrientation)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> OrientationModel:
        """What `to_arrays` made."""
        held_out: dict[str, Any] = {one.name: arrays[one.name].item() for one in fields(HeldOutOrientation)}
        layout = None
        if "layout_scale" in arrays:
            layout = LayoutModel(**{one.name: arrays[f"layout_{one.name}"] for one in fields(LayoutModel)})
        return cls(
            **{name: arrays[name] for name in _OWN_ARRAYS},
            temperature=float(arrays["temperature"]),
            held_out=HeldOutOrientation(**held_out),
            layout=layout,
        )


def turn_log_probs(log_probs: np.ndarray) -> np.ndarray:
    """Log-probabilities of the four turns, mirrored or not, float64 [n, 4]."""
    return np.asarray(logsumexp(log_probs.reshape(-1, 2, 4), axis=1))


def mirrored_probability(log_probs: np.ndarray) -> np.ndarray:
    """Probability that each page is mirrored, whichever side is up, float64 [n]."""
    return np.exp(logsumexp(log_probs[:, 4:], axis=1))


def decided(log_probs: np.ndarray, turn_threshold: float, mirror_threshold: float) -> np.ndarray:
    """Number of the orientation of each page, int8 [n]; `UNTOLD` where the best turn is less probable than its threshold.

    Args:
        log_probs: Of the orientations, float [n, orientations].
        turn_threshold: Least probability of a turn.
        mirror_threshold: Least probability of a page that is called mirrored; from even odds to it that cannot be told.
    """
    turns, mirrored = turn_log_probs(log_probs), mirrored_probability(log_probs)
    numbers = turns.argmax(axis=1) + np.select([mirrored >= mirror_threshold, mirrored >= 0.5], [4, 8], 0)
    return np.where(np.exp(turns.max(axis=1)) >= turn_threshold, numbers, UNTOLD).astype(np.int8)


def agreed(numbers: Sequence[np.ndarray]) -> np.ndarray:
    """What several models say together, int8 [n]: the turn that all of those name which name one, else `UNTOLD`.

    Whether a page is mirrored cannot be told where they contradict each other.

    Args:
        numbers: Of each model, int8 [n].
    """
    found = numbers[0].copy()
    clash = np.zeros(len(found), dtype=bool)
    for one in numbers[1:]:
        both = (one != UNTOLD) & (found != UNTOLD)
        clash |= both & (one % 4 != found % 4)
        found = np.select([found == UNTOLD, both & (one != found)], [one, found % 4 + 8], found)
    return np.where(clash, UNTOLD, found).astype(np.int8)


def held_out_orientation(log_probs: np.ndarray, numbers: np.ndarray, units: np.ndarray) -> HeldOutOrientation:
    """Choose the thresholds on copies of held-out pages, and count what these do with them.

    The turn's is the lowest at which the copies show the precision `TURN_PRECISION` (where they are too few for that,
    `USUAL`), and at which nearly all copies without an up are not told. The mirror's leaves nearly all copies that are not
    mirrored unmirrored: mirrored pages are rare.

    Args:
        log_probs: Of the orientations, float [n, orientations].
        numbers: The true ones, int [n]; `UNTOLD` for a copy on which no side is up.
        units: What page (or group) each is a copy of, int [n].
    """
    has_up = numbers != UNTOLD
    turns, mirrored = turn_log_probs(log_probs), mirrored_probability(log_probs)
    confidence = np.exp(turns.max(axis=1))
    predictions = Predictions(
        ids=np.arange(has_up.sum()).astype(np.str_),
        log_probs=turns[has_up].astype(np.float32),
        class_names=("0", "90", "180", "270"),
        targets=numbers[has_up] % 4,
        groups=units[has_up].astype(np.str_),
    )
    shown = find_threshold(predictions, TURN_PRECISION).value
    threshold = max(USUAL if shown is None else shown, LEAST)
    if not has_up.all():
        threshold = max(threshold, float(np.quantile(confidence[~has_up], NEARLY_ALL)))
    plain = has_up & (numbers < 4)
    mirror = max(LEAST, float(np.quantile(mirrored[plain], UNMIRRORED))) if plain.any() else 1.0
    told = confidence[has_up] >= threshold
    right = (turns.argmax(axis=1) == numbers % 4)[has_up]
    return HeldOutOrientation(
        copies=int(has_up.sum()),
        told=float(told.mean()),
        right=float(right[told].mean()) if told.any() else 0.0,
        mirrored_found=float((mirrored >= mirror)[numbers >= 4].mean()) if (numbers >= 4).any() else 0.0,
        turn_threshold=threshold,
        mirror_threshold=mirror,
    )
