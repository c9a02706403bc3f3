"""Seconds that W&B adds to a run, for each way in which it can be broken.

    python benchmarks/wandb_faults.py          # a loop in the place of training: what the tracker alone costs
    python benchmarks/wandb_faults.py --train  # whole `docclf train` runs, each beside the same run without W&B

The loop logs an epoch and then waits. Beside it the same loop runs without a tracker; what is printed is the
difference, for a run that takes a few seconds and for one that ends at once (nothing can be done meanwhile).
"""

import contextlib
import logging
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from cli_process import CliProcess, Outcome
from wandb_stub import FAULTS, bad_server, history, read_records

from docclf_cli.data.samples.samples import render_samples
from docclf_cli.profile.schema import TrackingConfig
from docclf_cli.services.tracking.backends import create_tracker
from docclf_cli.services.tracking.tracker import RunInfo, Tracker

EPOCHS = 8
CASES = ("no key", "WANDB_MODE=offline", *FAULTS, "full disk", "folder not writable")


class Warnings(logging.Handler):
    """Counts what a person would be warned about."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


@contextlib.contextmanager
def environment(case: str, home: Path) -> Iterator[dict[str, str]]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")} | {"HOME": str(home)}
    if case in FAULTS:
        with bad_server(case) as server:
            yield environ | {"WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": server.url}
    else:
        yield environ if case == "no key" else environ | {"WANDB_MODE": "offline"}


def run(tracker: Tracker, folder: Path, case: str, epoch_seconds: float) -> tuple[float, float]:
    """Seconds in the loop, and in `finish`."""
    begun = time.perf_counter()
    tracker.start(RunInfo(folder, case))
    if case == "full disk":
        resource.prlimit(tracker._channel._process.pid, resource.RLIMIT_FSIZE, (4096, 4096))  # type: ignore[attr-defined]
    for epoch in range(EPOCHS):
        tracker.log({f"figure {number}": epoch + number / 7 for number in range(12)}, epoch)
        time.sleep(epoch_seconds)
    looped = time.perf_counter()
    tracker.finish({})
    return looped - begun, time.perf_counter() - looped


def measure(case: str, epoch_seconds: float) -> tuple[float, float, int, int]:
    warnings = Warnings()
    logging.getLogger("docclf").addHandler(warnings)
    with tempfile.TemporaryDirectory() as name, environment(case, Path(name)) as environ:
        folder = Path(name) / "run"
        folder.mkdir()
        if case == "folder not writable":
            (folder / "wandb").write_text("in the way")
        plain, _ = run(
            create_tracker(TrackingConfig(backend="none"), environ), folder, case="none", epoch_seconds=epoch_seconds
        )
        looped, finished = run(create_tracker(TrackingConfig(), environ), folder, case, epoch_seconds)
        kept = [len(history(read_whole(path))) for path in folder.glob("wandb/offline-run-*/*.wandb")]
    logging.getLogger("docclf").removeHandler(warnings)
    return looped - plain, finished, warnings.count, sum(kept)


def read_whole(path: Path) -> list[object]:
    try:
        return read_records(path)
    except Exception:
        return []


def train(case: str, pages: Path, folder: Path) -> tuple[float, Outcome]:
    """Seconds of a whole run, and what it printed."""
    options = f"--model test_resnet --no-pretrained --image-size 48 --batch-size 8 --epochs {EPOCHS} --overwrite"
    with environment(case, folder) as environ:
        given = {name: environ.get(name) for name in ("HOME", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE")}
        if case == "none":
            given["WANDB_MODE"] = "disabled"
        begun = time.perf_counter()
        args = ("train", "--data", str(pages), *options.split(), "--name", case.replace(" ", "-").replace("=", "-"))
        outcome = CliProcess(args, folder, {**given, "XDG_CACHE_HOME": str(folder / "cache")}).wait()
        return time.perf_counter() - begun, outcome


def whole_runs() -> None:
    print(
        f"{'case':22}{'without':>9}{'with':>9}{'added':>9}   {'exit':>4}  {'warnings':>8}   (runs of {EPOCHS} epochs)"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = render_samples(folder / "pages", pages_per_class=6, test_pages_per_class=2)
        train("none", pages, folder)  # imports, cache
        for case in CASES[: 2 + len(FAULTS)]:
            plain, _ = train("none", pages, folder)
            seconds, outcome = train(case, pages, folder)
            warnings = outcome.stderr.count("warning: ")
            print(
                f"{case:22}{plain:8.1f}s{seconds:8.1f}s{seconds - plain:8.1f}s   {outcome.code:4}  {warnings:8}",
                flush=True,
            )


def main() -> None:
    whole_runs() if "--train" in sys.argv[1:] else loops()


def loops() -> None:
    logging.getLogger("docclf").setLevel(logging.WARNING)
    logging.getLogger("docclf").propagate = False
    print(f"{'case':22}{'during':>9}{'at the end':>12}   {'warnings':>8}  {'epochs kept':>11}   (a run of {EPOCHS} s)")
    for seconds in (1.0, 0.0):
        if not seconds:
            print("the same, for a run that ends at once")
        for case in CASES:
            during, end, count, kept = measure(case, seconds)
            print(f"{case:22}{during:8.2f}s{end:11.2f}s   {count:8}  {kept:8}/{EPOCHS}", flush=True)


if __name__ == "__main__":
    main()
