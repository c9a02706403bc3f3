"""A run that was stopped, in whatever phase, ends where the undisturbed run ends; what has changed is refused."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from run_files import contents, differing
from tiny import draw_pages, no_plots, stop_when, tiny_profile

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.provenance import newest_unfinished
from docclf_cli.engine.checkpoints.run_folder import RUNNING, RunFolder
from docclf_cli.errors import ChangedRunError, CheckpointError, InputError
from docclf_cli.events import EpochDone, Event, FitDone, FitStarted, Progress, StepDone
from docclf_cli.files import keep_previous
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile
from docclf_cli.tasks.train import train

Make = Callable[..., Profile]
__all__ = ["no_plots"]


pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 10)


@pytest.fixture
def make(pages: Path, tmp_path: Path) -> Make:
    return lambda **options: tiny_profile(pages, tmp_path / "runs", **options)


@pytest.fixture(scope="module")
def whole(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The undisturbed run, with a refit."""
    output = tmp_path_factory.mktemp("whole")
    train(tiny_profile(pages, output, name="whole", train__refit=True))
    return contents(output / "whole")


def during(task: str, count: int = 1) -> Callable[[Event], bool]:
    """The `count`-th time that a piece of work is told of."""
    seen: list[Event] = []

    def moment(event: Event) -> bool:
        if isinstance(event, Progress) and event.task == task:
            seen.append(event)
        return len(seen) == count

    return moment


