"""What a rule for the best epoch is worth: each rule chooses on some held-out pages, and is scored on others.

Each run trains the laptop recipe at a low resolution on three of five folds (pages of a group stay together) and stores what every
epoch says about the two other folds, clean and degraded. One of them chooses and the other one scores, both ways round. No test
page is looked at. RECIPES.md keeps what came of it.

    python benchmarks/best_epoch_rules.py train --data ROOT [--groups FILE] --seeds 4 --output FOLDER
    python benchmarks/best_epoch_rules.py report --output FOLDER
"""

import argparse
import copy
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score

from docclf_cli.data.index.index import load_training_index
from docclf_cli.data.index.splits import folds
from docclf_cli.data.loading.prepared_pages import prepare
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime.device import resolve_runtime
from docclf_cli.engine.training.job import TrainingJob, build_trainer, preprocess_of
from docclf_cli.engine.training.validator import CLEAN, DEGRADED
from docclf_cli.events import EpochDone, silent
from docclf_cli.profile.load import load_profile
from docclf_cli.stop import NEVER

STARTED = time.perf_counter()
AVERAGED = (2, 3, 5)  # how many of the last epochs' weights are averaged
TEMPERATURES = np.geomspace(0.3, 4, 40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("train", "report"))
    parser.add_argument("--data")
    parser.add_argument("--groups")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="pause after the epoch that passes this time"
    )
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.work == "report":
        report(options.output)
        return
    for seed in range(options.first, options.first + options.seeds):
        if not (options.output / f"seed-{seed}.npz").is_file():
            train(seed, options)


def train(seed: int, options: argparse.Namespace) -> None:
    began = time.perf_counter()
    given = {
        "data.root": options.data, "data.groups": options.groups, "data.image_size": options.image_size, "seed": seed,
        "train.epochs": options.epochs, "runtime.precision": "fp32", "runtime.memory_format": "channels_last", "runtime.compile": "off", "runtime.workers": 0,
    }  # fmt: skip
    profile = load_profile("laptop", options={key: value for key, value in given.items() if value is not None}).profile
    index, _ = load_training_index(profile.data)
    runtime = resolve_runtime(profile.runtime)
    prepared = prepare(index, preprocess_of(profile), profile.data, runtime.workers)
    first, second, *others = folds(index, 5, seed)
    rows = np.sort(np.concatenate(others))
    job = TrainingJob(profile, prepared, rows, first, RunFolder(options.output), runtime, runtime, f"seed {seed}")
    validators = [job.validator(silent, NEVER), replace(job, val_rows=second).validator(silent, NEVER)]

    def look(model: torch.nn.Module) -> list[list[np.ndarray]]:
        found = []
        for validator in validators:
            validator(model)
            found.append([validator.last_predictions[name].log_probs for name in (CLEAN, DEGRADED)])
        return found

    seen: list[list[list[np.ndarray]]] = []
    last: list[dict[str, torch.Tensor]] = []

    def validate(model: torch.nn.Module) -> dict[str, float]:
        seen.append(look(model))
        print(f"seed {seed}: {len(seen)} epochs, {time.process_time():.0f} s of processor time", flush=True)
        return {"blend": 0.0}

    trainer = build_trainer(job, profile.train, validate)
    paused = options.output / f"seed-{seed}.paused"
    if paused.is_file():
        stored = torch.load(paused, weights_only=False)
        trainer.restore(stored["trainer"])
        seen += stored["seen"]
        last += stored["last"]
    for event in trainer.run():
        if isinstance(event, EpochDone):
            last.append(copy.deepcopy(trainer.weights_model.state_dict()))
            del last[: -max(AVERAGED)]
            torch.save({"trainer": trainer.snapshot(), "seen": seen, "last": last}, paused)
            if time.perf_counter() - STARTED > options.seconds:
                print(f"seed {seed} is paused: the same command goes on", flush=True)
                sys.exit(3)
    for count in AVERAGED:
        mean = {
            name: torch.stack([state[name].float() for state in last[-count:]]).mean(0).to(last[-1][name].dtype)
            for name in last[-1]
        }
        trainer.weights_model.load_state_dict(mean)
        seen.append(look(trainer.weights_model))
    arrays = {
        f"fold{number}_{name}": np.stack([epoch[number][view] for epoch in seen])
        for number in range(2)
        for view, name in enumerate(("clean", "degraded"))
    }
    labels = {f"labels{number}": index.labels[held] for number, held in enumerate((first, second))}
    np.savez(options.output / f"seed-{seed}.npz", epochs=options.epochs, **arrays, **labels)
    paused.unlink()
    print(f"seed {seed}: {time.perf_counter() - began:.0f} s", flush=True)


