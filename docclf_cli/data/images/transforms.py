"""Named transforms of augmentation policies.

A transform is one registered function; its keyword-only parameters are what a policy file may set. `geometry`
returns a homography (3x3, from output to input, in coordinates centred on the page with half its side as unit),
so that a policy can compose its geometry into one warp. `backdrop` returns the grey that this warp leaves around the
page, and `surface` a picture for it, uint8 [H, W, 3], of the shape of a page. `tone` returns a table with the new value of each grey level, uint8 [256]; consecutive ones are composed into one
look-up. `pixels` changes a page: uint8 [H, W, 3] in and out.

Each is written with whatever was fastest on one core at 224 px, mostly numpy and Pillow: loader workers have one page
and one thread, for which the tensors of `torchvision.transforms.v2` cost more than they bring
(`benchmarks/augmentation_cost.py` measures policies beside the same in v2).
"""

import io
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import Field

from docclf_cli.profile.schema import NonNegative, Positive, Share
from docclf_cli.registry import Registry

Page = np.ndarray
Rng = np.random.Generator
TRANSFORMS: Registry[Callable[..., Any]] = Registry("transform")
IDENTITY = np.eye(3)
_LEVELS = np.arange(256)
_QUANTILES = np.array([NormalDist().inv_cdf((level + 0.5) / 256) for level in range(256)], dtype=np.float32)
Quality = Annotated[int, Field(ge=1, le=100)]
Grey = Annotated[int, Field(ge=0, le=255)]


def rotation(angle: float) -> np.ndarray:
    """A turn by `angle` radians, counter-clockwise as people see it."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


@TRANSFORMS.register("rotate", kind="geometry")
def rotate(rng: Rng, *, degrees: NonNegative = 5.0) -> np.ndarray:
    """Turn by an angle drawn from -degrees to degrees."""
    return rotation(math.radians(rng.uniform(-degrees, degrees)))


@TRANSFORMS.register("quarter_turn", kind="geometry")
def quarter_turn(rng: Rng) -> np.ndarray:
    """Turn by 90, 180 or 270 degrees."""
    return np.rint(rotation(rng.integers(1, 4) * math.pi / 2))


@TRANSFORMS.register("mirror", kind="geometry")
def mirror(rng: Rng) -> np.ndarray:
    """Mirror left and right."""
    return np.diag([-1.0, 1.0, 1.0])


@TRANSFORMS.register("scale", kind="geometry")
def scale(rng: Rng, *, smallest: Positive = 0.85, largest: Positive = 1.1) -> np.ndarray:
    """Show the page smaller or larger by a factor, drawn on a log scale."""
    factor = math.exp(rng.uniform(math.log(smallest), math.log(largest)))
    return np.diag([1 / factor, 1 / factor, 1.0])


@TRANSFORMS.register("stretch", kind="geometry")
def stretch(rng: Rng, *, ratio: Positive = 1.1) -> np.ndarray:
    """Change the aspect ratio by at most `ratio`."""
    factor = math.exp(rng.uniform(-0.5, 0.5) * math.log(max(ratio, 1 / ratio)))
    return np.diag([factor, 1 / factor, 1.0])


@TRANSFORMS.register("translate", kind="geometry")
def translate(rng: Rng, *, fraction: Share = 0.05) -> np.ndarray:
    """Move the page by at most a fraction of its side."""
    move = IDENTITY.copy()
    move[:2, 2] = rng.uniform(-2 * fraction, 2 * fraction, 2)
    return move


@TRANSFORMS.register("shear", kind="geometry")
def shear(rng: Rng, *, degrees: NonNegative = 4.0) -> np.ndarray:
    """Slant the page."""
    slant = IDENTITY.copy()
    slant[0, 1] = math.tan(math.radians(rng.uniform(-degrees, degrees)))
    return slant


@TRANSFORMS.register("perspective", kind="geometry")
def perspective(rng: Rng, *, strength: Share = 0.1) -> np.ndarray:
    """Show the page in perspective, as a hand-held camera does."""
    tilt = IDENTITY.copy()
    tilt[2, :2] = rng.uniform(-strength, strength, 2)
    return tilt


@TRANSFORMS.register("crop", kind="geometry")
def crop(rng: Rng, *, smallest: Annotated[float, Field(gt=0, le=1)] = 0.7) -> np.ndarray:
    """Cut out a part: each side keeps a share between `smallest` and 1, and is stretched to the whole."""
    sides = rng.uniform(smallest, 1.0, 2)
    offset = rng.uniform(-1.0, 1.0, 2) * (1 - sides)
    return np.array([[sides[0], 0.0, offset[0]], [0.0, sides[1], offset[1]], [0.0, 0.0, 1.0]])


@TRANSFORMS.register("backdrop", kind="backdrop")
def backdrop(rng: Rng, *, darkest: Grey = 0, lightest: Grey = 255) -> float:
    """The desk or scanner lid around a page that geometry has moved: one grey, white without this."""
    return float(rng.uniform(min(darkest, lightest), max(darkest, lightest)))


@TRANSFORMS.register("desk", kind="surface")
def desk(rng: Rng, shape: tuple[int, ...]) -> Page:
    """The table that a page lies on when a phone photographs it: one colour with grain, stripes or blotches."""
    height, width = shape[:2]
    lightness = rng.uniform(10, 230)
    brown = lightness * np.array([1, rng.uniform(0.6, 1), rng.uniform(0.4, 1)])
    colour = rng.uniform(10, 230, 3) if rng.random() < 0.4 else brown
    texture = np.ones((height, width), dtype=np.float32)
    for cells in (3, 12, 48):  # from blotches to grain; stripes where far more go one way than the other
        across, down = (max(1, int(cells * math.exp(rng.uniform(-1.5, 1.5)))) for _ in range(2))
        coarse = Image.fromarray(_normal(rng, (min(down, height), min(across, width))))
        texture += rng.uniform(0, 0.15) * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return _as_page(texture[..., None] * colour.astype(np.float32))


def _as_page(values: np.ndarray) -> Page:
    return np.clip(values, 0, 255).astype(np.uint8)


def _by_channel(change: Callable[[np.ndarray], np.ndarray], page: Page) -> Page:
    # Broadcasting [H, W, 1] over three channels takes twice as long.
    out = np.empty_like(page)
    for channel in range(page.shape[2]):
        out[..., channel] = change(page[..., channel])
    return out


def _normal(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal values, float32, each one of 256 quantiles: a sixth of the time of exact ones."""
    drawn = np.frombuffer(rng.bytes(math.prod(shape)), np.uint8)
    return _QUANTILES[drawn].reshape(shape)


