"""A disk that is full or read-only, and two runs that want one folder: exit codes, and what is there stays whole."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_process import CliProcess, Outcome
from member_runs import make_run
from run_files import contents, differing
from tiny import PLAIN, draw_pages

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.files import TEMP_PREFIX

pytestmark = pytest.mark.slow
Docclf = Callable[..., Outcome]
TRAIN = (
    "train", "--profile", "config", "--model", "test_resnet", "--no-pretrained", "--image-size", "32", "--batch-size", "4", "--augmentation",
    "light", "--epochs", "3", "--name", "a", "--set", "runtime.workers=1", "--set", "tracking.backend=none",
    "--set", "train.snapshots.keep=every", "--set", "train.snapshots.k=1",
    *(text for key, value in PLAIN.items() for text in ("--set", f"{key}={value}")),
)  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 9)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small disk in memory; called with other options it is mounted anew with its content."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        remount = ",remount" if place.is_mount() else ""
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"{options}{remount}", "tmpfs", place], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("mounting needs more rights")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", place], check=True)


# Sizes at which the first checkpoint, a later one, and the predictions do not fit any more.
@pytest.mark.parametrize("size", ["400k", "1500k", "3000k"])
def test_a_run_on_a_full_disk_goes_on_when_there_is_room(
    docclf: Docclf, drawn: Path, tmp_path: Path, disk: Callable[[str], Path], size: str
) -> None:
    command = (*TRAIN, "--data", drawn)
    place = disk(f"size={size}")
    full = docclf(*command, "--output", place)
    assert full.code == 6, full.stderr
    assert "No space left on device" in full.stderr
    assert "Traceback" not in full.stderr
    run = place / "a"
    assert not list(run.rglob(f"{TEMP_PREFIX}*"))
    for path in run.rglob("*.ckpt"):
        Checkpoint.load(path)
    disk("size=50m")
    again = docclf(*command, "--output", place, "--resume", "auto")
    assert again.code == 0, again.stderr
    assert docclf(*command, "--output", tmp_path / "runs").code == 0
    assert differing(contents(run), contents(tmp_path / "runs" / "a")) == []


def test_a_read_only_folder_is_named(docclf: Docclf, drawn: Path, disk: Callable[[str], Path]) -> None:
    place = disk("size=20m")
    make_run(place / "m", drawn, 0)
    before = contents(place)
    disk("size=20m,ro")
    commands = [
        ((*TRAIN, "--data", drawn, "--output", place), f"{place}/a", 6),
        (("train", "--resume", place / "m"), f"{place}/m", 2),  # a run without a profile cannot go on anywhere
        (
            ("evaluate", "--checkpoint", place / "m", "--device", "cpu"),
            f"{place}/m is read-only",
            0,
        ),  # goes to the cache
        (("predict", drawn / "form", "--checkpoint", place / "m", "--output", place / "out"), f"{place}/out", 6),
    ]
    for command, culprit, expected in commands:
        outcome = docclf(*command)
        assert outcome.code == expected, (command[0], outcome.code, outcome.stderr)
        assert culprit in outcome.stderr
        assert "Traceback" not in outcome.stderr
    assert contents(place) == before


def test_two_runs_that_race_for_one_folder(start: Callable[..., CliProcess], drawn: Path, tmp_path: Path) -> None:
    racers = [start(*TRAIN, "--data", drawn) for _ in range(2)]
    lost, won = sorted((racer.wait() for racer in racers), key=lambda outcome: -outcome.code)
    assert (won.code, lost.code) == (0, 2), (won.stderr, lost.stderr)
    assert "is being written by process" in lost.stderr or "exists" in lost.stderr
    assert Checkpoint.load(tmp_path / "runs" / "a" / "best.ckpt").epoch >= 1
