"""Pages as a phone photographs them, for measuring only: no code and no constants are shared with the augmentation.

A page is a sheet in space: it is curled or folded, lies on a desk with other sheets, and is seen by a pinhole camera under a lamp
with a colour of its own, with the soft shadow of the hand and the phone. Then comes the camera: focus on one side, vignette, noise,
sharpening, tone curve, JPEG.

    python benchmarks/phone_pages.py FILE ... --output FOLDER --seed 0
"""

import argparse
import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

Array = np.ndarray
Rng = np.random.Generator
HEIGHT, WIDTH = 640, 480  # of the photograph; phones are held upright


def photograph(page: Array, rng: Rng) -> Array:
    """A photograph of a page, uint8 [640, 480, 3] (or lying, where the page does), of a page uint8 [height, width, 3]."""
    lying = page.shape[1] > page.shape[0]
    height, width = (WIDTH, HEIGHT) if lying else (HEIGHT, WIDTH)
    scene, sheet = _scene(page, height, width, rng)
    scene = _light(scene, sheet, rng)
    return _camera(scene, rng)


def of_id(page: Array, name: str, seed: int) -> Array:
    """The photograph of a page that is the same for each name and seed."""
    return photograph(page, np.random.default_rng((seed, zlib.crc32(name.encode()), 77)))


def _scene(page: Array, height: int, width: int, rng: Rng) -> tuple[Array, Array]:
    """What is before the camera, float32 [height, width, 3] of 0..1, and where the sheet is, float32 [height, width]."""
    desk = _desk(height, width, rng)
    if rng.random() < 0.35:  # another sheet beside or below
        other = np.full((200, 150, 3), rng.uniform(0.8, 0.97), np.float32)
        for line in range(20, 180, int(rng.integers(6, 12))):
            other[line : line + 2, 15 : int(rng.integers(60, 140))] = rng.uniform(0.1, 0.5)
        desk = _laid(desk, other, _pose(1.4, height, width, rng, shift=0.9), np.zeros(2), rng)[0]
    return _laid(
        desk,
        page.astype(np.float32) / 255,
        _pose(page.shape[1] / page.shape[0], height, width, rng),
        _bend(rng),
        rng,
    )