@TRANSFORMS.register("brightness", kind="tone")
def brightness(rng: Rng, *, amount: Share = 0.2) -> np.ndarray:
    """Multiply by a factor between 1 - amount and 1 + amount."""
    return _as_page(_LEVELS * rng.uniform(1 - amount, 1 + amount))


@TRANSFORMS.register("contrast", kind="tone")
def contrast(rng: Rng, *, amount: Share = 0.2) -> np.ndarray:
    """Pull values towards mid-grey, or push them away from it."""
    return _as_page(128 + (_LEVELS - 128) * rng.uniform(1 - amount, 1 + amount))


@TRANSFORMS.register("fade", kind="tone")
def fade(rng: Rng, *, amount: Share = 0.5) -> np.ndarray:
    """Fade the ink: dark values move towards white."""
    return _as_page(255 - (255 - _LEVELS) * (1 - rng.uniform(0, amount)))


@TRANSFORMS.register("tint", kind="pixels")
def tint(page: Page, rng: Rng, *, amount: Share = 0.12) -> Page:
    """Tint the paper: each channel is darkened a little."""
    factors = 1 - rng.uniform(0, amount, 3)
    return _as_page(page * factors.astype(np.float32))


@TRANSFORMS.register("grayscale", kind="pixels")
def grayscale(page: Page, rng: Rng) -> Page:
    """Remove colour, as a copier does."""
    return np.asarray(Image.fromarray(page).convert("L").convert("RGB"))


@TRANSFORMS.register("shade", kind="pixels")
def shade(page: Page, rng: Rng, *, strength: Share = 0.5) -> Page:
    """Uneven lighting: darker towards one side, along a soft curve."""
    height, width = page.shape[:2]
    angle, bend = rng.uniform(0, 2 * math.pi), rng.uniform(0.5, 2.0)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across = (math.cos(angle) * x + math.sin(angle) * y + math.sqrt(2)) / (2 * math.sqrt(2))
    across = np.maximum(across, 0)  # rounding may have left a corner a trace below, which has no power
    light = 1 - rng.uniform(0, strength) * across ** np.float32(bend)
    return _by_channel(lambda channel: channel * light, page)


@TRANSFORMS.register("blur", kind="pixels")
def blur(page: Page, rng: Rng, *, radius: NonNegative = 1.5) -> Page:
    """Gaussian blur; `radius` is the largest standard deviation in pixels of a 256-pixel page."""
    from scipy.ndimage import gaussian_filter

    sigma = rng.uniform(0, radius) * page.shape[0] / 256
    # Pillow's blur takes twice as long.
    return np.rint(gaussian_filter(page.astype(np.float32), (sigma, sigma, 0), mode="nearest", truncate=3)).astype(
        np.uint8
    )


@TRANSFORMS.register("motion", kind="pixels")
def motion(page: Page, rng: Rng, *, length: NonNegative = 7.0) -> Page:
    """Motion blur, horizontal or vertical; `length` is the longest smear in pixels of a 256-pixel page."""
    return smeared(page, 1 + round(rng.uniform(0, length) * page.shape[0] / 256), int(rng.integers(2)))


def smeared(page: Page, length: int, axis: int) -> Page:
    """The mean of `length` neighbours along an axis."""
    from scipy.ndimage import uniform_filter1d

    return np.rint(uniform_filter1d(page.astype(np.float32), length, axis=axis, mode="nearest")).astype(np.uint8)


