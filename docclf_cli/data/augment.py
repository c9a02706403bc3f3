"""Augmentation policies: a list of named transforms, whose geometry is composed into one warp."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from docclf_cli.data.transforms import IDENTITY, TRANSFORMS
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import AugmentationConfig

WHITE = (255, 255, 255)


@dataclass(frozen=True)
class PolicyFacts:
    """What a policy has shown to the model, which decides the default views of TTA.

    Attributes:
        turns: Quarter turns were among them.
        mirror: Mirrored pages were.
        max_rotation: Largest tilt in degrees.
    """

    turns: bool
    mirror: bool
    max_rotation: float


@dataclass(frozen=True)
class _Step:
    name: str
    geometric: bool
    probability: float
    apply: Callable[..., Any]
    params: dict[str, Any]


class Policy:
    """Varies a page, as a function of the generator it is given.

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
        """A varied page, uint8 [H, W, 3]; geometry first, in one warp, then the other transforms in order."""
        drawn = [step for step in self._steps if rng.random() < step.probability]
        matrix = IDENTITY
        for step in drawn:
            if step.geometric:
                matrix = matrix @ step.apply(rng, **step.params)
        page = warp(page, matrix)
        for step in drawn:
            if not step.geometric:
                page = step.apply(page, rng, **step.params)
        return page

    @property
    def facts(self) -> PolicyFacts:
        """What the policy shows."""
        shown = [step for step in self._steps if step.probability > 0]
        names = {step.name for step in shown}
        tilts = [float(step.params["degrees"]) for step in shown if step.name == "rotate"]
        return PolicyFacts("quarter_turn" in names, "mirror" in names, max(tilts, default=0.0))


def _step(name: str, params: dict[str, Any]) -> _Step:
    probability = params.pop("p", 1.0)
    if not isinstance(probability, int | float) or not 0 <= probability <= 1:
        raise InputError(f"augmentation: {name}: p must be between 0 and 1, not {probability!r}")
    entry = TRANSFORMS.get(name)
    if faults := entry.faults(params):
        raise InputError("augmentation: " + "; ".join(f"{name}.{key}: {text}" for key, text in faults))
    return _Step(
        entry.name, entry.facts["kind"] == "geometry", float(probability), entry.build, {**entry.parameters, **params}
    )


def warp(page: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Look at a page through a homography, white where it shows nothing.

    Args:
        page: uint8 [H, W, 3].
        matrix: 3x3, from output to input coordinates; the page spans -1..1 both ways.
    """
    if np.array_equal(matrix, IDENTITY):
        return page
    height, width = page.shape[:2]
    # Pillow maps pixel (x, y) of the output to (ax + by + c, dx + ey + f) / (gx + hy + 1) of the input.
    to_unit = np.array([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]])
    pixels = np.linalg.inv(to_unit) @ matrix @ to_unit
    pixels = pixels / pixels[2, 2]
    image = Image.fromarray(page)
    coefficients = pixels.ravel()[:8].tolist()
    return np.asarray(
        image.transform(
            (width, height), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR, fillcolor=WHITE
        )
    )


def turned(page: np.ndarray, degrees: float) -> np.ndarray:
    """A page turned counter-clockwise about its centre, white around it."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return warp(page, np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]))
