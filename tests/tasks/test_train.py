"""What a whole run leaves besides what its commands show."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import draw_pages, no_plots, tiny_profile

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.provenance import inherit_numerics, profile_differences, stored_profile
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.runtime.numerics import pages_to_compare
from docclf_cli.engine.training.best_epoch import rows_to_score
from docclf_cli.errors import InputError, Interrupted
from docclf_cli.events import Event, StepDone, silent
from docclf_cli.metrics.calibration import cross_fitted, fit_temperature
from docclf_cli.metrics.class_metrics import compute_metrics
from docclf_cli.profile.schema import Profile, RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.evaluate.confidence_threshold import threshold_from_held_out
from docclf_cli.tasks.evaluate.evaluate import EvaluateOptions, evaluate
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]
pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 10)


@pytest.mark.slow
def test_going_on_keeps_the_timings_of_before(pages: Path, tmp_path: Path) -> None:
    stop, run = StopFlag(), RunFolder(tmp_path / "runs" / "cut")

    def stop_after(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 7:
            stop.signal_number = 15

    with pytest.raises(Interrupted):
        train(tiny_profile(pages, tmp_path / "runs", name="cut"), emit=stop_after, stop=stop)
    before = run.timings.read_text()
    train(tiny_profile(pages, tmp_path / "runs"), resume=run.path)
    assert run.timings.read_text().startswith(before)
    with run.timings.open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_a_refit_trains_on_all_pages_for_the_chosen_epochs(pages: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def count(event: Event) -> None:
        if isinstance(event, StepDone):
            seen.append(event.step)

    result = train(tiny_profile(pages, tmp_path / "runs", name="r", train__refit=True), emit=count)
    final = Checkpoint.load(tmp_path / "runs" / "r" / "refit.ckpt")
    assert final.epoch == result.best_epoch
    assert final.temperature == result.temperature
    assert seen[-1] == result.best_epoch * (30 // 4)  # 30 pages are 7 whole batches of four; validated, 18 were 4


def test_the_refit_of_folds_predicts_with_what_its_folds_measured(pages: Path, tmp_path: Path) -> None:
    profile = tiny_profile(pages, tmp_path, name="r", train__folds=3, train__epochs=2, train__refit=True)
    result = train(profile)
    run, final = RunFolder(result.run), Checkpoint.load(result.run / "refit.ckpt")
    assert final.epoch == round(np.median([fold.best_epoch for fold in result.folds]))
    folds = TrainedModel.load(run.path)
    assert "takes refit.ckpt" in result.notes[-1]
    assert folds.is_folds  # for evaluate, audit and ensemble
    assert final.temperature == pytest.approx(folds.temperature_of("val"))
    (member,) = EnsembleSpec.of_checkpoint(run.path).members
    assert (member.path, member.temperature) == (run.refit, final.temperature)
    threshold = threshold_from_held_out(member, 0.1, RuntimeConfig(), silent, NEVER)
    assert threshold == threshold_from_held_out(folds, 0.1, RuntimeConfig(), silent, NEVER)
    with pytest.raises(InputError, match="refitted on all pages"):
        evaluate(run.refit, "val")
    # Without the folds' own temperature their mean predicts.
    run.temperature.unlink()
    assert EnsembleSpec.of_checkpoint(run.path).members[0].is_folds


def test_a_run_keeps_absolute_paths_beside_what_was_typed(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pages.parent)
    rows = [path.relative_to(pages).as_posix() for path in pages.glob("*/*")]
    (pages.parent / "groups.csv").write_text("ID,group\n" + "".join(f"{name},g{name}\n" for name in rows))
    typed = {"data__root": pages.name, "data__groups": "groups.csv", "train__epochs": 1}
    train(tiny_profile(pages, tmp_path / "runs", name="r", **typed))
    run = RunFolder(tmp_path / "runs" / "r")
    stored = stored_profile(run).data
    assert (stored.root, stored.groups) == (str(pages), str(pages.parent / "groups.csv"))
    assert Checkpoint.load(run.best).profile["data"]["root"] == str(pages)
    assert json.loads(run.provenance.read_text())["typed"][str(pages)] == pages.name
    # The same profile as it was typed is that of the run.
    assert profile_differences(inherit_numerics(tiny_profile(pages, tmp_path / "runs", **typed), run), run) == []


@pytest.mark.slow
def test_a_folds_run_has_one_temperature_for_all_commands(pages: Path, tmp_path: Path) -> None:
    result = train(tiny_profile(pages, tmp_path / "runs", name="f", train__folds=3, data__degraded_validation=False))
    member = TrainedModel.load(result.run)
    assert member.temperature == result.temperature
    out_of_fold = Predictions.load(result.run / "out_of_fold.npz")
    alone = fit_temperature(out_of_fold.log_probs, out_of_fold.labels)
    assert member.temperature_of("val") == alone
    runtime = RuntimeConfig(workers=0)
    assert evaluate(result.run, runtime_config=runtime).temperature == result.temperature
    # The metrics are those that evaluate shows, at temperatures that other pages fitted.
    assert evaluate(result.run, runtime_config=runtime).scores.metrics == result.val.metrics
    assert result.val.metrics["log_loss"].value == pytest.approx(compute_metrics(cross_fitted(out_of_fold))["log_loss"])
    assert result.val.metrics["log_loss"].value != compute_metrics(out_of_fold, temperature=alone)["log_loss"]
    assert any("by the one fold that was not trained on it" in note for note in result.notes)
    # Of other folds it is not believed.
    content = json.loads(RunFolder(result.run).temperature.read_text())
    RunFolder(result.run).temperature.write_text(json.dumps({**content, "checkpoints": "others"}))
    folds = [Checkpoint.load(RunFolder(result.run).fold(number).best).temperature for number in range(3)]
    assert TrainedModel.load(result.run).temperature == pytest.approx(np.exp(np.mean(np.log(folds))))


def test_the_metrics_say_which_pages_they_are_of(pages: Path, tmp_path: Path) -> None:
    result = train(tiny_profile(pages, tmp_path / "runs", name="one", data__degraded_validation=False))
    assert any("chose the best epoch (by validation loss)" in note for note in result.notes)
    assert any("cross-fitted" in note for note in result.notes)
    runtime = RuntimeConfig(workers=0)
    found = evaluate(result.run, runtime_config=runtime)
    assert (found.scores.metrics, found.notes, found.temperature) == (
        result.val.metrics,
        result.notes,
        result.temperature,
    )
    (note,) = evaluate(result.run, "train", runtime_config=runtime).notes
    assert "was trained on these pages" in note
    with pytest.raises(InputError, match="--target-precision: the model was trained on the pages of --split train"):
        evaluate(result.run, "train", options=EvaluateOptions(target_precision=0.9), runtime_config=runtime)


def test_folds_are_compared_on_the_same_training_pages() -> None:
    labels = np.arange(9000) % 3
    samples = []
    for fold in range(5):
        held_out = np.arange(9000) % 5 == fold
        task = SimpleNamespace(
            prepared=SimpleNamespace(index=SimpleNamespace(labels=labels)),
            train_rows=np.flatnonzero(~held_out),
            val_rows=np.flatnonzero(held_out),
            profile=Profile(),
        )
        rows = rows_to_score(task)["train"]
        assert abs(len(rows) - pages_to_compare(1800)) < 100
        assert not held_out[rows].any()
        samples.append(rows)
    _, folds = np.unique(np.concatenate(samples), return_counts=True)
    assert (folds == 4).all()  # of five folds, four were trained on a page
