"""Three epochs over A4 pages scanned at 200 dpi, all defaults and a cold cache, against the loop people write by hand.

Renders JPEGs of 1654 x 2339 pixels into a tree of class folders, and trains on four fifths of them, validating on the
rest after each epoch, as whole processes one after the other:

- by hand: ImageFolder, Pillow, timm's own transforms for training and validation, fp32, AdamW, two loader processes;
  what timm's training script amounts to
- docclf train with nothing but the model, the size and the batch named (so with degraded validation, EMA off, figures,
  plots and checkpoints), its page cache and its memory of measured numerics empty
- the same without degraded validation

Medians of the repeats; of docclf also where the time went.

    python benchmarks/three_epochs.py [--models resnet18 mobilenetv3_small_100 convnext_atto] [--pages 240]
                                      [--epochs 3] [--repeats 1]

Aims without degraded validation: 3 times as fast for resnet18, 2.5 for mobilenetv3_small_100, 1.5 for convnext_atto (2.5
in a longer run: --models convnext_atto --epochs 20). The more pages and epochs, the less the start weighs; 1,570 pages
are those of the competition docclf comes from. Wants a quiet machine; five minutes on two cores.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from docclf_cli.data.samples.pages import KINDS, render_page

A4 = (1654, 2339)
SIZE, BATCH = 224, 16
SIDES = ("by hand", "docclf", "docclf without degraded validation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet18", "mobilenetv3_small_100", "convnext_atto"])
    parser.add_argument("--pages", type=int, default=240)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--by-hand", nargs=2, metavar=("MODEL", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.by_hand:
        train_by_hand(*options.by_hand, options.epochs)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        render(folder / "pages", options.pages)
        for model in options.models:
            compare(model, folder, options.epochs, options.repeats)


def render(folder: Path, pages: int) -> None:
    """Pages by split and class: every fifth is for validation."""
    rng = np.random.default_rng(0)
    for number in range(pages):
        kind = list(KINDS)[number % len(KINDS)]
        page = np.asarray(render_page(kind, 0, number).convert("RGB").resize(A4, Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(page + rng.integers(-6, 7, page.shape, dtype=np.int16), 0, 255).astype(np.uint8)
        split = "val" if number // len(KINDS) % 5 == 4 else "train"
        path = folder / split / kind / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(path, quality=85)


def compare(model: str, folder: Path, epochs: int, repeats: int) -> None:
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for repeat in range(repeats):
        for side in SIDES:
            run = f"{model}-{repeat}-{SIDES.index(side)}"
            command = by_hand(model, folder, epochs) if side == "by hand" else docclf(model, folder, epochs, run, side)
            times[side].append(seconds_of(command, folder, run))
    base = statistics.median(times["by hand"])
    for side, seconds in times.items():
        median = statistics.median(seconds)
        spent = "" if side == "by hand" else where(folder / "runs" / f"{model}-0-{SIDES.index(side)}", seconds[0])
        print(f"{model:24s}{side:36s}{median:8.1f} s{base / median:7.2f} x{spent}", flush=True)


def by_hand(model: str, folder: Path, epochs: int) -> list[str]:
    return [__file__, "--by-hand", model, str(folder / "pages"), "--epochs", str(epochs)]


def docclf(model: str, folder: Path, epochs: int, run: str, side: str) -> list[str]:
    given = ["--data", str(folder / "pages"), "--model", model, "--no-pretrained", "--name", run]
    given += [
        "--image-size",
        str(SIZE),
        "--batch-size",
        str(BATCH),
        "--epochs",
        str(epochs),
        "--set",
        "tracking.backend=none",
    ]
    return ["-m", "docclf_cli", "train", *given] + ["--set", "data.degraded_validation=false"] * ("without" in side)


def seconds_of(command: list[str], folder: Path, run: str) -> float:
    cold = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache" / run)}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=folder, env=cold, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - started


def where(run: Path, total: float) -> str:
    """Where the time of a run went: training, validation, and all else (start, probe, decoding, scoring, plots)."""
    with (run / "timings.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    training, validation = (sum(float(row[name]) for row in rows) for name in ("train_seconds", "validation_seconds"))
    rest = total - training - validation
    return f"   training {training:.1f} s, validation {validation:.1f} s, all else {rest:.1f} s"


def train_by_hand(model: str, folder: str, epochs: int) -> None:
    import timm
    import torch
    from timm.data import create_transform
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    def loader(split: str, training: bool) -> Any:
        pages = ImageFolder(f"{folder}/{split}", create_transform(SIZE, is_training=training))
        return DataLoader(pages, BATCH, shuffle=training, num_workers=2, drop_last=training, persistent_workers=True)

    train, val = loader("train", True), loader("val", False)
    network = timm.create_model(model, num_classes=len(train.dataset.classes))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=0.05)
    loss = torch.nn.CrossEntropyLoss()
    for _ in range(epochs):
        network.train()
        for images, targets in train:
            optimizer.zero_grad()
            loss(network(images), targets).backward()
            optimizer.step()
        network.eval()
        right = 0
        with torch.no_grad():
            for images, targets in val:
                right += int((network(images).argmax(1) == targets).sum())
        print(f"accuracy {right / len(val.dataset):.3f}")


if __name__ == "__main__":
    main()
