"""The training loop against its ceiling: the same network stepping on one batch that is always there.

Sample pages at 224 px in a warm page cache, batches of 16, policy `document`, loader processes as docclf picks them.
Both sides use the numerics that docclf picks for the network here, the same optimizer and the same clipping; the ceiling
has no loader, no augmentation, no copies, no bookkeeping. Blocks of steps alternate; before each block of the loop some
steps are not timed, so that none of its batches was made while the ceiling ran. Medians of the blocks.

    python benchmarks/training_ceiling.py [--models resnet18 convnext_atto] [--steps 20] [--rounds 5]

Aim: at least 0.95 of the ceiling. Wants a quiet machine; about five minutes on two cores.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from docclf_cli.hardware import limit_thread_spinning

limit_thread_spinning()  # as `docclf` does

import numpy as np
import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import load_index
from docclf_cli.data.loading.prepared_pages import PreparedPages, prepare
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime.device import resolve_runtime
from docclf_cli.engine.runtime.numerics import resolve_numerics, scoring_runtime
from docclf_cli.engine.training.job import TrainingJob, build_trainer
from docclf_cli.engine.training.optimizers import build_optimizer
from docclf_cli.engine.training.trainer import Trainer
from docclf_cli.events import Event, StepDone
from docclf_cli.models.factory import create_model
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile

SIZE, BATCH = 224, 16
UNTIMED = 8  # batches that wait in the loader, and a few more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet18", "convnext_atto"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = render_samples(Path(folder) / "data", pages_per_class=32, test_pages_per_class=1)
        for model in options.models:
            show(model, *measure(model, root, Path(folder), options.steps, options.rounds))


def measure(model: str, root: Path, folder: Path, steps: int, rounds: int) -> tuple[Profile, list[float], list[float]]:
    profile = load_profile(
        "config",
        options={
            "data.root": str(root), "data.image_size": SIZE, "data.cache": str(folder / "cache"), "model": model,
            "model.pretrained": False, "train.batch_size": BATCH, "train.epochs": 10**4,
        },
    ).profile  # fmt: skip
    index = load_index(profile.data, "train")
    profile = resolve_numerics(profile, len(index.class_names), len(index))
    runtime = resolve_runtime(profile.runtime)
    material = prepare(index, Preprocess(SIZE), profile.data, runtime.workers)
    rows, run = np.arange(len(index)), RunFolder(folder / "run")
    job = TrainingJob(profile, material, rows, rows[:1], run, runtime, scoring_runtime(profile.runtime), model)
    loop = timed_loop(build_trainer(job, profile.train, lambda model: {"blend": 0.0}), steps)
    ceiling = timed_ceiling(profile, material, steps)
    times: tuple[list[float], list[float]] = [], []
    for _ in range(rounds + 1):
        times[0].append(next(loop))
        time.sleep(1.0)  # its loader fills up, and then rests
        times[1].append(next(ceiling))
    return profile, times[0][1:], times[1][1:]


def timed_loop(trainer: Trainer, steps: int) -> Iterator[float]:
    """Seconds of blocks of steps of the training loop as it is; the ends of epochs are not steps."""
    events: Iterator[Event] = (event for event in trainer.run() if isinstance(event, StepDone))
    while True:
        for _ in itertools.islice(events, UNTIMED):
            pass
        started = time.perf_counter()
        for _ in itertools.islice(events, steps):
            pass
        yield time.perf_counter() - started


def timed_ceiling(profile: Profile, material: PreparedPages, steps: int) -> Iterator[float]:
    """Seconds of the same number of steps on one batch."""
    runtime, classes = resolve_runtime(profile.runtime), len(material.index.class_names)
    network = runtime.place(create_model(profile.model, classes, weights=False, image_size=SIZE))
    optimizer = build_optimizer(profile.optimizer, network)
    forward = runtime.compiled(network.train())
    images = torch.randn(BATCH, 3, SIZE, SIZE, device=runtime.device).contiguous(memory_format=runtime.memory_format)
    targets = torch.arange(BATCH, device=runtime.device) % classes

    def step() -> None:
        with runtime.autocast():
            logits = forward(images)
        torch.nn.functional.cross_entropy(logits.float(), targets).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    while True:
        step()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        yield time.perf_counter() - started


def show(model: str, profile: Profile, loop: list[float], ceiling: list[float]) -> None:
    numerics = f"{profile.runtime.precision} {profile.runtime.memory_format}, compile {profile.runtime.compile}"
    ratios = [one / other for one, other in zip(ceiling, loop, strict=True)]
    print(
        f"{model:22s}{numerics:36s} ceiling {statistics.median(ceiling):7.2f} s   loop {statistics.median(loop):7.2f} s   "
        f"{statistics.median(ratios):.3f} of the ceiling ({min(ratios):.3f} to {max(ratios):.3f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
