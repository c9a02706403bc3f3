"""Test-time augmentation: the registered views of a page.

A kind of view is one registered function whose keyword-only parameters are what `ensemble.tta.augmentations` may
set; it returns one or more views. Each view is a deterministic function of the page, uint8 [H, W, 3] in and out.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Protocol

import numpy as np
from PIL import Image, ImageEnhance
from pydantic import Field

from docclf_cli.errors import InputError
from docclf_cli.profile.schema import Positive, Share, ViewConfig
from docclf_cli.registry import Registry

logger = logging.getLogger("docclf")

Page = np.ndarray
WHITE = (255, 255, 255)
IDENTITY = "identity"
# The seed framework's files give views a probability. A view is always used.
NoEffect = Share | None
Amount = Annotated[float, Field(ge=0, lt=1)]
Degrees = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1)]
Factors = Annotated[list[Positive], Field(min_length=1)]
Fractions = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]


@dataclass(frozen=True)
class View:
    """A fixed transform of a page; its name holds all its parameters and is part of the fingerprint of predictions."""

    name: str
    apply: Callable[[Page], Page]


class TrainedViews(Protocol):
    """The geometry that an augmentation policy trained: quarter turns, mirrored pages, rotations up to some degrees."""

    @property
    def turns(self) -> bool: ...

    @property
    def mirror(self) -> bool: ...

    @property
    def max_rotation(self) -> float: ...


VIEWS: Registry[Callable[..., list[View]]] = Registry("view")


@VIEWS.register(IDENTITY)
def identity(*, probability: NoEffect = None) -> list[View]:
    """The page as it is."""
    return [View(IDENTITY, _unchanged)]


@VIEWS.register("horizontal_flip")
def horizontal_flip(*, probability: NoEffect = None) -> list[View]:
    """Left and right exchanged."""
    return [View("horizontal_flip", partial(_flipped, axis=1))]


@VIEWS.register("vertical_flip")
def vertical_flip(*, probability: NoEffect = None) -> list[View]:
    """Top and bottom exchanged."""
    return [View("vertical_flip", partial(_flipped, axis=0))]


@VIEWS.register("rotation")
def rotation(*, degrees: Degrees = [90, 180, 270], probability: NoEffect = None) -> list[View]:  # noqa: B006
    """Turned counter-clockwise; quarter turns are exact, other angles fill the corners with white."""
    return [View(f"rotation {angle:g}", partial(_turned, degrees=angle)) for angle in degrees]


@VIEWS.register("color_jitter")
def color_jitter(
    *, brightness: Amount = 0.0, contrast: Amount = 0.0, saturation: Amount = 0.0, probability: NoEffect = None
) -> list[View]:
    """Two fixed views: every given property times 1 + its value, and times 1 - its value."""
    amounts = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    given = {name: amount for name, amount in amounts.items() if amount}
    return [_jittered({name: 1 + sign * amount for name, amount in given.items()}) for sign in (1, -1) if given]


@VIEWS.register("scale")
def scale(*, factors: Factors = [0.9, 1.1], probability: NoEffect = None) -> list[View]:  # noqa: B006
    """Smaller on white, or larger with the edges cut off."""
    return [View(f"scale {factor:g}", partial(_scaled, factor=factor)) for factor in factors]


@VIEWS.register("crop")
def crop(*, fractions: Fractions = [0.9], probability: NoEffect = None) -> list[View]:  # noqa: B006
    """The middle of the page: this share of each side, enlarged to the whole."""
    return [View(f"crop {share:g}", partial(_scaled, factor=1 / share)) for share in fractions]


def expand(augmentations: Sequence[ViewConfig], include_identity: bool = True) -> list[View]:
    """The views that a profile lists, the plain page first where it is one of them.

    Args:
        augmentations: `ensemble.tta.augmentations`.
        include_identity: Whether the plain page is a view even where it is not listed.

    Raises:
        InputError: A kind or parameter is unknown, a view is listed twice, or there is none.
    """
    if any(config.params.get("probability") is not None for config in augmentations):
        logger.warning("ensemble.tta: `probability` has no effect, each view is used for every page")
    views = [view for config in augmentations for view in VIEWS.create(config.type, **config.params)]
    if include_identity and all(view.name != IDENTITY for view in views):
        views = [*identity(), *views]
    names = [view.name for view in views]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"ensemble.tta: the view '{repeated[0]}' is listed twice")
    if not views:
        raise InputError("ensemble.tta: no view is left", "list augmentations, or leave include_identity at true")
    return sorted(views, key=lambda view: view.name != IDENTITY)


def default_views(trained: TrainedViews) -> tuple[ViewConfig, ...]:
    """The views for a model where none are listed: those that its own augmentation policy trained.

    Quarter turns, tilts by half the largest trained angle, and the mirror image only if mirrored pages were trained.
    """
    angles: list[float] = [90, 180, 270] if trained.turns else []
    if trained.max_rotation > 0:
        angles += [trained.max_rotation / 2, -trained.max_rotation / 2]
    views = [ViewConfig(type="rotation", degrees=angles)] if angles else []
    return (*views, ViewConfig(type="horizontal_flip")) if trained.mirror else tuple(views)


def _unchanged(page: Page) -> Page:
    return page


def _flipped(page: Page, axis: int) -> Page:
    return np.ascontiguousarray(np.flip(page, axis))


def _turned(page: Page, degrees: float) -> Page:
    quarters, rest = divmod(degrees, 90)
    if rest == 0:
        return np.ascontiguousarray(np.rot90(page, int(quarters)))
    turned = Image.fromarray(page).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=WHITE)
    return np.asarray(turned)


def _scaled(page: Page, factor: float) -> Page:
    height, width = page.shape[:2]
    # From output to input: about the middle, 1 / factor pixels for each.
    step = 1 / factor
    window = (step, 0.0, width / 2 * (1 - step), 0.0, step, height / 2 * (1 - step))
    image = Image.fromarray(page)
    scaled = image.transform(
        (width, height), Image.Transform.AFFINE, window, Image.Resampling.BILINEAR, fillcolor=WHITE
    )
    return np.asarray(scaled)


def _jittered(factors: dict[str, float]) -> View:
    name = " ".join(f"{name} {factor:g}" for name, factor in factors.items())
    return View(f"color_jitter {name}", partial(_recoloured, factors=factors))


def _recoloured(page: Page, factors: dict[str, float]) -> Page:
    image = Image.fromarray(page)
    enhancers = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
    }
    for name, factor in factors.items():
        image = enhancers[name](image).enhance(factor)
    return np.asarray(image)
