"""The number format to predict with is judged at the end of a run, on the trained weights and its held-out pages."""

import logging
from pathlib import Path

import numpy as np
import pytest
from member_runs import predictions_of
from run_files import contents, differing
from tiny import draw_pages, no_plots, tiny_profile

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import info_of
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.runtime import numerics
from docclf_cli.errors import Interrupted
from docclf_cli.events import EpochDone, Event
from docclf_cli.metrics.calibration import fit_temperature
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile, RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]
pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 10)


@pytest.fixture(autouse=True)
def _a_machine_with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "fast_precisions", lambda device: ("fp32", "bf16"))
    monkeypatch.setattr(numerics, "FEWEST_TO_COMPARE", 5)


def allow(monkeypatch: pytest.MonkeyPatch, change: float) -> None:
    """How much of labels and probabilities bf16 may change."""
    monkeypatch.setattr(numerics, "MOST_LABELS", change)
    monkeypatch.setattr(numerics, "MOST_CHANGE", change)


def checked(pages: Path, output: Path, **options: object) -> Profile:
    """A tiny run that picked bf16 for scoring."""
    return tiny_profile(
        pages, output, **{"runtime.inference.precision": "bf16", "runtime.inference.check": "on", **options}
    )


def held_out(run: RunFolder) -> Predictions:
    """What the run stored for its held-out pages."""
    (path,) = (run.path / "predictions").glob("val-*.npz")
    return Predictions.load(path)


def computed(run: RunFolder, precision: str) -> np.ndarray:
    """Log-probabilities of the held-out pages, made anew."""
    config = RuntimeConfig(device="cpu", precision=precision, threads=1, workers=0, memory_format="contiguous")  # type: ignore
    return predictions_of(TrainedModel.load(run.path), "val", runtime_config=config).log_probs


@pytest.mark.parametrize(("change", "precision"), [(0.0, "fp32"), (1.0, "bf16")])
def test_what_a_model_predicts_with_is_judged_on_its_held_out_pages(
    pages: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: float,
    precision: str,
) -> None:
    caplog.set_level(logging.INFO, "docclf")
    allow(monkeypatch, change)
    result = train(checked(pages, tmp_path, name="r", train__refit=True))
    run = RunFolder(tmp_path / "r")
    assert "12 labels change compared with fp32" in caplog.text
    assert f"this model predicts in {precision}" in caplog.text
    assert result.precision == precision
    assert info_of(run.best).precision == info_of(run.path / "refit.ckpt").precision == precision
    stored = load_profile(str(run.profile)).profile.runtime.inference
    assert (stored.precision, stored.check) == ("bf16", "on")  # what scored the epochs
    found = held_out(run)
    assert found.fingerprint["precision"] == precision
    assert np.array_equal(found.log_probs, computed(run, precision))
    assert not np.array_equal(found.log_probs, computed(run, "fp32" if precision == "bf16" else "bf16"))
    best = Checkpoint.load(run.best)
    assert best.temperature == fit_temperature(found.log_probs, found.labels)
    assert info_of(run.last).precision == "fp32"  # nobody has compared it


def test_what_is_named_in_the_profile_is_not_judged(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "docclf")
    allow(monkeypatch, 0.0)
    assert train(checked(pages, tmp_path, **{"runtime.inference.check": "auto"})).precision == "bf16"
    assert "compared with fp32" not in caplog.text


def test_a_stopped_run_ends_with_the_same_judgement(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, 0.0)
    train(checked(pages, tmp_path, name="whole"))
    stop = StopFlag()

    def stop_after(event: Event) -> None:
        if isinstance(event, EpochDone) and event.epoch == 3:
            stop.signal_number = 15

    with pytest.raises(Interrupted):
        train(checked(pages, tmp_path, name="cut"), emit=stop_after, stop=stop)
    train(checked(pages, tmp_path, name="cut"), resume=tmp_path / "cut")
    assert not differing(contents(tmp_path / "cut"), contents(tmp_path / "whole"))


def test_the_profile_of_a_finished_run_repeats_it_to_the_byte(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, 0.0)
    assert train(checked(pages, tmp_path, name="a")).precision == "fp32"
    profile = load_profile(str(tmp_path / "a" / "profile.yaml")).profile
    assert train(profile.model_copy(update={"name": "b", "output": str(tmp_path)})).precision == "fp32"
    assert not differing(contents(tmp_path / "a"), contents(tmp_path / "b"))


def test_stored_predictions_of_another_number_format_are_not_taken(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, 1.0)
    train(checked(pages, tmp_path, name="r"))
    run = RunFolder(tmp_path / "r")
    bf16, fp32 = computed(run, "bf16"), computed(run, "fp32")
    assert not np.array_equal(bf16, fp32)
    for _ in range(2):  # both are stored by now
        assert np.array_equal(computed(run, "auto"), bf16)
        assert np.array_equal(computed(run, "fp32"), fp32)


def test_a_machine_without_the_number_format_says_what_it_used(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, 1.0)
    train(checked(pages, tmp_path, name="r"))
    run = RunFolder(tmp_path / "r")
    monkeypatch.setattr(numerics, "fast_precisions", lambda device: ("fp32",))
    member = TrainedModel.load(run.path)
    assert predictions_of(member, "val").fingerprint["precision"] == "bf16"  # what the run itself stored
    for path in (run.path / "predictions").glob("*.npz"):
        path.unlink()
    for _ in range(2):
        assert predictions_of(member, "val").fingerprint["precision"] == "fp32"
