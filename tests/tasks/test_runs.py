"""The list of runs, from small files; and which run commands pick by themselves."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docclf_cli.engine.checkpoints.run_folder import FINISHED, RUNNING, RunFolder, newest_finished
from docclf_cli.errors import InputError
from docclf_cli.tasks.runs import SORTS, list_runs

FIXTURES = Path(__file__).parents[1] / "fixtures"


def make(folder: Path, status: str, **facts: object) -> RunFolder:
    run = RunFolder(folder)
    run.path.mkdir(parents=True)
    run.profile.write_text("data: {root: /pages/mine}\nmodel: {model_name: resnet18}\n")
    run.timings.write_text("epoch,train_seconds,validation_seconds\n1,100,20\n2,50,10\n")
    run.metrics.write_text("epoch,f1_macro,f1_macro_degraded\n1,0.5,0.25\n2,0.25,0.125\n")
    run.write_state(status, **facts)
    return run


def test_rows_of_runs_in_every_state(tmp_path: Path) -> None:
    make(tmp_path / "a", FINISHED, best_epoch=2, f1_macro=0.75, f1_macro_low=0.5, f1_macro_high=0.875)
    make(tmp_path / "b", "stopped")
    running = make(tmp_path / "c", RUNNING)
    make(tmp_path / "d", RUNNING)
    code = "import sys, pathlib; from docclf_cli.engine.checkpoints.run_folder import RunFolder\n"
    code += "with RunFolder(pathlib.Path(sys.argv[1])).writing(): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(running.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        rows = {row.name: row for row in list_runs(tmp_path).runs}
        holder.communicate()
    assert {name: row.state for name, row in rows.items()} == {
        "a": "finished", "b": "stopped", "c": "running", "d": "killed",
    }  # fmt: skip
    first = rows["a"]
    assert (first.data, first.model, first.minutes) == ("/pages/mine", "resnet18", 3.0)
    assert (first.f1_macro_low, first.f1_macro, first.f1_macro_high, first.degraded) == (0.5, 0.75, 0.875, 0.125)
    assert (rows["b"].f1_macro, rows["b"].degraded) == (0.5, 0.25)  # the best epoch so far


def test_runs_of_before_and_damaged_ones_are_listed(tmp_path: Path) -> None:
    for run in FIXTURES.glob("run_*"):
        shutil.copytree(run, tmp_path / run.name)
    for name, text in (("broken", "{"), ("list", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
        (tmp_path / name / "profile.yaml").write_text("a: [")
        (tmp_path / name / "timings.csv").write_text("epoch\n1\n")
    rows = {row.name: row for row in list_runs(tmp_path).runs}
    assert rows["run_first_version"].f1_macro == pytest.approx(0.898236777842041)
    assert rows["run_first_version"].degraded == pytest.approx(0.45, abs=0.01)
    assert rows["run_first_version"].minutes is None
    assert rows["broken"].state == rows["list"].state == ""


@pytest.mark.parametrize("sort", SORTS)
def test_runs_are_sorted(tmp_path: Path, sort: str) -> None:
    for name, f1 in (("x", 0.25), ("y", 0.75), ("z", 0.5)):
        make(tmp_path / name, FINISHED, best_epoch=1, f1_macro=f1)
    names = "".join(row.name for row in list_runs(tmp_path, sort).runs)
    assert sorted(names) == ["x", "y", "z"]
    if sort == "f1":
        assert names == "yzx"
    if sort == "name":
        assert names == "xyz"
    with pytest.raises(InputError, match="--sort: 'size' is not one of date, f1"):
        list_runs(tmp_path, "size")


def test_a_run_that_is_no_better_than_chance_is_never_picked(tmp_path: Path) -> None:
    chance = make(tmp_path / "chance", FINISHED, no_better_than_chance=True)
    chance.best.write_bytes(b"")
    with pytest.raises(InputError, match="is better than chance"):
        newest_finished(tmp_path)
    good = make(tmp_path / "good", FINISHED)
    good.best.write_bytes(b"")
    good.state.write_text(json.dumps({"status": FINISHED, "time": "2020-01-01T00:00:00+00:00"}))
    assert newest_finished(tmp_path).path == good.path


def test_listing_imports_nothing_heavy() -> None:
    code = "import sys, docclf_cli.tasks.runs; print([one for one in ('torch', 'pandas', 'scipy', 'timm') if one in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
