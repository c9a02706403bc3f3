"""Augmentation policies: a list of named transforms, whose geometry is composed into one warp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from docclf_cli.data.images.transforms import IDENTITY, TRANSFORMS
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import AugmentationConfig

WHITE = 255.0
ALMOST_WHITE = 250  # paper from here on


@dataclass(frozen=True)
class PolicyFacts:
    """The geometry that a policy trains on; the default TTA views follow from it.

    Attributes:
        turns: Whether it rotates pages by quarter turns.
        mirror: Whether it mirrors pages.
        max_rotation: Largest tilt in degrees.
    """

    turns: bool
    mirror: bool
    max_rotation: float


@dataclass(frozen=True)
class _Step:
    name: str
    kind: str
    probability: float
    apply: Callable[..., Any]
    params: dict[str, Any]


class Policy:
    """Augments a page; the random generator that is passed in decides all draws.

    Args:
        steps: Name, probability `p` (1 where it is left out) and parameters of each transform, in order.
    """

    def __init__(self, steps: Sequence[_Step]) -> None:
        self._steps = tuple(steps)

    @classmethod
    def from_config(cls, config: AugmentationConfig) -> Policy:
        """The policy of a profile.

        Raises:
            InputError: A transform or one of its parameters is unknown or out of range.
        """
        return cls([_step(transform.name, transform.params) for transform in config.transforms])

    def __call__(self, page: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment a page: all geometry in one warp first, then the other transforms in order.

        Tone transforms that follow one another are composed into one look-up table.

        Args:
            page: uint8 [S, S, 3], square as preprocessing leaves it; never written to.
            rng: Random generator of all draws.
        """
        drawn = [step for step in self._steps if rng.random() < step.probability]
        matrix, background, surface = IDENTITY, WHITE, None
        for step in drawn:
            if step.kind == "geometry":
                matrix = matrix @ step.apply(rng, **step.params)
            elif step.kind == "backdrop":
                background = step.apply(rng, **step.params)
            elif step.kind == "surface":
                surface = step.apply(rng, page.shape, **step.params)
        page = warp(page, matrix, background) if surface is None else laid_on(page, matrix, surface, rng)
        tones: np.ndarray | None = None
        for step in drawn:
            if step.kind == "tone":
                table = step.apply(rng, **step.params)
                tones = table if tones is None else table[tones]
            elif step.kind == "pixels":
                page, tones = step.apply(_toned(page, tones), rng, **step.params), None
        return _toned(page, tones)

    @property
    def facts(self) -> PolicyFacts:
        """The geometry that the policy trains on."""
        shown = [step for step in self._steps if step.probability > 0]
        names = {step.name for step in shown}
        tilt = max((float(step.params["degrees"]) for step in shown if step.name == "rotate"), default=0.0)
        return PolicyFacts("quarter_turn" in names or tilt >= 180, "mirror" in names, tilt)


def _step(name: str, params: dict[str, Any]) -> _Step:
    probability = params.pop("p", 1.0)
    if not isinstance(probability, int | float) or not 0 <= probability <= 1:
        raise InputError(f"augmentation: {name}: p must be between 0 and 1, not {probability!r}")
    entry = TRANSFORMS.get(name)
    if faults := entry.faults(params):
        raise InputError("augmentation: " + "; ".join(f"{name}.{key}: {text}" for key, text in faults))
    return _Step(entry.name, entry.facts["kind"], float(probability), entry.build, {**entry.parameters, **params})


def _toned(page: np.ndarray, table: np.ndarray | None) -> np.ndarray:
    if table is None:
        return page
    # Half the time of indexing the table.
    return np.frombuffer(bytearray(page).translate(table.tobytes()), np.uint8).reshape(page.shape)


def warp(page: np.ndarray, matrix: np.ndarray, background: float = WHITE) -> np.ndarray:
    """Warp a page by a homography with bilinear interpolation.

    This is the kernel under `torchvision.transforms.v2.functional.perspective`, called directly: a homography of
    one's own saves fitting it to four corners, and a page that is zero outside needs no second warp of a mask.

    Args:
        page: uint8 [H, W, 3].
        matrix: 3x3, from output to input coordinates; the page spans -1..1 both ways.
        background: Grey value outside of the page.
    """
    if np.array_equal(matrix, IDENTITY):
        return page
    from torch import from_numpy
    from torch.nn.functional import grid_sample

    ink = from_numpy(page - np.float32(background)).permute(2, 0, 1)
    grid = from_numpy(_sampling_grid(matrix.astype(np.float32), *page.shape[:2]))
    warped = grid_sample(ink[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False)
    out = np.empty_like(page)
    for channel, values in enumerate(warped[0].add_(background + 0.5).numpy()):
        out[..., channel] = values  # a third of the time of transposing all channels at once
    return out


def laid_on(page: np.ndarray, matrix: np.ndarray, surface: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Warp a page by a homography, and show a surface around it.

    White margins that the page has on both sides, such as those of letterboxing, are no part of the sheet: half of them
    to all are cut off.

    Args:
        page: uint8 [H, W, 3].
        matrix: As for `warp`.
        surface: uint8 [H, W, 3].
        rng: How much of the margins is cut off.
    """
    from torch import from_numpy
    from torch.nn.functional import grid_sample

    ink = np.any(page < ALMOST_WHITE, axis=2)
    sheet = [1 - _margin(np.any(ink, axis=axis)) * rng.uniform(0.5, 1) for axis in (0, 1)]
    grid = _sampling_grid(matrix.astype(np.float32), *page.shape[:2])
    pixels = from_numpy(page.astype(np.float32)).permute(2, 0, 1)
    warped = grid_sample(
        pixels[None], from_numpy(grid)[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0]
    inside = np.minimum(sheet[0] - np.abs(grid[..., 0]), sheet[1] - np.abs(grid[..., 1])) * (page.shape[0] / 2)
    share = np.clip(inside + 0.5, 0, 1)  # edges are as soft as a pixel is wide
    out = np.empty_like(page)
    for channel, values in enumerate(warped.numpy()):
        out[..., channel] = values * share + surface[..., channel] * (1 - share) + 0.5
    return out


def _margin(ink: np.ndarray) -> float:
    """The share of a side without ink at both of its ends; 0 where there is no ink at all."""
    return 2 * min(int(ink.argmax()), int(ink[::-1].argmax())) / len(ink) if ink.any() else 0.0


def _sampling_grid(matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """Input coordinates of each output pixel, float32 [height, width, 2] as (x, y)."""
    x = (np.arange(width, dtype=np.float32) * 2 + 1) / width - 1
    y = ((np.arange(height, dtype=np.float32) * 2 + 1) / height - 1)[:, None]
    places = np.empty((height, width, 2), dtype=np.float32)
    depth = matrix[2, 0] * x + (matrix[2, 1] * y + matrix[2, 2])
    for axis in range(2):
        np.divide(matrix[axis, 0] * x + (matrix[axis, 1] * y + matrix[axis, 2]), depth, out=places[..., axis])
    return places
