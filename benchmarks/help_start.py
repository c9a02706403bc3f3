"""`docclf --help` and a mistyped option, against importing the libraries that any such command line needs.

Whole processes, alternating, medians of the repeats; the first round warms the disk and is left out.

    python benchmarks/help_start.py [--repeats 15]

Aim: at most twice the time of `python -c "import typer, rich, pydantic, yaml"`. Half a minute.
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import typer, rich, pydantic, yaml": ["-c", "import typer, rich, pydantic, yaml"],
    "docclf --help": ["-m", "docclf_cli", "--help"],
    "docclf train --help": ["-m", "docclf_cli", "train", "--help"],
    "docclf train --epoch 3 (wrong)": ["-m", "docclf_cli", "train", "--epoch", "3"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.repeats + 1):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    base = next(iter(medians.values()))
    for name, seconds in medians.items():
        print(f"{name:38s}{seconds:7.3f} s{seconds / base:7.2f} x")


if __name__ == "__main__":
    main()