@TRANSFORMS.register("noise", kind="pixels")
def noise(page: Page, rng: Rng, *, sigma: NonNegative = 15.0) -> Page:
    """Gaussian noise, the same in all channels; `sigma` is the largest standard deviation in grey levels."""
    spread = rng.uniform(0, sigma)
    grain = _normal(rng, page.shape[:2]) * np.float32(spread)
    return _by_channel(lambda channel: np.clip(channel + grain, 0, 255), page)


@TRANSFORMS.register("speckle", kind="pixels")
def speckle(page: Page, rng: Rng, *, share: Share = 0.02) -> Page:
    """Salt and pepper: single black and white pixels."""
    out = page.copy()
    hit = rng.random(page.shape[:2], dtype=np.float32)
    limit = rng.uniform(0, share) / 2
    out[hit < limit] = 0
    out[hit > 1 - limit] = 255
    return out


@TRANSFORMS.register("fax", kind="pixels")
def fax(page: Page, rng: Rng, *, speckles: Share = 0.01) -> Page:
    """Black and white as a fax sends it: a ragged threshold, speckles, a lost line."""
    lightness = above_ink(page, rng.uniform(0.45, 0.7))
    ragged = _normal(rng, lightness.shape) * np.float32(0.05)
    out = np.where(lightness >= ragged, np.uint8(255), np.uint8(0))
    out[rng.random(out.shape, dtype=np.float32) < rng.uniform(0, speckles)] ^= 255
    if rng.random() < 0.5:
        out[rng.integers(len(out))] = rng.choice((0, 255))
    return np.repeat(out[..., None], 3, axis=2)


def above_ink(page: Page, level: float) -> np.ndarray:
    """Where there is paper, as float32 [H, W] of at least 0; ink is below.

    As scanners do, the threshold follows the tone of the paper near by, `level` of the way from ink to paper, so that
    a shaded or faded page becomes neither all black nor all white.
    """
    from scipy.ndimage import grey_closing

    grey = Image.fromarray(page).convert("L")
    # A closing fills what is narrower than its window (a sixth of the page): text, but not a dark desk.
    blocks = np.asarray(grey.resize((56, 56), Image.Resampling.BOX))
    paper = np.asarray(Image.fromarray(grey_closing(blocks, (9, 9))).resize(grey.size, Image.Resampling.BILINEAR))
    tone = np.asarray(grey, dtype=np.float32) / np.maximum(paper, np.float32(80))  # darker than that is no paper
    darkest = min(float(np.percentile(tone[::2, ::2], 2)), 0.6)  # an empty page stays empty
    return tone - np.float32(darkest + level * (1 - darkest))


@TRANSFORMS.register("ink", kind="pixels")
def ink(page: Page, rng: Rng) -> Page:
    """Thicker or thinner strokes: the darkest or the lightest of 3 x 3 pixels."""
    extreme = np.minimum if rng.random() < 0.5 else np.maximum
    # One axis after the other: a hundredth of the time of Pillow's MinFilter.
    padded = np.pad(page, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = extreme(extreme(padded[:-2], padded[1:-1]), padded[2:])
    return extreme(extreme(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


@TRANSFORMS.register("jpeg", kind="pixels")
def jpeg(page: Page, rng: Rng, *, worst: Quality = 30, best: Quality = 90) -> Page:
    """Compression at a quality between `worst` and `best`."""
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "JPEG", quality=int(rng.integers(min(worst, best), max(worst, best) + 1)))
    return np.asarray(Image.open(buffer))


@TRANSFORMS.register("downscale", kind="pixels")
def downscale(page: Page, rng: Rng, *, smallest: Annotated[float, Field(gt=0, le=1)] = 0.4) -> Page:
    """Lower the resolution: downscale, then upscale."""
    height, width = page.shape[:2]
    factor = rng.uniform(smallest, 1.0)
    small = Image.fromarray(page).resize(
        (max(1, round(width * factor)), max(1, round(height * factor))), Image.Resampling.BILINEAR
    )
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


@TRANSFORMS.register("erase", kind="pixels")
def erase(page: Page, rng: Rng, *, largest: Share = 0.15, boxes: Annotated[int, Field(ge=1, le=20)] = 2) -> Page:
    """Cover boxes of one grey value: stickers, thumbs, redactions (Zhong et al. 2020)."""
    out = page.copy()
    height, width = page.shape[:2]
    for _ in range(int(rng.integers(1, boxes + 1))):
        area, ratio = rng.uniform(0.01, max(largest, 0.01)), math.exp(rng.uniform(-1, 1))
        h, w = (max(1, min(side, round(size))) for side, size in
                ((height, height * math.sqrt(area * ratio)), (width, width * math.sqrt(area / ratio))))  # fmt: skip
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        out[top : top + h, left : left + w] = rng.choice((0, 128, 255))
    return out
