"""Recipes side by side on held-out pages: which policy, size, rate and length to give people by default.

Each recipe is a `docclf train` command, run once for each seed with a hold-out split of its own (`data.split_seed`; pages of
a group stay together), so that choosing never touches test pages. Runs that are finished already are not repeated. The
table gives macro-F1 of the best epochs' held-out pages, clean (pooled over the seeds, with its 95 % interval) and degraded
(mean of the seeds), their mean, and minutes of training and validation. RECIPES.md keeps what came of it.

    python benchmarks/recipes.py --data ROOT [--groups FILE] [--seeds 2] [--output runs/recipes] [RECIPE ...]
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from docclf_cli.metrics.class_metrics import score
from docclf_cli.results.metrics import Estimate
from docclf_cli.results.predictions import Predictions

LITE0 = "--model efficientnet_lite0 --image-size 224 --batch-size 16 --epochs 24 --augmentation rough --lr 0.001"
EMA = f"{LITE0} --set train.ema=0.98"
OFFLINE = f"{EMA} --set optimizer.layer_decay=0.9"  # what configs/laptop.yaml says
SCRATCH = "--no-pretrained --batch-size 16 --epochs 12 --lr 0.001 --set model.dropout_rate=0.0 --image-size 160"
# Later options win, so a recipe says how it differs from its base.
RECIPES = {
    "lite0": LITE0,
    "lite0-lr5e-4": f"{LITE0} --lr 0.0005",
    "lite0-lr2e-3": f"{LITE0} --lr 0.002",
    "lite0-document": f"{LITE0} --augmentation document",
    "lite0-12-epochs": f"{LITE0} --epochs 12",
    "lite0-36-epochs": f"{LITE0} --epochs 36",
    "lite0-batch-8": f"{LITE0} --batch-size 8",
    "lite0-192px-48-epochs": f"{LITE0} --image-size 192 --epochs 48",
    "lite0-ema": EMA,
    "lite0-ema-256px": f"{EMA} --image-size 256",
    "lite0-ema-cutmix": f"{EMA} --set augmentation.cutmix=1.0 --set augmentation.mix_probability=0.5",
    "offline": OFFLINE,
    "offline-32-epochs": f"{OFFLINE} --epochs 32",
    "offline-lr2e-3": f"{OFFLINE} --lr 0.002",
    "lite0-smoothing": f"{LITE0} --set loss.params.label_smoothing=0.1",
    "lite0-layer-decay": f"{LITE0} --set optimizer.layer_decay=0.8",
    "lite0-frozen-first": f"{LITE0} --set train.freeze_epochs=1",
    "lite0-288px": f"{LITE0} --image-size 288",
    "lite0-squash": f"{LITE0} --set data.resize_mode=squash",
    "lite0-cutmix": f"{LITE0} --set augmentation.cutmix=1.0 --set augmentation.mix_probability=0.5",
    "scratch": f"{SCRATCH} --model resnet18 --augmentation none",
    "scratch-light": f"{SCRATCH} --model resnet18 --augmentation light",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--data", required=True)
    parser.add_argument("--groups")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/recipes"))
    options = parser.parse_args()
    names = options.recipes or list(RECIPES)
    if unknown := sorted(set(names) - set(RECIPES)):
        parser.error(f"unknown: {', '.join(unknown)}")
    print(f"{'recipe':20} {'clean':>22} {'degraded':>9} {'mean':>6} {'minutes':>8}  best epochs", flush=True)
    for name in names:
        runs = [train(name, seed, options) for seed in range(options.seeds)]
        print(row(name, runs), flush=True)


def train(name: str, seed: int, options: argparse.Namespace) -> Path:
    run: Path = options.output / f"{name}-{seed}"
    state = run / "run.json"
    if state.is_file() and json.loads(state.read_text())["status"] == "finished":
        return run
    command = [sys.executable, "-m", "docclf_cli", "train", "--data", options.data, *RECIPES[name].split()]
    command += ["--seed", str(seed), "--set", f"data.split_seed={seed}", "--set", "tracking.backend=none"]
    command += ["--set", "s3.auto_push=false", "--output", str(options.output), "--name", run.name, "--overwrite"]
    if options.groups:
        command += ["--set", f"data.groups={options.groups}"]
    subprocess.run([*command, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return run


def row(name: str, runs: list[Path]) -> str:
    clean = pooled([next((run / "predictions").glob("val-*.npz")) for run in runs])
    kept = [kept_epoch(run) for run in runs]
    degraded = statistics.mean(float(epoch["f1_macro_degraded"]) for epoch in kept)
    times = [pd.read_csv(run / "timings.csv") for run in runs]
    minutes = statistics.mean(float((one["train_seconds"] + one["validation_seconds"]).sum()) / 60 for one in times)
    shown = f"{clean.value:.3f} ({clean.low:.3f} … {clean.high:.3f})"
    epochs = ", ".join(str(int(epoch["epoch"])) for epoch in kept)
    mean = (clean.value + degraded) / 2
    return f"{name:20} {shown:>22} {degraded:9.3f} {mean:6.3f} {minutes:8.1f}  {epochs}"


def kept_epoch(run: Path) -> pd.Series:
    best = json.loads((run / "run.json").read_text())["best_epoch"]
    metrics = pd.read_csv(run / "metrics.csv")
    return metrics[metrics["epoch"] == best].iloc[0]


def pooled(paths: list[Path]) -> Estimate:
    """Macro-F1 over the held-out pages of all seeds; a page held out twice counts twice."""
    parts = [Predictions.load(path) for path in paths]
    ids = np.concatenate([np.char.add(f"{number}/", part.ids) for number, part in enumerate(parts)])
    log_probs = np.concatenate([part.log_probs for part in parts])
    targets = np.concatenate([part.labels for part in parts])
    together = replace(parts[0], ids=ids, log_probs=log_probs, targets=targets, groups=None, status=None)
    return score(together).metrics["f1_macro"]


if __name__ == "__main__":
    main()
