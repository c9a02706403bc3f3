"""A run in a read-only place can be scored and reported; results go elsewhere, which is said."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cli_process import CliProcess

ReadOnly = Callable[..., subprocess.CompletedProcess[str]]
MOUNT = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache_home: Path, pages: Path, tiny: tuple[str, ...]) -> Path:
    folder = tmp_path_factory.mktemp("read-only")
    args = ("train", "--data", str(pages), *tiny, "--epochs", "1", "--name", "a")
    outcome = CliProcess(args, folder, {"XDG_CACHE_HOME": str(cache_home)}).wait()
    assert outcome.code == 0, outcome.stderr
    return folder


@pytest.fixture
def read_only(trained: Path, cache_home: Path, tmp_path: Path) -> ReadOnly:
    """Run `docclf ARGS` where `runs` cannot be written to; root may write to any folder, but to no read-only mount."""
    runs = trained / "runs"

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        before: Sequence[str] = ("unshare", "-m", "bash", "-c", MOUNT, str(runs)) if os.getuid() == 0 else ()
        if before and subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
            pytest.skip("no read-only mount can be made here")
        command = [*before, sys.executable, "-m", "docclf_cli", *map(str, args)]
        return subprocess.run(command, cwd=trained, capture_output=True, text=True, check=False)

    if os.getuid():
        for path in (runs, *runs.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("command", ["class-report", "evaluate"])
def test_results_go_to_the_cache_or_to_the_output(
    trained: Path, read_only: ReadOnly, cache_home: Path, tmp_path: Path, command: str
) -> None:
    files = sorted((trained / "runs").rglob("*"))
    asked = (command, "runs/a") if command == "class-report" else (command, "--checkpoint", "runs/a")
    outcome = read_only(*asked)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr.count("warning") == 1
    assert "runs/a is read-only: results go to" in outcome.stderr
    assert "--output" in outcome.stderr
    (table,) = cache_home.glob(f"docclf/results/a-*/{command}/val/val_class_metrics.csv")
    given = read_only(*asked, "--output", tmp_path / "there")
    assert given.returncode == 0, given.stderr
    assert "warning" not in given.stderr
    copy = tmp_path / "there" / "a" / command / "val" / "val_class_metrics.csv"
    assert copy.read_bytes() == table.read_bytes()
    assert sorted((trained / "runs").rglob("*")) == files


@pytest.mark.slow
def test_predictions_of_the_test_pages_go_there_too(trained: Path, read_only: ReadOnly, cache_home: Path) -> None:
    outcome = read_only("predict", "--split", "test", "--checkpoint", "runs/a")
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr.count("warning") == 1
    assert list(cache_home.glob("docclf/results/a-*/predict/test/predictions.csv"))


@pytest.mark.slow
def test_what_would_be_written_there_is_refused_before_it_is_made(
    trained: Path, read_only: ReadOnly, pages: Path, tiny: tuple[str, ...]
) -> None:
    for command in (
        ("train", "--data", pages, *tiny, "--name", "b"),
        ("train", "--data", pages, *tiny, "--name", "b", "--dry-run"),
        ("tune", pages, "--trials", "1", "--output", "runs"),
        ("export", "runs/a"),
    ):
        outcome = read_only(*command)
        assert outcome.returncode == 6, outcome.stderr
        assert "cannot be written to" in outcome.stderr
        assert "--output" in outcome.stderr
        assert "scoring with" not in outcome.stderr  # no numerics were measured before
