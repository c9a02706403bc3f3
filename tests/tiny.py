"""A training run that takes a second."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docclf_cli.errors import Interrupted
from docclf_cli.events import Event
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile
from docclf_cli.stop import StopFlag
from docclf_cli.tasks import train as train_module

TONES = {"form": 60, "letter": 130, "receipt": 200}

# Measuring what is fastest takes longer than a tiny run, and may pick other numerics the next time.
PLAIN = {
    "runtime.precision": "fp32", "runtime.memory_format": "contiguous", "runtime.compile": "off",
    "runtime.inference.precision": "fp32", "runtime.inference.memory_format": "contiguous",
}  # fmt: skip


def draw_pages(folder: Path, per_class: int) -> Path:
    """Class folders of small noisy pages, each class of another tone."""
    rng = np.random.default_rng(0)
    for name, tone in TONES.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            page = np.clip(tone + rng.normal(0, 30, (40, 30, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(page).save(folder / name / f"{name}-{number}.png")
    return folder


def tiny_profile(pages: Path, output: Path, **options: object) -> Profile:
    """Three epochs of four steps, two batches to validate on, an average of the weights and a snapshot each epoch."""
    usual = {
        "data.root": str(pages), "data.image_size": 32, "data.cache": "off", "data.val_fraction": 0.4, "model": "test_resnet",
        "model.pretrained": False, "augmentation": "light", "train.epochs": 3, "train.batch_size": 4, "train.ema": 0.9, "optimizer.lr": 5e-3, "train.monitor": "val_loss",
        "train.snapshots.keep": "every", "train.snapshots.k": 1, "runtime.workers": 0, "runtime.threads": 1, **PLAIN,
        "output": str(output),
    }  # fmt: skip
    return load_profile(
        "config", options=usual | {key.replace("__", "."): value for key, value in options.items()}
    ).profile


@pytest.fixture(scope="module")
def no_plots() -> Iterator[None]:
    """Plots are half of a tiny run's time, and seldom what is looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "write_class_report", lambda *_: [])
        patch.setattr(train_module, "write_comparison", lambda folder, *_: folder / "none")
        patch.setattr(train_module, "write_curves", lambda folder, *_: folder / "none")
        yield


def stop_when(profile: Profile, moment: Callable[[Event], bool], resume: Path | None = None) -> Path:
    """Train (or go on) until `moment`, and return the folder of the stopped run."""
    stop = StopFlag()

    def watch(event: Event) -> None:
        if moment(event):
            stop.signal_number = 15

    with pytest.raises(Interrupted) as stopped:
        train_module.train(profile, resume=resume, emit=watch, stop=stop)
    folder = Path(profile.output) / str(profile.name)
    assert stopped.value.exit_code == 143
    assert f"docclf train --resume {folder}" in stopped.value.hint
    return folder