def _desk(height: int, width: int, rng: Rng) -> Array:
    """A table top: wood, cloth, stone, or one colour."""
    kind = rng.choice(["wood", "cloth", "stone", "plain"], p=[0.4, 0.2, 0.2, 0.2])
    colours = {"wood": ([0.25, 0.14, 0.07], [0.75, 0.55, 0.35]), "cloth": ([0.05] * 3, [0.8] * 3),
               "stone": ([0.3] * 3, [0.7] * 3), "plain": ([0.02] * 3, [0.9] * 3)}[kind]  # fmt: skip
    colour = rng.uniform(*map(np.array, colours)).astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    coarse = gaussian_filter(rng.standard_normal((height // 8, width // 8)), 2)
    coarse = zoom(coarse / coarse.std(), (height / coarse.shape[0], width / coarse.shape[1]), order=1)
    if kind == "wood":
        rings = np.sin(across / rng.uniform(4, 12) + 1.5 * coarse + 0.01 * along)
        return np.clip(colour * (1 + 0.18 * rings + 0.05 * rng.standard_normal((height, width)))[..., None], 0, 1)
    if kind == "cloth":
        weave = np.sin(x / 1.5) * np.sin(y / 1.5)
        return np.clip(colour * (1 + 0.12 * weave + 0.08 * coarse)[..., None], 0, 1).astype(np.float32)
    grain = 0.15 * coarse if kind == "stone" else 0.02 * coarse
    return np.clip(colour * (1 + grain)[..., None], 0, 1).astype(np.float32)


def _pose(ratio: float, height: int, width: int, rng: Rng, shift: float = 0.08) -> Array:
    """The homography from the photograph (pixels) to the sheet (0..1 both ways), by a pinhole camera."""
    tilt, pan = np.radians(rng.normal(0, 16, 2).clip(-34, 34))
    roll = np.radians(rng.normal(0, 6))
    corners = np.array([[-ratio, -1], [ratio, -1], [ratio, 1], [-ratio, 1]]) / 2 / max(1, ratio)
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    about_y = np.array([[np.cos(pan), 0, np.sin(pan)], [0, 1, 0], [-np.sin(pan), 0, np.cos(pan)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    points = np.c_[corners, np.zeros(4)] @ (about_x @ about_y @ about_z).T
    distance = rng.uniform(1.1, 2.2)
    seen = points[:, :2] / (points[:, 2:] + distance)
    span = (seen.max(0) - seen.min(0)) / np.array([width, height])
    seen = seen / span.max() * rng.uniform(0.72, 1.12)  # now and then an edge is outside of the photograph
    seen += np.array([width, height]) / 2 - seen.mean(0) + rng.uniform(-shift, shift, 2) * np.array([width, height])
    rows = []
    for (x, y), (u, v) in zip(seen, [(0, 0), (1, 0), (1, 1), (0, 1)], strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y, -u])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y, -v])
    return np.linalg.svd(np.array(rows))[2][-1].reshape(3, 3)


def _bend(rng: Rng) -> Array:
    """How far a sheet is curled up and down, and sideways, in shares of its side; mostly little."""
    return rng.normal(0, 0.012, 2) * (rng.random(2) < 0.6)


def _laid(scene: Array, sheet: Array, pose: Array, bend: Array, rng: Rng) -> tuple[Array, Array]:
    """A scene with a sheet on it, and where that is."""
    height, width = scene.shape[:2]
    y, x = np.mgrid[:height, :width]
    depth = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2]
    u, v = ((pose[row, 0] * x + pose[row, 1] * y + pose[row, 2]) / depth for row in (0, 1))
    curl = np.sin(np.pi * np.clip(u, -0.2, 1.2) + rng.uniform(0, np.pi))
    v = v + bend[0] * curl
    u = u + bend[1] * np.sin(2 * np.pi * np.clip(v, -0.2, 1.2))
    inside = gaussian_filter(((u > 0) & (u < 1) & (v > 0) & (v < 1)).astype(np.float32), 0.7)
    places = np.stack([np.clip(v, 0, 1) * (sheet.shape[0] - 1), np.clip(u, 0, 1) * (sheet.shape[1] - 1)])
    smooth = gaussian_filter(sheet, (max(0, sheet.shape[0] / height / 3), max(0, sheet.shape[1] / width / 3), 0))
    paper = np.stack([map_coordinates(smooth[..., c], places, order=1) for c in range(3)], axis=-1)
    paper *= (1 + 4 * bend[0] * np.cos(np.pi * np.clip(u, 0, 1)))[..., None]  # its curl catches the light
    fold = abs(v - 0.5) if rng.random() < 0.5 else abs(u - 0.5)
    if rng.random() < 0.25:
        paper *= (1 - 0.25 * np.exp(-((fold / 0.008) ** 2)))[..., None]
    near = gaussian_filter(inside, 6)  # a sheet throws a shadow on the desk
    ground = scene * (1 - 0.35 * np.clip(near - inside, 0, 1))[..., None]
    return (ground * (1 - inside[..., None]) + paper * inside[..., None]).astype(np.float32), inside


def _light(scene: Array, sheet: Array, rng: Rng) -> Array:
    """Lamp with a colour, fall-off, and the shadow of the hand or phone that takes the picture."""
    height, width = scene.shape[:2]
    y, x = np.mgrid[:height, :width] / max(height, width)
    lamp = rng.uniform(-0.3, 1.3, 2)
    distance = (x - lamp[0]) ** 2 + (y - lamp[1]) ** 2
    light = 1 / (1 + rng.uniform(0, 1.0) * distance)
    if rng.random() < 0.6:
        shadow = np.zeros((height, width))
        middle = np.array([rng.uniform(0.2, 0.8) * width, rng.uniform(0.6, 1.1) * height])
        for _ in range(int(rng.integers(1, 4))):
            centre = middle + rng.normal(0, 0.12, 2) * width
            size = rng.uniform(0.1, 0.35, 2) * width
            shadow = np.maximum(
                shadow,
                (
                    ((x * max(height, width) - centre[0]) / size[0]) ** 2
                    + ((y * max(height, width) - centre[1]) / size[1]) ** 2
                    < 1
                ).astype(float),
            )
        light = light * (1 - rng.uniform(0.2, 0.6) * gaussian_filter(shadow, rng.uniform(8, 30)))
    light = light / np.percentile(light, 90) * rng.uniform(0.6, 1.1)
    temperature = rng.normal(0, 1)  # warm bulbs, or blue daylight that the white balance left
    cast = np.array([1 + 0.10 * temperature, 1, 1 - 0.16 * temperature]) * (1 + rng.normal(0, 0.03, 3))
    return np.clip(scene * light[..., None] * cast, 0, 1).astype(np.float32)


def _camera(scene: Array, rng: Rng) -> Array:
    """Lens, sensor, the phone's own retouching and the file."""
    height, width = scene.shape[:2]
    y, x = np.mgrid[:height, :width]
    if rng.random() < 0.5:  # sharp on one side only
        angle = rng.uniform(0, 2 * np.pi)
        away = np.clip((np.cos(angle) * (x / width - 0.5) + np.sin(angle) * (y / height - 0.5)) * 1.6, 0, 1)[..., None]
        soft = gaussian_filter(scene, (*[rng.uniform(1.5, 4)] * 2, 0))
        scene = scene * (1 - away) + soft * away
    elif rng.random() < 0.4:  # out of focus, or shaken
        spread = rng.uniform(0.8, 2.2)
        scene = gaussian_filter(scene, (spread, spread * rng.uniform(0.3, 1), 0))
    radius = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 2
    scene = scene * (1 - rng.uniform(0, 0.35) * radius**2)[..., None]
    grain = rng.standard_normal((height // 2, width // 2, 3)).repeat(2, 0).repeat(2, 1)[:height, :width]
    scene = np.clip(scene + rng.uniform(0, 0.035) * grain, 0, 1) ** rng.uniform(0.8, 1.15)
    photo = Image.fromarray((scene * 255).round().astype(np.uint8))
    if rng.random() < 0.6:
        photo = photo.filter(ImageFilter.UnsharpMask(1.2, int(rng.integers(60, 180)), 2))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=int(rng.integers(45, 92)))
    return np.asarray(Image.open(buffer))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for file in options.files:
        photo = of_id(np.asarray(Image.open(file).convert("RGB")), file.name, options.seed)
        Image.fromarray(photo).save(options.output / f"{file.stem}.png")


if __name__ == "__main__":
    main()
