"""A run that is stopped and goes on ends where the undisturbed run ends."""

from pathlib import Path

import pytest
import torch

from docclf_cli.data.samples import render_samples
from docclf_cli.engine.checkpoint import Checkpoint
from docclf_cli.engine.events import Event, StepDone
from docclf_cli.engine.run_folder import RunFolder
from docclf_cli.engine.runtime import StopFlag
from docclf_cli.engine.train import train
from docclf_cli.errors import Interrupted
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    pages = render_samples(tmp_path / "pages", pages_per_class=5, test_pages_per_class=1)
    options = {
        "data.root": str(pages),
        "data.image_size": 48,
        "model": "test_resnet",
        "model.pretrained": False,
        "augmentation": "light",
        "train.epochs": 3,
        "train.batch_size": 8,
        "train.ema": 0.9,
        "runtime.workers": 0,
        "output": str(tmp_path / "runs"),
    }
    return load_profile("config", options=options).profile


def _files(run: RunFolder) -> tuple[str, list[torch.Tensor]]:
    return run.metrics.read_text(), list(Checkpoint.load(run.best).model.values())


@pytest.mark.parametrize("steps", [2, 7])
def test_going_on_is_exact_and_keeps_all_timings(profile: Profile, tmp_path: Path, steps: int) -> None:
    train(profile.model_copy(update={"name": "whole"}))
    stop = StopFlag()

    def stop_after(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == steps:
            stop.signal_number = 15

    with pytest.raises(Interrupted):
        train(profile.model_copy(update={"name": "cut"}), emit=stop_after, stop=stop)
    cut = RunFolder(tmp_path / "runs" / "cut")
    train(profile, resume=cut.path)
    (metrics, weights), (again, same) = _files(RunFolder(tmp_path / "runs" / "whole")), _files(cut)
    assert metrics == again
    assert all(torch.equal(one, other) for one, other in zip(weights, same, strict=True))
    assert len(cut.timings.read_text().splitlines()) == 1 + 3


def test_a_refit_trains_on_all_pages_for_the_chosen_epochs(profile: Profile, tmp_path: Path) -> None:
    changed = profile.model_copy(update={"name": "r", "train": profile.train.model_copy(update={"refit": True})})
    result = train(changed)
    final = Checkpoint.load(tmp_path / "runs" / "r" / "refit.ckpt")
    assert final.epoch == result.best_epoch
    assert final.temperature == result.temperature
