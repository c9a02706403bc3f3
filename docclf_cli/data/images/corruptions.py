"""A fixed catalogue of corruptions (after ImageNet-C, Hendrycks and Dietterich 2019) for validation.

Kinds and severities are separate from the training transforms, so that a degraded validation measures what a policy
was not tuned to. `RULES` is the version of the catalogue: metrics are comparable only where it is the same.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from docclf_cli.data.images.augmentation import WHITE, warp
from docclf_cli.data.images.transforms import above_ink, rotation, smeared
from docclf_cli.profile.schema import DataConfig
from docclf_cli.registry import Registry

Rng = np.random.Generator
CORRUPTIONS: Registry[Callable[[np.ndarray, int, Rng], np.ndarray]] = Registry("corruption")
SEVERITIES = (1, 2, 3)
MIRRORED = 0.25  # share of degraded pages; programs that show a camera's picture mirror it, scanners do not
RULES = 1  # increases whenever the same page is corrupted in another way than before


@CORRUPTIONS.register("turn", severities=("90°", "180°", "270°"))
def turn(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """A quarter, half or three-quarter turn."""
    return np.rot90(page, severity).copy()


@CORRUPTIONS.register("mirror", severities=("",))
def mirror(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """Mirrored left and right."""
    return page[:, ::-1].copy()


@CORRUPTIONS.register("tilt")
def tilt(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """Tilted on the scanner or the desk: 4, 10 or 20 degrees."""
    angle = math.radians((4, 10, 20)[severity - 1]) * rng.choice((-1, 1))
    return warp(page, rotation(angle), _surface(rng))


@CORRUPTIONS.register("perspective")
def perspective(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """Photographed from the side."""
    matrix = np.eye(3)
    matrix[2, :2] = rng.choice((-1, 1), 2) * (0.06, 0.13, 0.2)[severity - 1]
    return warp(page, matrix, _surface(rng))


def _surface(rng: Rng) -> float:
    # What lies under a page: a scanner's lid as often as a desk.
    return WHITE if rng.random() < 0.5 else float(rng.choice((0, 70, 140, 210)))


@CORRUPTIONS.register("crop")
def crop(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """A part of the page from one corner: 85, 70 or 55 percent of each side."""
    keep = (0.85, 0.7, 0.55)[severity - 1]
    shift = rng.choice((-1, 1), 2) * (1 - keep)
    return warp(page, np.array([[keep, 0, shift[0]], [0, keep, shift[1]], [0, 0, 1]]))


@CORRUPTIONS.register("shadow")
def shadow(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """The soft-edged shadow of a hand or a book across the page."""
    height, width = page.shape[:2]
    mask = Image.new("L", (width, height), 255)
    ends = rng.uniform(0, width, 2)
    side = int(rng.choice((0, width)))
    dark = 255 - (60, 110, 160)[severity - 1]
    ImageDraw.Draw(mask).polygon([(side, 0), (ends[0], 0), (ends[1], height), (side, height)], fill=dark)
    light = np.asarray(mask.filter(ImageFilter.GaussianBlur(width / 16)), dtype=np.float32) / 255
    return (page * light[..., None]).astype(np.uint8)


@CORRUPTIONS.register("noise")
def noise(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """Colour noise of a sensor in the dark."""
    grain = rng.standard_normal(page.shape, dtype=np.float32) * (10, 20, 35)[severity - 1]
    return np.clip(page + grain, 0, 255).astype(np.uint8)


@CORRUPTIONS.register("motion")
def motion(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """Blurred along one direction by a moving hand."""
    return smeared(page, max(2, (3, 5, 8)[severity - 1] * page.shape[0] // 256), int(rng.integers(2)))


@CORRUPTIONS.register("bleach")
def bleach(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """Over-exposed: the ink is nearly gone."""
    return (255 - (255 - page.astype(np.float32)) * (0.7, 0.5, 0.3)[severity - 1]).astype(np.uint8)


@CORRUPTIONS.register("recompress")
def recompress(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """Saved again at a low quality."""
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "JPEG", quality=(40, 20, 8)[severity - 1])
    return np.asarray(Image.open(buffer).convert("RGB"))


@CORRUPTIONS.register("bilevel", severities=("sharp", "clotted", "thin"))
def bilevel(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """Black and white only, as a fax or a bilevel scanner leaves it: sharp, clotted, or with thin strokes lost."""
    white = above_ink(page, (0.6, 0.85, 0.3)[severity - 1]) >= 0
    return np.repeat(np.where(white, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)


@CORRUPTIONS.register("coarse")
def coarse(page: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    """A thumbnail enlarged: half, a third or a quarter of the resolution."""
    height, width = page.shape[:2]
    factor = (2, 3, 4)[severity - 1]
    small = Image.fromarray(page).resize((max(1, width // factor), max(1, height // factor)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


# The stages of a degraded page, in this order: orientation, geometry, light, sensor and file. At most one corruption of
# each stage, with these probabilities; low severities are more frequent than high ones.
_STAGES = (
    (("turn", "mirror"), 2 * MIRRORED),
    (("tilt", "perspective", "crop"), 0.6),
    (("shadow", "bleach", "bilevel"), 0.4),
    (("noise", "motion", "coarse", "recompress"), 0.7),
)
_FREQUENCIES = (0.45, 0.35, 0.2)  # of the severities


def severity_names(kind: str) -> dict[int, str]:
    """The severities of a kind of corruption, with their names.

    Raises:
        InputError: There is no such kind.
    """
    names = CORRUPTIONS.get(kind).facts.get("severities", ("light", "medium", "strong"))
    return dict(zip(SEVERITIES, names, strict=False))


def corruption(page: np.ndarray, kind: str, severity: int, rng: Rng) -> np.ndarray:
    """Apply one corruption to a page.

    Args:
        page: uint8 [S, S, 3], square as preprocessing leaves it.
        kind: A registered corruption.
        severity: 1, 2 or 3.
        rng: Random generator of directions and noise.
    """
    return CORRUPTIONS.get(kind).build(page, severity, rng)


def degrade(page: np.ndarray, rng: Rng, mirrored: float = MIRRORED, *, as_it_lies: bool = False) -> np.ndarray:
    """Apply a random, production-like combination of corruptions; one page in 28 stays as it is.

    Args:
        page: uint8 [S, S, 3].
        rng: Random generator of all draws.
        mirrored: Share of pages that are mirrored, from 0 to 0.75. Another share changes nothing but that: each page
            keeps its other corruptions, and pages mirrored under a smaller share are under a larger one.
        as_it_lies: Neither turn nor mirror the page.
    """
    orientation, *later = _STAGES
    if not as_it_lies:
        if first := _drawn(*orientation, rng):
            page = corruption(page, *first, rng) if first[0] != "mirror" else page
        if _is_mirrored(first, rng, mirrored):
            page = mirror(page, 1, rng)
    for kinds, chance in later:
        if drawn := _drawn(kinds, chance, rng):
            page = corruption(page, *drawn, rng)
    return page


def _drawn(kinds: tuple[str, ...], chance: float, rng: Rng) -> tuple[str, int] | None:
    """Kind and severity of a stage's corruption; None where it has none."""
    if rng.random() >= chance:
        return None
    return str(rng.choice(kinds)), int(rng.choice(SEVERITIES, p=_FREQUENCIES))


