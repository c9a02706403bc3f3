"""Kills `docclf watch` and the workers of `docclf predict --part` with SIGKILL, again and again, and counts what is lost or doubled.

    python benchmarks/kill_series.py watch [--files 500] [--kills 25] [--run RUN]
    python benchmarks/kill_series.py parts [--workers 20] [--parts 150] [--run RUN]

Pages are drawn, each with other content; without RUN a tiny network with random weights sorts them. Every kill takes the
whole process group, at a random moment. The same series for `review`, `train`, `predict` and `tune` are slow tests:
`make test-slow KILLS=10` kills a review 50 times, and a search 10 times. Exits with 1 where something is lost or doubled.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cli_process import CliProcess
from page_cases import write_checkpoint, write_images, write_tiff

from docclf_cli.files import sha256_of
from docclf_cli.tasks.watch.watch import STATE

ALIVE = 4  # processes at once


def kill_watch(folder: Path, run: Path, files: int, kills: int, rng: random.Random) -> bool:
    """Let files arrive while a watcher that moves them is killed; each must be sorted once and told at least once."""
    arriving = write_images(folder / "arriving", files)
    rng.shuffle(arriving)
    contents = {sha256_of(path) for path in arriving}
    (folder / "in").mkdir()
    command = (
        "watch", "in", "--out", "out", "--checkpoint", str(run), "--move", "--every", "0.05", "--settle", "0.05",
        "--exec", "tee -a told.json",
    )  # fmt: skip
    killed = 0
    while killed < kills:
        process = CliProcess(command, folder)
        count = files // kills + (files % kills > killed)
        wanted, end = sum(1 for _ in placed(folder)) + rng.randint(0, count // 2), time.monotonic() + 60
        for _ in range(count):
            path = arriving.pop()
            path.rename(folder / "in" / path.name)
        while sum(1 for _ in placed(folder)) < wanted and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        killed += kill(process) == -signal.SIGKILL
    outcome = CliProcess((*command, "--once"), folder).wait(1200)
    found = Counter(sha256_of(path) for path in placed(folder))
    told = Counter(re.findall(r'"id": "(\w+)"', (folder / "told.json").read_text()))
    left = list((folder / "in").iterdir())
    lost, doubled = contents - set(found), [one for one, number in found.items() if number > 1]
    untold = contents - set(told)
    print(
        f"watch: {files} files, {killed} kills: {len(lost)} lost, {len(doubled)} sorted twice, {len(left)} left in the inbox, "
        f"{len(untold)} never told, {sum(told.values()) - len(told)} told again, exit code {outcome.code}"
    )
    return not (lost or doubled or left or untold or outcome.code)


def kill(process: CliProcess) -> int:
    """Kill a process group, also one that is only about to be made, and return the exit code of its process."""
    while process.process.exitcode is None:
        process.kill_group()
        time.sleep(0.01)
    return process.wait().code


def placed(folder: Path) -> list[Path]:
    """Files that a watcher has sorted."""
    return [path for path in (folder / "out").rglob("*") if path.is_file() and STATE not in path.parts]


def kill_parts(folder: Path, run: Path, workers: int, parts: int, rng: random.Random) -> bool:
    """Start workers that take any part until so many were killed, then let some finish; compare with one call."""
    write_images(folder / "in", 1280)
    for number in range(40):
        write_tiff(folder / "in" / f"t{number}.tif", range(number, number + 30))
    asked = ("predict", str(run), "in", "--set", "runtime.workers=0", "--set", "runtime.threads=1")
    whole = CliProcess((*asked, "-o", "whole"), folder).wait(1200)
    command = (*asked, "-o", "out", "--part", f"any/{parts}")
    killed, started, finished = 0, 0, 0
    alive: dict[CliProcess, float] = {}
    while killed < workers and not finished:
        while len(alive) < ALIVE:
            alive[CliProcess(command, folder)] = time.monotonic() + rng.uniform(1.5, 7.0)
            started += 1
        for process, end in list(alive.items()):
            if process.process.exitcode is not None or time.monotonic() > end:
                code = kill(process)
                killed += code == -signal.SIGKILL
                finished += code == 0
                del alive[process]
        time.sleep(0.01)
    complete = len(list((folder / "out").glob("part-*-of-*/done.json")))
    codes = [process.wait(1200).code for process in [*alive, CliProcess(command, folder)]]
    joined = CliProcess(("predict", "--join", "out"), folder).wait()
    names = [path.name for path in (folder / "whole").iterdir() if path.is_file()]
    same = [(folder / "whole" / name).read_bytes() == (folder / "out" / name).read_bytes() for name in names]
    with (folder / "out" / "predictions.csv").open() as file:
        pages = Counter((row["path"], row["page"]) for row in csv.DictReader(file))
    print(
        f"parts: {started} workers, {killed} killed, {complete} of {parts} parts complete by then, exit codes of the others {codes}, "
        f"of the join {joined.code}; {len(pages)} pages, {sum(number > 1 for number in pages.values())} of them twice, "
        f"{sum(same)} of {len(same)} tables of the same bytes as one call"
    )
    return all(same) and not any([whole.code, joined.code, *codes]) and max(pages.values()) == 1 and len(pages) == 2480


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    series = parser.add_subparsers(dest="series", required=True)
    part = series.add_parser("watch")
    part.add_argument("--files", type=int, default=500)
    part.add_argument("--kills", type=int, default=25)
    other = series.add_parser("parts")
    other.add_argument("--workers", type=int, default=20)
    other.add_argument("--parts", type=int, default=150)
    for one in (part, other):
        one.add_argument("--run", type=Path)
        one.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        run = (
            args.run.absolute()
            if args.run
            else write_checkpoint(folder / "run" / "best.ckpt", ("form", "letter", "bill"))
        )
        print(f"load average {os.getloadavg()[0]:.1f}", flush=True)
        if args.series == "watch":
            good = kill_watch(folder, run, args.files, args.kills, rng)
        else:
            good = kill_parts(folder, run, args.workers, args.parts, rng)
    sys.exit(not good)


if __name__ == "__main__":
    main()
