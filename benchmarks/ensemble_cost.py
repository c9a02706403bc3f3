"""What an ensemble costs: a first call beside a second with another method, and members in views beside single predictions.

Models that were never trained, on the built-in sample documents: 3 members in 6 views and 5 members in 4 views, on one
decode against one prediction after the other; then an ensemble of the 5 in 4 views, and a second one of the same. Medians
of alternating repeats in one run; wall time, and processor time (of loader processes as well), which other programs
disturb less.

    python benchmarks/ensemble_cost.py [--model resnet10t] [--size 128] [--repeats 3] [--cache auto|off]
"""

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from docclf_cli.hardware import limit_thread_spinning

limit_thread_spinning()  # as `docclf` does

import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import load_index
from docclf_cli.data.index.splits import Split, hold_out
from docclf_cli.data.samples.samples import samples_root
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.run_folder import FINISHED, RunFolder
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.members import Indices, requests_of
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.inference.views import PageView
from docclf_cli.ensembling.tta import expand
from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import (
    AugmentationConfig,
    DataConfig,
    EnsembleConfig,
    MemberConfig,
    ModelConfig,
    Profile,
    TTAConfig,
    ViewConfig,
)
from docclf_cli.tasks.ensemble.ensemble import ensemble

SIX = [ViewConfig(type="rotation", degrees=[90, 180, 270]), ViewConfig(type="scale", factors=[0.9, 1.1])]
FOUR = [ViewConfig(type="rotation", degrees=[90, 180, 270])]
Times = list[tuple[float, float]]  # wall and processor seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet10t")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", default="auto", help="page cache: auto or off")
    args = parser.parse_args()
    root = samples_root()
    with tempfile.TemporaryDirectory() as folder:
        runs = [make_run(Path(folder) / f"m{seed}", root, args.model, args.size, args.cache, seed) for seed in range(5)]
        for members, views in ((3, SIX), (5, FOUR)):
            compare_views(runs[:members], root, views, args.cache, args.repeats)
        compare_calls(runs, Path(folder), args.repeats)


def make_run(folder: Path, root: Path, model_name: str, size: int, cache: str, seed: int) -> Path:
    """A finished run with random weights that held out a fifth of the pages."""
    run, data = RunFolder(folder), DataConfig(root=str(root), image_size=size, cache=cache)
    index = load_index(data, "train")
    config = ModelConfig(name=model_name, model_name=model_name, pretrained=False)
    torch.manual_seed(seed)
    model = create_model(config, len(index.class_names), image_size=size)
    Checkpoint(
        model.state_dict(), config, index.class_names, Preprocess(size), AugmentationConfig(),
        Profile(data=data).model_dump(mode="json"), epoch=1, metrics={"f1_macro": 0.1},
    ).save(run.best)  # fmt: skip
    train, val = hold_out(index, 0.2, 0)
    Split.of_rows(index, {"train": train, "val": val}).save(run.split)
    run.write_state(FINISHED)
    return folder


def compare_views(runs: Sequence[Path], root: Path, listed: Sequence[ViewConfig], cache: str, repeats: int) -> None:
    """Members in views, together and one by one."""
    views = [PageView(view) for view in expand(listed)]
    indices = Indices(DataConfig(root=str(root), cache=cache))
    wanted = [
        one for run in runs for view in views for one in requests_of(TrainedModel.load(run), "test", indices, view)
    ]
    get_predictions(wanted)  # fills the page cache and warms the kernels

    def together() -> None:
        get_predictions(wanted)

    def one_by_one() -> None:
        for one in wanted:
            get_predictions([one])

    def fresh() -> None:
        forget(runs)

    kinds = {"together": together, f"{len(wanted)} single predictions": one_by_one}
    times = alternate(kinds, fresh, repeats)
    show(f"{len(runs)} members x {len(views)} views, {len(wanted[0].rows)} pages", times)


def compare_calls(runs: Sequence[Path], folder: Path, repeats: int) -> None:
    """The first ensemble, and a second with another method."""
    models = tuple(MemberConfig(run=str(run)) for run in runs)

    def call(method: str) -> None:
        config = EnsembleConfig(method=method, models=models, tta=TTAConfig(enabled=True, augmentations=tuple(FOUR)))
        ensemble(Profile(output=str(folder / "out"), name="e", ensemble=config), overwrite=True)

    def command(method: str) -> None:
        members = [part for run in runs for part in ("--members", str(run))]
        views = json.dumps([view.model_dump(exclude_unset=True) for view in FOUR])
        members += ["--set", "ensemble.tta.enabled=true", "--set", f"ensemble.tta.augmentations={views}"]
        args = ["ensemble", *members, "--method", method, "--output", str(folder / "out"), "--name", "e", "--overwrite"]
        subprocess.run([sys.executable, "-m", "docclf_cli", *args], check=True, capture_output=True)

    for where, act in (("in one process", call), ("as a command", command)):
        times: dict[str, Times] = {"first": [], "second, other method": []}
        for _ in range(repeats):
            forget(runs)
            for name, method in zip(times, ("averaging", "greedy"), strict=True):
                times[name].append(timed(functools.partial(act, method)))
        show(f"ensemble of {len(runs)} members x {1 + len(FOUR[0].degrees)} views, {where}", times)


def forget(runs: Sequence[Path]) -> None:
    """Delete stored predictions, not the page cache."""
    for run in runs:
        shutil.rmtree(run / "predictions", ignore_errors=True)


def alternate(kinds: dict[str, Callable[[], None]], prepare: Callable[[], None], repeats: int) -> dict[str, Times]:
    times: dict[str, Times] = {name: [] for name in kinds}
    for _ in range(repeats):
        for name, act in kinds.items():
            prepare()
            times[name].append(timed(act))
    return times


def timed(act: Callable[[], None]) -> tuple[float, float]:
    wall, before = time.perf_counter(), os.times()
    act()
    after = os.times()
    return time.perf_counter() - wall, sum(after[:4]) - sum(before[:4])


def show(title: str, times: dict[str, Times]) -> None:
    print(title)
    base: tuple[float, ...] | None = None
    for name, measured in times.items():
        medians = tuple(statistics.median(column) for column in zip(*measured, strict=True))
        base = base or medians
        ratios = " / ".join(f"{one / first:.2f}" for one, first in zip(medians, base, strict=True))
        print(f"  {name:28} wall {medians[0]:7.2f} s  processor {medians[1]:7.2f} s  ratio to the first row {ratios}")


if __name__ == "__main__":
    main()