def macro_f1(log_probs: np.ndarray, labels: np.ndarray) -> float:
    return float(f1_score(labels, log_probs.argmax(1), average="macro", zero_division=0))


def log_loss(log_probs: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_probs[np.arange(len(labels)), labels].mean())


def tempered(log_probs: np.ndarray, temperature: float) -> np.ndarray:
    scaled = log_probs / temperature
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


def calibrated_loss(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """Log loss at the temperature that is best for these pages, which is what a checkpoint is stored with."""
    return min(log_loss(tempered(log_probs, temperature), labels) for temperature in TEMPERATURES)


def smoothed(values: np.ndarray) -> np.ndarray:
    """The mean of each value and its neighbours in time."""
    padded = np.pad(values, 1, mode="edge")
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def rules(clean: np.ndarray, degraded: np.ndarray, labels: np.ndarray, epochs: int) -> dict[str, int]:
    """Which entry each rule takes: an epoch, or an average of the last ones, which follow the epochs."""
    f1 = np.array([(macro_f1(clean[n], labels) + macro_f1(degraded[n], labels)) / 2 for n in range(epochs)])
    loss = np.array([(log_loss(clean[n], labels) + log_loss(degraded[n], labels)) / 2 for n in range(epochs)])
    fitted = np.array(
        [(calibrated_loss(clean[n], labels) + calibrated_loss(degraded[n], labels)) / 2 for n in range(epochs)]
    )
    clean_f1 = np.array([macro_f1(clean[n], labels) for n in range(epochs)])
    error = np.sqrt(f1.max() * (1 - f1.max()) / len(labels))
    return {
        "blend": int(f1.argmax()),
        "f1_macro": int(clean_f1.argmax()),
        "blend, smoothed over three epochs": int(smoothed(f1).argmax()),
        "last within one standard error of the best blend": int(np.flatnonzero(f1 >= f1.max() - error)[-1]),
        "val_loss, mean of clean and degraded": int(loss.argmin()),
        "the same, calibrated": int(fitted.argmin()),
        "last epoch": epochs - 1,
        **{f"weights averaged over the last {count}": epochs + place for place, count in enumerate(AVERAGED)},
    }


def report(folder: Path) -> None:
    rows: dict[str, list[tuple[float, ...]]] = {}
    for path in sorted(folder.glob("seed-*.npz")):
        stored = np.load(path)
        epochs = int(stored["epochs"])
        for chooses, scores in ((0, 1), (1, 0)):
            labels, wanted = stored[f"labels{chooses}"], stored[f"labels{scores}"]
            picked = rules(stored[f"fold{chooses}_clean"], stored[f"fold{chooses}_degraded"], labels, epochs)
            for rule, entry in picked.items():
                clean, degraded = stored[f"fold{scores}_clean"][entry], stored[f"fold{scores}_degraded"][entry]
                own = stored[f"fold{chooses}_clean"][entry]
                said = macro_f1(own, labels) - macro_f1(clean, wanted)
                row = (
                    macro_f1(clean, wanted),
                    macro_f1(degraded, wanted),
                    log_loss(clean, wanted),
                    log_loss(degraded, wanted),
                )
                rows.setdefault(rule, []).append((*row, said, entry + 1))
    base = np.array(rows["blend"])
    print(
        "| rule | clean | degraded | log loss clean | degraded | mean F1 against `blend` (± standard error) | said too high | epochs |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for rule, found in rows.items():
        table = np.array(found)
        gain = (table[:, :2] - base[:, :2]).mean(axis=1)
        # both directions of a seed share a training: they count once
        by_seed = gain.reshape(-1, 2).mean(axis=1)
        error = by_seed.std(ddof=1) / np.sqrt(len(by_seed)) if len(by_seed) > 1 else float("nan")
        clean, degraded, loss, loss_degraded, said = table[:, :5].mean(axis=0)
        entries = " ".join(str(int(entry)) for entry in table[:, 5])
        print(
            f"| {rule} | {clean:.3f} | {degraded:.3f} | {loss:.3f} | {loss_degraded:.3f} | {100 * gain.mean():+.1f} ± {100 * error:.1f} | {100 * said:+.1f} | {entries} |"
        )


if __name__ == "__main__":
    main()