MOMENTS = {
    "reading pages": during("reading pages"),
    "first step": lambda event: isinstance(event, StepDone) and event.step == 1,
    "inside an epoch": lambda event: isinstance(event, StepDone) and event.step == 7,
    "last step of an epoch": lambda event: isinstance(event, StepDone) and event.step == 8,
    "first validation": during("validation"),
    "last degraded validation": during("degraded validation", 5),
    "end of an epoch": lambda event: isinstance(event, EpochDone) and event.epoch == 2,
    "end of training": lambda event: isinstance(event, EpochDone) and event.epoch == 3,
    "predictions for training pages": during("training pages"),
    "before the refit": lambda event: isinstance(event, FitDone),
    "inside the refit": lambda event: isinstance(event, FitStarted) and event.label.startswith("refit"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stopped_run_goes_on_to_the_same_end(make: Make, whole: dict[str, bytes], moment: str) -> None:
    folder = stop_when(make(name="cut", train__refit=True), MOMENTS[moment])
    train(load_profile(str(folder / "profile.yaml")).profile, resume=folder)
    assert differing(contents(folder), whole) == []


def test_predictions_that_a_validation_made_before_a_stop_are_made_again(make: Make, whole: dict[str, bytes]) -> None:
    profile = make(name="cut", train__refit=True)
    folder = stop_when(profile, during("training pages"))
    stop_when(profile, during("validation pages"), resume=folder)
    train(profile, resume=folder)
    assert differing(contents(folder), whole) == []


def test_a_stop_saves_the_step_it_ended(make: Make) -> None:
    folder = stop_when(make(name="cut"), MOMENTS["inside an epoch"])
    state = Checkpoint.load(folder / "last.ckpt").training["state"]
    assert (state["epoch"], state["step"]) == (1, 3)  # the seventh step; an epoch has four


def test_the_comparison_sees_a_lost_step(make: Make, whole: dict[str, bytes]) -> None:
    folder = stop_when(make(name="cut", train__refit=True), MOMENTS["inside an epoch"])
    last = Checkpoint.load(folder / "last.ckpt")
    last.training["state"]["step"] += 1
    last.save(folder / "last.ckpt")
    train(make(train__refit=True), resume=folder)
    assert {"last.ckpt", "metrics.csv", "snapshots/epoch-0003.ckpt"} <= set(differing(contents(folder), whole))


def test_a_schedule_that_follows_validation_goes_on_from_what_it_saw(make: Make, tmp_path: Path) -> None:
    # Nothing is an improvement by 0.99, so that each epoch learns at a tenth of the one before.
    falling = {"scheduler": "plateau", "scheduler__params__patience": 0, "scheduler__params__threshold": 0.99}
    folder = stop_when(make(name="cut", **falling), lambda event: isinstance(event, StepDone) and event.step == 10)
    train(make(**falling), resume=folder)
    train(make(name="whole", **falling))
    rates = [row["lr"] for row in RunFolder(folder).read_history()]
    assert rates[2] < rates[0]
    assert differing(contents(folder), contents(tmp_path / "runs" / "whole")) == []


def test_max_steps_inside_an_epoch_still_ends_it(make: Make, tmp_path: Path) -> None:
    folder = stop_when(
        make(name="cut", train__max_steps=7), lambda event: isinstance(event, StepDone) and event.step == 7
    )
    train(make(train__max_steps=7), resume=folder)
    train(make(name="whole", train__max_steps=7))
    assert differing(contents(folder), contents(tmp_path / "runs" / "whole")) == []
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + 2


@pytest.mark.slow
def test_folds_that_were_finished_are_not_trained_or_predicted_again(make: Make, tmp_path: Path) -> None:
    folded = {"train__folds": 2, "train__epochs": 1}
    folder = stop_when(make(name="cut", **folded), lambda event: isinstance(event, StepDone) and event.step == 3)
    labels: list[str] = []

    def note(event: Event) -> None:
        labels.append(f"{event.folder.name} {event.step}" if isinstance(event, FitStarted) else type(event).__name__)

    (folder / "run.json").unlink()
    second = stop_when(make(name="second", **folded), _in_fold(1))
    train(make(**folded), resume=second, emit=note)
    assert labels.index("fold-1 1") == labels.index("fold-0 3") + 2  # FitStarted, FitDone
    train(make(**folded), resume=folder)
    train(make(name="whole", **folded))
    for one in (folder, second):
        assert differing(contents(one), contents(tmp_path / "runs" / "whole")) == []


def _in_fold(number: int) -> Callable[[Event], bool]:
    begun: list[str] = []

    def moment(event: Event) -> bool:
        if isinstance(event, FitStarted):
            begun.append(event.folder.name)
        return begun[-1:] == [f"fold-{number}"] and isinstance(event, StepDone)

    return moment


class TestRefusals:
    @pytest.fixture
    def cut(self, make: Make, pages: Path, tmp_path: Path) -> Path:
        """A stopped run on pages of its own."""
        shutil.copytree(pages, tmp_path / "own")
        return stop_when(make(name="cut", data__root=str(tmp_path / "own")), MOMENTS["inside an epoch"])

    def test_a_changed_profile_shows_its_keys(self, make: Make, cut: Path) -> None:
        before = contents(cut) | {"run.json": (cut / "run.json").read_bytes()}
        with pytest.raises(ChangedRunError) as refused:
            train(make(optimizer__lr=1e-3, train__epochs=4), resume=cut)
        assert "optimizer.lr: was 0.005, is 0.001" in refused.value.message
        assert "train.epochs: was 3, is 4" in refused.value.message
        assert "--allow-changes" in refused.value.hint
        assert contents(cut) | {"run.json": (cut / "run.json").read_bytes()} == before

    def test_what_computes_nothing_may_change(self, make: Make, cut: Path, tmp_path: Path) -> None:
        shutil.move(tmp_path / "own", tmp_path / "moved")
        changed = {"data__root": str(tmp_path / "moved"), "runtime__workers": 1, "train__checkpoint_every__steps": 1}
        train(make(**changed), resume=cut)
        assert RunFolder(cut).finished

    def test_what_auto_picked_is_kept(self, make: Make, cut: Path) -> None:
        assert load_profile(str(cut / "profile.yaml")).profile.runtime.device == "cpu"
        assert Checkpoint.load(cut / "last.ckpt").profile["runtime"]["precision"] in ("fp32", "bf16")
        train(make(runtime__threads=None, runtime__precision="auto"), resume=cut)
        assert load_profile(str(cut / "profile.yaml")).profile.runtime.threads == 1
        with pytest.raises(ChangedRunError, match=r"runtime.threads: was 1, is 2"):
            train(make(runtime__threads=2), resume=cut)

    def test_changed_pixels_are_noticed(self, make: Make, cut: Path, tmp_path: Path) -> None:
        Image.new("RGB", (30, 40), "white").save(tmp_path / "own" / "form" / "form-0.png")
        with pytest.raises(ChangedRunError, match="images have changed"):
            train(make(data__root=str(tmp_path / "own")), resume=cut)

    def test_a_page_more_is_counted(self, make: Make, cut: Path, tmp_path: Path) -> None:
        shutil.copy(tmp_path / "own" / "form" / "form-0.png", tmp_path / "own" / "form" / "new.png")
        with pytest.raises(ChangedRunError, match=r"pages of form: was 10, is 11"):
            train(make(data__root=str(tmp_path / "own")), resume=cut)

    def test_another_label_is_noticed(self, make: Make, cut: Path, tmp_path: Path) -> None:
        for one, other in (("form", "letter"), ("letter", "form")):
            shutil.move(tmp_path / "own" / one / f"{one}-0.png", tmp_path / "own" / other / f"{one}-0.png")
        with pytest.raises(ChangedRunError, match="other IDs, files, labels"):
            train(make(data__root=str(tmp_path / "own")), resume=cut)

    def test_another_version_is_shown(self, make: Make, cut: Path) -> None:
        origin = cut / "provenance.json"
        origin.write_text(origin.read_text().replace('"timm": "', '"timm": "0.'))
        with pytest.raises(ChangedRunError, match=r'timm: was "0\.'):
            train(make(), resume=cut)

    def test_changes_that_are_allowed_take_effect(
        self, make: Make, cut: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "docclf")
        train(make(optimizer__weight_decay=0.2, train__epochs=4), resume=cut, allow_changes=True)
        assert "train.epochs: was 3, is 4" in caplog.text
        last = Checkpoint.load(cut / "last.ckpt")
        assert last.epoch == 4
        assert {group["weight_decay"] for group in last.training["optimizer"]["param_groups"]} == {0.0, 0.2}

    def test_a_position_of_another_model_is_a_checkpoint_error(self, make: Make, cut: Path) -> None:
        with pytest.raises(CheckpointError, match=r"last\.ckpt: its position does not fit"):
            train(make(model="test_vit"), resume=cut, allow_changes=True)

    def test_a_folder_that_is_no_run(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="not a run folder"):
            train(make(), resume=tmp_path)


def test_a_damaged_position_gives_way_to_the_one_before(
    make: Make, whole: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "docclf")
    every = {"train__refit": True, "train__checkpoint_every__steps": 1}
    folder = stop_when(make(name="cut", **every), MOMENTS["inside an epoch"])
    content = bytearray((folder / "last.ckpt").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    (folder / "last.ckpt").write_bytes(content)
    train(make(train__refit=True), resume=folder)
    assert "last.ckpt: damaged" in caplog.text
    assert "resuming from the checkpoint before it" in caplog.text
    # A checkpoint holds the profile it was written under, which saved every step.
    assert differing(contents(folder), whole) == ["snapshots/epoch-0001.ckpt"]


def test_a_damaged_position_is_not_what_is_kept_next(make: Make) -> None:
    folder = stop_when(make(name="cut", train__checkpoint_every__steps=1), MOMENTS["inside an epoch"])
    last = folder / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    before = Checkpoint.load_newest(last)
    assert before is not None
    keep_previous(last)  # the next writer is killed here, before there is a new one
    again = Checkpoint.load_newest(last)
    assert again is not None
    assert again.training["state"] == before.training["state"]


def test_two_damaged_positions_are_an_error(make: Make) -> None:
    folder = stop_when(make(name="cut", train__checkpoint_every__steps=1), MOMENTS["inside an epoch"])
    for name in ("last.ckpt", "last.previous.ckpt"):
        (folder / name).write_bytes(b"PK\3\4")
    with pytest.raises(CheckpointError, match=r"last\.previous\.ckpt"):
        train(make(), resume=folder)


def test_weights_are_not_fetched_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stop_when(make(name="cut"), MOMENTS["inside an epoch"])
    text = (folder / "profile.yaml").read_text().replace("pretrained: false", "pretrained: true")
    (folder / "profile.yaml").write_text(text)  # as if it had started from weights that cannot be reached now
    train(load_profile(str(folder / "profile.yaml")).profile, resume=folder)


@pytest.mark.slow
def test_a_silent_end_points_to_memory(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "docclf")
    folder = stop_when(make(name="cut"), MOMENTS["inside an epoch"])
    again = shutil.copytree(folder, folder.with_name("killed"))
    train(make(), resume=folder)
    assert "memory" not in caplog.text
    RunFolder(again).write_state(RUNNING)  # what a kill leaves
    train(make(), resume=again)
    assert "exit 137" in caplog.text
    assert "probably ran out of memory" in caplog.text


@pytest.mark.slow
def test_auto_takes_the_newest_unfinished_run_of_the_same_profile(make: Make, tmp_path: Path) -> None:
    assert newest_unfinished(make()) is None
    first = stop_when(make(name="first"), MOMENTS["first step"])
    stop_when(make(name="other", optimizer__lr=1e-3), MOMENTS["first step"])
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.json").write_text("{}")
    older = shutil.copytree(first, tmp_path / "runs" / "older")
    provenance = json.loads((older / "provenance.json").read_text())
    (older / "provenance.json").unlink()
    (older / "origin.json").write_text(json.dumps({key: provenance[key] for key in ("versions", "data", "typed")}))
    with pytest.raises(InputError, match="trained by another version"):
        train(make(), resume=older)
    found = newest_unfinished(make(runtime__threads=None))
    assert found is not None
    assert found.path == first
    train(make(), resume=first)
    assert newest_unfinished(make()) is None
