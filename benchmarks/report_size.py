"""What the whole class report costs for many predictions: seconds of each part, peak memory, size of the page.

Makes predictions at random, saves them as `evaluate` does, and does what `class-report --html --no-thumbnails` does,
in this process: reading, metrics with intervals, CSVs and plots (2,000 pages stand for those of training), the page.

    python benchmarks/report_size.py [--pages 50000] [--classes 50] [--folder DIR]
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from docclf_cli.display.html import Page, write_page
from docclf_cli.metrics.mistakes import pages_to_show
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.class_report.class_report import class_report, inputs_of_file

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        stored = folder / "val.npz"
        make(stored, options.pages, options.classes)
        print(f"before: {peak()} MiB")
        start = time.perf_counter()
        page = report(stored)
        print(f"{'together':<28}{time.perf_counter() - start:7.2f} s, peak {peak()} MiB")
        print(f"page: {page.stat().st_size / 2**20:.1f} MiB")


def make(path: Path, pages: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, classes, pages)
    logits = rng.normal(size=(pages, classes)).astype(np.float32)
    logits[np.arange(pages), targets] += 4
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    ids = np.array([f"{number:016x}.jpg" for number in rng.integers(0, 2**62, pages)])
    Predictions(ids, log_probs, tuple(f"class {number}" for number in range(classes)), targets).save(path)


def report(stored: Path) -> Path:
    alone = timed("reading", lambda: inputs_of_file(stored))
    inputs = replace(alone, train=alone.predictions.take(range(2000)), val=alone.predictions)
    found = timed("metrics, CSVs, plots", lambda: class_report(inputs))
    shown = timed("choosing pages", lambda: pages_to_show(inputs.predictions))
    page = Page(found, inputs.predictions, shown, None)
    return timed("page", lambda: write_page(inputs.folder / "report.html", page))


def timed(name: str, work: Callable[[], T]) -> T:
    start = time.perf_counter()
    done = work()
    print(f"{name:<28}{time.perf_counter() - start:7.2f} s")
    return done


def peak() -> int:
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main()
