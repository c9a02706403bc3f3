"""What a given time buys: docclf as it comes against the same recipe in fp32 with everything off.

    python benchmarks/equal_time.py --data ROOT [--groups FILE] [--degraded CSV] [--minutes 3] [--profile laptop]

Both sides are whole `docclf train` commands with the same profile, seed, split and validation, an empty cache and no
measured numerics, one after the other on the same machine. "Everything off" is fp32, contiguous, uncompiled, no page
cache, torch's own gradients of depthwise convolutions, and freed memory given back. A short run of each side says what
a step, a validation and all else cost there; then each gets as many steps as fit into the time, with the schedule
ending at the last of them. The table gives how long the commands really took, images per second of training, and the
metrics on the labelled test pages, which choose nothing; below it the paired difference on the same pages with its 95 %
interval. The interval is about pages: another seed would move both sides as well.

Runs are kept in --output and not repeated, so that 10 minutes can be measured after 3. Wants a quiet machine; takes a
minute or two more than twice the time.
"""

import argparse
import csv
import json
import math
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from docclf_cli.engine.runtime.numerics_benchmark import SHARE
from docclf_cli.results.evaluation import EvaluateResult
from docclf_cli.tasks.evaluate.evaluate import EvaluateOptions, evaluate

BATCH = 16
PILOT_STEPS = 12
SIDES = ("docclf", "everything off")
OFF = "runtime.precision=fp32 runtime.memory_format=contiguous runtime.compile=off data.cache=off"


@dataclass(frozen=True)
class Cost:
    """Seconds of a step, of a validation, and of all else in a command; steps of an epoch."""

    step: float
    validation: float
    fixed: float
    steps_per_epoch: int

    def steps_within(self, seconds: float) -> int:
        """As many steps as fit, with a validation after each epoch and after the last step."""
        steps = int((seconds - self.fixed) / self.step)
        while steps > 0 and self.total(steps) > seconds:
            steps -= 1
        return steps

    def total(self, steps: int) -> float:
        return self.fixed + steps * self.step + math.ceil(steps / self.steps_per_epoch) * self.validation


def main() -> None:
    if sys.argv[1:2] == ["--everything-off"]:
        everything_off(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--groups")
    parser.add_argument(
        "--degraded", help="CSV of more labelled pages to score, such as damaged copies of the test pages"
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[3.0])
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/equal_time"))
    options = parser.parse_args()
    costs = {side: pilot(side, options) for side in SIDES}
    for minutes in options.minutes:
        runs = [timed_run(side, costs[side], minutes, options) for side in SIDES]
        show(minutes, runs, options)


def everything_off(arguments: list[str]) -> None:
    """`docclf` without the gradients of depthwise convolutions that it computes its own way, and without kept memory."""
    from docclf_cli import app
    from docclf_cli.models import depthwise

    depthwise.QUICK.clear()
    os.environ["GLIBC_TUNABLES"] = ""  # somebody has tuned it, docclf understands
    sys.argv = ["docclf", *arguments]
    app.main()


def pilot(side: str, options: argparse.Namespace) -> Cost:
    run, total = train(side, "pilot", PILOT_STEPS, 1, options)
    (epoch,) = rows_of(run / "timings.csv")
    training, validation = float(epoch["train_seconds"]), float(epoch["validation_seconds"])
    pages = sum(row["split"] == "train" for row in rows_of(run / "split.csv"))
    return Cost(training / PILOT_STEPS, validation, total - training - validation, pages // BATCH)


def timed_run(side: str, cost: Cost, minutes: float, options: argparse.Namespace) -> Path:
    # Long runs of docclf also measure numerics, which takes at most this share of them.
    probing = SHARE * 60 * minutes if side == "docclf" else 0.0
    steps = cost.steps_within(60 * minutes - probing)
    if steps < cost.steps_per_epoch:
        sys.exit(f"{minutes:g} minutes are less than an epoch with {side}")
    return train(side, f"{minutes:g}", steps, math.ceil(steps / cost.steps_per_epoch), options)[0]


def train(side: str, name: str, steps: int, epochs: int, options: argparse.Namespace) -> tuple[Path, float]:
    """A finished run of so many steps, and the seconds of its command."""
    run = options.output.resolve() / f"{side.replace(' ', '-')}-{name}-{options.seed}"
    seconds = run / "command_seconds.json"
    if not seconds.is_file():
        own = {"XDG_CACHE_HOME": str(run.parent / "caches" / run.name)}  # never used before
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, *command(side, run, steps, epochs, options)],
            check=True, stdout=subprocess.DEVNULL, env={**os.environ, **own},
        )  # fmt: skip
        seconds.write_text(json.dumps(time.perf_counter() - started))
    return run, float(json.loads(seconds.read_text()))


def command(side: str, run: Path, steps: int, epochs: int, options: argparse.Namespace) -> list[str]:
    settings = {
        "train.max_steps": steps, "scheduler.params.max_steps": steps, "data.split_seed": options.seed,
        "tracking.backend": "none", "s3.auto_push": "false",
    }  # fmt: skip
    given = ["train", "--data", options.data, "--profile", options.profile, "--batch-size", str(BATCH), "--quiet"]
    given += ["--epochs", str(epochs), "--seed", str(options.seed), "--output", str(run.parent), "--name", run.name]
    texts = [f"{key}={value}" for key, value in settings.items()]
    texts += [f"data.groups={options.groups}"] if options.groups else []
    texts += OFF.split() if side != "docclf" else []
    given += [part for text in texts for part in ("--set", text)]
    return ["-m", "docclf_cli", *given] if side == "docclf" else [__file__, "--everything-off", *given]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def show(minutes: float, runs: list[Path], options: argparse.Namespace) -> None:
    print(f"\n{minutes:g} minutes{'':11}{'seconds':>9}{'epochs':>8}{'img/s':>8}  accuracy and macro-F1, with intervals")
    sets = {"test": None} | ({"degraded": options.degraded} if options.degraded else {})
    found = {name: [predict_members(run, data, runs[1]) for run in runs] for name, data in sets.items()}
    speeds = []
    for number, (side, run) in enumerate(zip(SIDES, runs, strict=True)):
        epochs = rows_of(run / "timings.csv")
        speeds.append(statistics.median(float(epoch["images_per_second"]) for epoch in epochs))
        seconds = json.loads((run / "command_seconds.json").read_text())
        metrics = "; ".join(f"{name} {in_words(results[number])}" for name, results in found.items())
        print(f"{side:22}{seconds:9.1f}{len(epochs):8}{speeds[-1]:8.1f}  {metrics}")
    print(f"{speeds[0] / speeds[1]:.2f} times the images per second")
    for name, (first, _) in found.items():
        assert first.comparison is not None
        for one in first.comparison.differences:
            print(f"{name}: {one.metric} {one.value:+.4f} ({one.low:+.4f} to {one.high:+.4f}), {one.pages} pages")
    sys.stdout.flush()


def predict_members(run: Path, data: str | None, other: Path) -> EvaluateResult:
    return evaluate(run, "test", data=data, options=EvaluateOptions(compare=None if run == other else other))


def in_words(result: EvaluateResult) -> str:
    accuracy, f1 = (result.scores.metrics[name] for name in ("accuracy", "f1_macro"))
    return " ".join(f"{one.value:.3f} ({one.low:.3f}-{one.high:.3f})" for one in (accuracy, f1))


if __name__ == "__main__":
    main()
