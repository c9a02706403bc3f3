"""A data root of a million pages: index, hold-out and folds against pandas reading the same CSV.

Makes a CSV and as many empty files in a temporary folder (half a minute), then times in turn, medians of the repeats:

- pandas.read_csv of train.csv, as people write it
- load_index: reading, every check, class names, existence of each file
- hold_out and folds over the index

    python benchmarks/index_million_rows.py [--rows 1000000] [--repeats 5] [--folder DIR]
"""

import argparse
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from docclf_cli.data.index.index import load_index
from docclf_cli.data.index.splits import folds, hold_out
from docclf_cli.profile.schema import DataConfig

CLASSES = 17


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the files here, and use them again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "train.csv").exists():
            make(folder, options.rows)
        show(measure(folder, options.repeats))


def make(folder: Path, rows: int) -> None:
    rng = random.Random(0)
    (folder / "train").mkdir(parents=True)
    names = [f"{rng.getrandbits(64):016x}.jpg" for _ in range(rows)]
    for name in names:
        (folder / "train" / name).touch()
    lines = (f"{name},{rng.randrange(CLASSES)}\n" for name in names)
    (folder / "train.csv").write_text("ID,target\n" + "".join(lines))


def measure(folder: Path, repeats: int) -> dict[str, list[float]]:
    config = DataConfig(root=str(folder))
    index = load_index(config, "train")
    steps: dict[str, Callable[[], object]] = {
        "pandas.read_csv": lambda: pd.read_csv(folder / "train.csv"),
        "load_index": lambda: load_index(config, "train"),
        "hold_out": lambda: hold_out(index, 0.2, 0),
        "folds": lambda: folds(index, 5, 0),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return times


def show(times: dict[str, list[float]]) -> None:
    base = statistics.median(times["pandas.read_csv"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:18s}{median:8.3f} s{median / base:8.2f} x pandas")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process {peak:.2f} GiB")


if __name__ == "__main__":
    main()
