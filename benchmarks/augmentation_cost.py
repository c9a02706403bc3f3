"""Milliseconds that an augmentation policy costs a page, beside the same policy in torchvision.transforms.v2.

Rendered sample pages, one thread. The v2 counterpart of a policy has a v2 transform for each of ours that has one,
with the same chance and range (geometry in one RandomAffine and one RandomPerspective); those v2 lacks (shade, fade,
tint, ink, fax, speckle, downscale, backdrop) are left out of it, so it does less. Medians of alternating repeats of
processor time, which other programs disturb less than wall time.

    python benchmarks/augmentation_cost.py [--size 224] [--pages 64] [--repeats 5]
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.transforms import v2

from docclf_cli.data.images.augmentation import Policy
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.images.transforms import TRANSFORMS
from docclf_cli.data.index.index import load_index
from docclf_cli.data.loading.pages import Pages
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import AugmentationConfig, DataConfig, TransformConfig

BILINEAR = v2.InterpolationMode.BILINEAR
POLICIES = ("light", "document", "rough")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pages", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pages = render(options.size, options.pages)
    print(f"{options.size} px            docclf        v2  ratio")
    for name in POLICIES:
        config = load_profile("config", options={"augmentation": name}).profile.augmentation
        show(name, *measure(pages, Policy.from_config(config), counterpart(config.transforms), options.repeats))
    for entry in TRANSFORMS:
        config = AugmentationConfig.model_validate({"transforms": [{"name": entry.name}]})
        alone = counterpart(config.transforms)
        show(f"  {entry.name}", *measure(pages, Policy.from_config(config), alone, options.repeats))


def render(size: int, count: int) -> list[np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        config = DataConfig(root=str(render_samples(Path(folder) / "data", pages_per_class=4, test_pages_per_class=1)))
        index = load_index(config, "train")
        pages = Pages(index, Preprocess(size), config)
        return [pages[row % len(index)] for row in range(count)]


def measure(
    pages: list[np.ndarray], policy: Policy, other: Callable[[torch.Tensor], torch.Tensor] | None, repeats: int
) -> tuple[float, float | None]:
    def ours() -> None:
        for number, page in enumerate(pages):
            policy(page, np.random.default_rng((0, number)))

    def theirs() -> None:
        assert other is not None
        for page in pages:
            other(torch.from_numpy(page.copy()).permute(2, 0, 1))

    steps = [ours] if other is None else [ours, theirs]
    times: dict[Callable[[], None], list[float]] = {step: [] for step in steps}
    for _, step in itertools.product(range(repeats + 1), steps):  # the first round warms up
        start = time.process_time()
        step()
        times[step].append((time.process_time() - start) * 1000 / len(pages))
    medians = [statistics.median(times[step][1:]) for step in steps]
    return medians[0], medians[1] if other else None


def show(name: str, ours: float, theirs: float | None) -> None:
    beside = "" if theirs is None else f"{theirs:8.2f}ms{theirs / ours:6.1f}x"
    print(f"{name:16s}{ours:7.3f}ms{beside}")


def counterpart(transforms: tuple[TransformConfig, ...]) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """The v2 pipeline of a policy, or None where v2 has nothing like it."""
    params = {item.name: {**TRANSFORMS.get(item.name).parameters, **item.params} for item in transforms}
    steps = affine(params)
    for name, values in params.items():
        if (build := SAME.get(name)) is not None:
            steps.append(v2.RandomApply([build(values)], p=values.get("p", 1.0)))
    return v2.Compose(steps) if steps else None


def affine(params: dict[str, dict[str, Any]]) -> list[v2.Transform]:
    """Tilt, scale, move and slant in one RandomAffine, as a v2 user would write them."""
    if not params.keys() & {"rotate", "scale", "translate", "shear"}:
        return []
    scale, move = params.get("scale"), params.get("translate")
    return [
        v2.RandomAffine(
            degrees=params.get("rotate", {}).get("degrees", 0),
            translate=(move["fraction"],) * 2 if move else None,
            scale=(scale["smallest"], scale["largest"]) if scale else None,
            shear=params.get("shear", {}).get("degrees"),
            interpolation=BILINEAR,
            fill=255,
        )
    ]


# A kernel of 7 px spans three standard deviations of the widest blur.
SAME: dict[str, Callable[[dict[str, Any]], v2.Transform]] = {
    "quarter_turn": lambda values: v2.RandomChoice([v2.RandomRotation((angle, angle)) for angle in (90, 180, 270)]),
    "mirror": lambda values: v2.RandomHorizontalFlip(1.0),
    "perspective": lambda values: v2.RandomPerspective(2 * values["strength"], 1.0, BILINEAR, fill=255),
    "crop": lambda values: v2.RandomResizedCrop(224, (values["smallest"] ** 2, 1.0), antialias=False),
    "brightness": lambda values: v2.ColorJitter(brightness=values["amount"]),
    "contrast": lambda values: v2.ColorJitter(contrast=values["amount"]),
    "grayscale": lambda values: v2.Grayscale(3),
    "blur": lambda values: v2.GaussianBlur(7, (0.1, max(0.2, values["radius"]))),
    "noise": lambda values: v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.GaussianNoise(sigma=values["sigma"] / 510), v2.ToDtype(torch.uint8, scale=True)]
    ),
    "jpeg": lambda values: v2.JPEG((values["worst"], values["best"])),
    "erase": lambda values: v2.RandomErasing(1.0, (0.01, max(values["largest"], 0.02))),
}  # fmt: skip


if __name__ == "__main__":
    main()
