"""A search on tiny pages: its trials, what it sets apart, how it goes on, and what it tells."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tiny import draw_pages, no_plots, tiny_profile

from docclf_cli.data.index.splits import Split
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.errors import InputError, Interrupted
from docclf_cli.events import EpochDone, Event
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.tune import tune as module
from docclf_cli.tasks.tune.study import SharedStudy
from docclf_cli.tasks.tune.tune import TuneOptions, search_goes_on, tune

pytest.importorskip("optuna")
__all__ = ["no_plots"]
pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 50)


@pytest.fixture
def space(tmp_path: Path) -> str:
    path = tmp_path / "space.yaml"
    path.write_text("optimizer: {lr: {times: [0.01, 2], log: true}}\ntrain: {epochs: {low: 1, high: 2}}\n")
    return str(path)


def start(pages: Path, tmp_path: Path) -> Profile:
    """A start that is far too slow to learn, so that something better is soon found."""
    return tiny_profile(pages, tmp_path, train__epochs=1, train__batch_size=8, optimizer__lr=2e-4)


def options(tmp_path: Path, space: str, trials: int, **others: object) -> TuneOptions:
    return TuneOptions(trials=trials, minutes=None, space=space, output=tmp_path / "tune", **others)  # type: ignore[arg-type]


def test_a_search_finds_something_better_and_shows_it_on_pages_no_trial_saw(
    pages: Path, tmp_path: Path, space: str
) -> None:
    profile = start(pages, tmp_path)
    Path(space).write_text("optimizer: {lr: {times: [1, 50], log: true}}\ntrain: {epochs: {low: 1, high: 3}}\n")
    result = tune(profile, options(tmp_path, space, 4), name="tiny")
    folder = result.folder
    assert [row.number for row in result.trials] == [0, 1, 2, 3]
    assert result.best > 0
    assert result.trials[0].settings == {"optimizer.lr": "0.0002", "train.epochs": "1"}
    losses = {row.number: row.loss for row in result.trials if row.loss is not None}
    assert min(losses, key=losses.__getitem__) == result.best
    # The pages set apart are in no trial, and the best profile knows nothing of them.
    apart = set(Split.load(folder / "split.csv").ids[Split.load(folder / "split.csv").parts == "apart"])
    seen = set(Split.load(folder / "trials" / "0001" / "split.csv").ids)
    assert len(apart) == result.apart_pages == 30
    assert not apart & seen
    best = load_profile(str(result.best_profile)).profile
    assert best.data.exclude is None
    assert f"{best.optimizer.lr:.4g}" == result.changed["optimizer.lr"].best
    log_loss, _ = result.gain
    assert log_loss.pages == 60  # clean and degraded
    assert log_loss.low <= log_loss.value <= log_loss.high
    assert ("is shown" in result.sentences[1]) == (log_loss.high < 0)
    # Checkpoints of the start and of the best are kept, and no others.
    assert {path.parent.name for path in folder.rglob("*.ckpt")} == {"0000", f"{result.best:04d}"}
    assert json.loads((folder / "result.json").read_text())["best"] == result.best
    with (folder / "trials.csv").open() as file:
        assert [row["state"] for row in csv.DictReader(file)] == [row.state for row in result.trials]


def test_a_stopped_search_goes_on_in_the_trial_it_was_stopped_in(pages: Path, tmp_path: Path, space: str) -> None:
    profile, stop, epochs = start(pages, tmp_path), StopFlag(), list[int]()

    def watch(event: Event) -> None:
        if isinstance(event, EpochDone):
            epochs.append(event.epoch)
            if len(epochs) == 2:
                stop.signal_number = 15

    asked = options(tmp_path, space, 2, apart=0.0)
    Path(space).write_text("train: {epochs: {low: 2, high: 2}}\n")
    profile = profile.model_copy(update={"train": profile.train.model_copy(update={"epochs": 2})})
    with pytest.raises(Interrupted, match="stopped in trial 0; everything is saved"):
        tune(profile, asked, emit=watch, stop=stop)
    epochs.clear()
    result = tune(profile, asked, emit=watch)
    assert [row.state for row in result.trials] == ["complete", "complete"]
    assert epochs == [1, 2]  # of the second trial alone: the first had its epochs
    assert result.apart_pages == 0
    assert tune(profile, asked).trials == result.trials  # nothing is left to do


def test_another_profile_or_space_is_refused(pages: Path, tmp_path: Path, space: str) -> None:
    profile = start(pages, tmp_path)
    tune(profile, options(tmp_path, space, 1))
    other = profile.model_copy(update={"optimizer": profile.optimizer.model_copy(update={"weight_decay": 0.2})})
    with pytest.raises(InputError, match=r"another profile \(optimizer\.weight_decay\)"):
        tune(other, options(tmp_path, space, 1))
    with pytest.raises(InputError, match="another share of pages set apart"):
        tune(profile, options(tmp_path, space, 1, apart=0.3))
    Path(space).write_text("optimizer: {lr: {times: [0.5, 2]}}\n")
    with pytest.raises(InputError, match="another search space"):
        tune(profile, options(tmp_path, space, 1))


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(
    pages: Path, tmp_path: Path, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = module.train, list[str]()

    def breaks(profile: Profile, **given: object) -> object:
        calls.append(str(profile.name))
        if profile.name == "0001":
            raise RuntimeError("mat1 and mat2 do not fit")
        return real(profile, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train", breaks)
    result = tune(start(pages, tmp_path), options(tmp_path, space, 3))
    assert calls == ["0000", "0001", "0002"]
    assert [row.state for row in result.trials] == ["complete", "failed", "complete"]
    assert result.trials[1].reason == "RuntimeError: mat1 and mat2 do not fit"


def test_a_start_that_cannot_be_trained_ends_the_search(pages: Path, tmp_path: Path, space: str) -> None:
    profile = start(pages, tmp_path)
    broken = profile.model_copy(update={"train": profile.train.model_copy(update={"monitor": "nothing"})})
    with pytest.raises(InputError, match=r"the starting profile cannot be trained: train.monitor: 'nothing'"):
        tune(broken, options(tmp_path, space, 3))
    with pytest.raises(InputError, match="the starting profile cannot be trained"):
        tune(broken, options(tmp_path, space, 3))


def test_trials_are_ended_early_where_others_were_better(tmp_path: Path, space: str, pages: Path) -> None:
    profile = start(pages, tmp_path)
    parameters = module.read_space(space, profile)
    study = SharedStudy(tmp_path / "study", parameters, 0)
    for loss in (1.0, 1.1, 1.2, 1.3, 1.4):
        with study.next_trial(None) as trial:
            assert trial is not None
            assert not any(study.report(trial, epoch, 4, loss) for epoch in range(1, 5))
            study.end(trial, "COMPLETE", loss, {})
    with study.next_trial(None) as trial:
        assert trial is not None
        assert not study.report(trial, 1, 4, 9.0)  # within the first three tenths
        assert study.report(trial, 2, 4, 9.0)
    # Left as if its process had died: the next one takes it over, and what it tries is the same.
    with study.next_trial(None) as again:
        assert again is not None
        assert (again.number, again.params) == (trial.number, trial.params)
    assert [one.state.name for one in study.trials()] == ["COMPLETE"] * 5 + ["RUNNING"]


def test_two_processes_never_hold_one_trial(tmp_path: Path, space: str, pages: Path) -> None:
    parameters = module.read_space(space, start(pages, tmp_path))
    study = SharedStudy(tmp_path / "study", parameters, 0)
    with study.next_trial(2) as first:
        assert first is not None
        held = _in_another_process(tmp_path / "study")
        assert held == f"{first.number} is held"


def _in_another_process(folder: Path) -> str:
    """Whether another process finds the first trial's lock taken."""
    import subprocess
    import sys

    code = (
        "import contextlib, sys; from pathlib import Path; from docclf_cli.tasks.tune.study import _taken\n"
        "print('0 is free' if _taken(contextlib.ExitStack(), Path(sys.argv[1])) else '0 is held')"
    )
    command = [sys.executable, "-c", code, str(folder / ".trial-0000.lock")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_journal_whose_last_line_was_cut_short_is_read(tmp_path: Path, space: str, pages: Path) -> None:
    parameters = module.read_space(space, start(pages, tmp_path))
    study = SharedStudy(tmp_path / "study", parameters, 0)
    with study.next_trial(None) as trial:
        assert trial is not None
        study.end(trial, "COMPLETE", 1.0, {})
    with (tmp_path / "study" / "journal.log").open("a") as file:
        file.write('{"op_code": 5, "worker')
    again = SharedStudy(tmp_path / "study", parameters, 0)
    with again.next_trial(None) as trial:
        assert trial is not None
        again.end(trial, "COMPLETE", 0.5, {})
    assert [one.value for one in SharedStudy(tmp_path / "study", parameters, 0).complete()] == [0.5, 1.0]


def test_a_search_ends_before_a_trial_that_would_not_fit_into_the_time(tmp_path: Path, space: str, pages: Path) -> None:
    study = SharedStudy(tmp_path / "study", module.read_space(space, start(pages, tmp_path)), 0)
    assert search_goes_on(study, 1.0, 59.0)
    with study.next_trial(None) as trial:
        assert trial is not None
        study.end(trial, "COMPLETE", 1.0, {"seconds": 30.0})
    assert search_goes_on(study, 1.0, 29.0)
    assert not search_goes_on(study, 1.0, 31.0)
    assert search_goes_on(study, None, 1e9)


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        (TuneOptions(None, None), "nothing says when the search ends"),
        (TuneOptions(0, None), "--trials"),
        (TuneOptions(1, -1.0), "--minutes"),
        (TuneOptions(1, None, apart=0.9), "--apart"),
    ],
)
def test_options_out_of_range_are_refused(pages: Path, tmp_path: Path, asked: TuneOptions, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        tune(start(pages, tmp_path), asked)


def test_run_folders_of_trials_are_ordinary_runs(pages: Path, tmp_path: Path, space: str) -> None:
    result = tune(start(pages, tmp_path), options(tmp_path, space, 1))
    run = RunFolder(result.folder / "trials" / "0000")
    assert run.finished
    losses = run.read_history()[0]
    assert result.trials[0].loss == pytest.approx(np.mean([losses["val_loss"], losses["val_loss_degraded"]]))


def test_importance_names_the_setting_that_matters(tmp_path: Path, pages: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("optimizer: {lr: {times: [0.1, 10], log: true}}\naugmentation: {choices: [light, rough]}\n")
    study = SharedStudy(tmp_path / "study", module.read_space(str(path), start(pages, tmp_path)), 0)
    for number in range(9):
        assert not study.importances() or number > 7  # too few before
        with study.next_trial(None) as trial:
            assert trial is not None
            study.end(trial, "COMPLETE", abs(float(np.log(trial.params["optimizer.lr"]))), {})
    found = study.importances()
    assert list(found) == ["optimizer.lr", "augmentation"]
    assert found["optimizer.lr"] > 0.8