def _is_mirrored(drawn: tuple[str, int] | None, rng: Rng, share: float) -> bool:
    """Whether a page is mirrored where a share of all pages is; at `MIRRORED` it is where the mirror was drawn."""
    place = rng.spawn(1)[0].random()  # moves none of the draws that follow
    if drawn is None:  # half of the pages
        return place < (share - MIRRORED) / 0.5
    return drawn[0] == "mirror" and place < share / MIRRORED


@dataclass(frozen=True, eq=False)
class DegradedView:
    """A fixed degraded copy of each page, computed from the seed, the page's ID and the share of mirrored pages."""

    quick: ClassVar = False
    ids: np.ndarray
    seed: int
    mirrored: float = MIRRORED

    @classmethod
    def of_validation(cls, ids: np.ndarray, data: DataConfig) -> DegradedView:
        """The degraded copies of held-out pages on which a run validates."""
        return cls(ids, data.split_seed, data.degraded_mirrored)

    @property
    def name(self) -> str:
        """Name of the view in the fingerprint of stored predictions."""
        share = "" if self.mirrored == MIRRORED else f"-mirrored-{self.mirrored:g}"
        return f"degraded-{RULES}-{self.seed}{share}"

    def __call__(self, page: np.ndarray, row: int) -> np.ndarray:
        """Corrupt the page of a row."""
        return degrade(page, _rng_of_page(self.ids[row], self.seed), self.mirrored)

    def is_mirrored(self, row: int) -> bool:
        """Whether the copy of a page is mirrored."""
        rng = _rng_of_page(self.ids[row], self.seed)
        return _is_mirrored(_drawn(*_STAGES[0], rng), rng, self.mirrored)


@dataclass(frozen=True, eq=False)
class CorruptedView:
    """One corruption at one severity, fixed for each page as in `DegradedView`."""

    quick: ClassVar = False
    ids: np.ndarray
    seed: int
    kind: str
    severity: int

    @property
    def name(self) -> str:
        """Name of the view in the fingerprint of stored predictions."""
        return f"{self.kind}-{self.severity}-{RULES}-{self.seed}"

    def __call__(self, page: np.ndarray, row: int) -> np.ndarray:
        """Corrupt the page of a row."""
        return corruption(page, self.kind, self.severity, _rng_of_page(self.ids[row], self.seed))


def _rng_of_page(page_id: object, seed: int) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(str(page_id).encode("utf-8", "surrogateescape"))))
