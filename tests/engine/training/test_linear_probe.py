"""A first epoch that fits the classifier to frozen features by logistic regression."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from run_files import contents, differing
from tiny import draw_pages, no_plots, stop_when, tiny_profile

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime.device import Runtime, seed_of
from docclf_cli.engine.runtime.folded_norms import without_batch_norms
from docclf_cli.engine.training import job, linear_probe
from docclf_cli.engine.training.linear_probe import resolve_views
from docclf_cli.errors import InputError
from docclf_cli.events import Event, Progress
from docclf_cli.models.factory import create_model
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile, TrainConfig
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]
pytestmark = pytest.mark.usefixtures("no_plots")
Make = Callable[..., Profile]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 10)


@pytest.fixture
def make(pages: Path, tmp_path: Path) -> Make:
    usual: dict[str, object] = {"train__linear_probe": 3, "train__epochs": 1, "train__ema": None}
    return lambda **options: tiny_profile(pages, tmp_path / "runs", **usual | options)


@pytest.mark.parametrize(("pages", "views"), [(36, 27), (10, 32), (400, 2), (10_000, 2), (0, 32)])
def test_few_pages_get_more_views(pages: int, views: int) -> None:
    assert resolve_views("auto", pages) == views
    assert resolve_views(5, pages) == 5


def test_only_the_classifier_changes_and_it_learns(make: Make) -> None:
    profile = make(name="probe")
    result = train(profile)
    best = Checkpoint.load(Path(profile.output) / "probe/best.ckpt")
    torch.manual_seed(seed_of("init", profile.seed))
    untouched = create_model(profile.model, 3, image_size=32).state_dict()
    changed = [name for name, tensor in best.model.items() if not torch.equal(tensor, untouched[name])]
    assert set(changed) == {"fc.weight", "fc.bias"}
    assert result.val.metrics["accuracy"].value > 0.8
    assert result.best_epoch == 1


def test_the_backbone_is_not_left_in_training_mode(make: Make) -> None:
    before = train(make(name="a", train__linear_probe=1))
    state = Checkpoint.load(before.run / "best.ckpt").model
    assert all(int(tensor) == 0 for name, tensor in state.items() if name.endswith("num_batches_tracked"))


def test_training_goes_on_from_the_probe(make: Make) -> None:
    probed = train(make(name="a", train__epochs=3, train__ema=0.9))
    assert probed.epochs == 3
    history = Checkpoint.load(probed.run / "last.ckpt").training["state"]["history"]
    assert [row["step"] for row in history] == [4, 8, 12]
    assert history[0]["accuracy"] > 0.8  # the moving average begins with the probe


@pytest.mark.parametrize("task", ["computing features", "validation"])
def test_a_stopped_probe_ends_as_one_that_was_not(make: Make, task: str) -> None:
    whole = train(make(name="whole", train__epochs=2, train__ema=0.9))

    def moment(event: Event) -> bool:
        return isinstance(event, Progress) and event.task == task

    folder = stop_when(make(name="cut", train__epochs=2, train__ema=0.9), moment)
    train(load_profile(str(folder / "profile.yaml")).profile, resume=folder)
    assert differing(contents(folder), contents(whole.run)) == []


def test_features_are_computed_once_for_each_page(
    make: Make, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    told: list[Event] = []
    first = train(make(name="a", data__cache="auto"), emit=told.append)
    seen = [event for event in told if isinstance(event, Progress) and event.task == "computing features"]
    assert seen[-1].done == seen[-1].total == 18
    told.clear()
    again = train(make(name="b", data__cache="auto"), emit=told.append)
    assert not [event for event in told if isinstance(event, Progress) and event.task == "computing features"]
    alike = [Checkpoint.load(run / "best.ckpt").model["fc.weight"] for run in (first.run, again.run)]
    assert torch.equal(*alike)
    told.clear()
    train(make(name="c", data__cache="auto", data__split_seed=3), emit=told.append)
    more = [event for event in told if isinstance(event, Progress) and event.task == "computing features"]
    assert 0 < more[-1].total < 18  # only pages that were held out before
    (stored,) = (tmp_path / "cache/docclf/features").glob("*.npz")
    stored.write_bytes(b"damaged")
    assert train(make(name="d", data__cache="auto")).val.metrics["accuracy"].value > 0.8


def test_a_model_without_one_linear_layer_is_refused(make: Make) -> None:
    with pytest.raises(InputError, match=r"train\.linear_probe: test_byobnet does not end in one linear layer"):
        model = torch.nn.Module()
        model.get_classifier = lambda: torch.nn.Conv2d(3, 4, 1)  # type: ignore[assignment]
        linear_probe.linear_classifier(model, "test_byobnet")


def test_auto_leaves_the_probe_out_where_there_is_no_linear_layer() -> None:
    model = torch.nn.Module()
    model.get_classifier = lambda: torch.nn.Conv2d(3, 4, 1)  # type: ignore[assignment]
    assert not linear_probe.begins_with_probe(TrainConfig(linear_probe="auto", epochs=9), model, "test_byobnet")
    assert not linear_probe.begins_with_probe(TrainConfig(epochs=9), model, "test_byobnet")
    for config in (TrainConfig(linear_probe="auto", epochs=1), TrainConfig(linear_probe=2, epochs=9)):
        with pytest.raises(InputError, match="does not end in one linear layer"):
            linear_probe.begins_with_probe(config, model, "test_byobnet")


def test_a_probe_that_epochs_follow_sees_a_sample_of_many_pages(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PAGES_TO_BEGIN", 9)
    told: list[Event] = []
    train(make(name="a", train__epochs=2), emit=told.append)
    train(make(name="b"), emit=told.append)
    seen = [event.total for event in told if isinstance(event, Progress) and event.task == "computing features"]
    assert (seen[0], seen[-1]) == (9, 18)


def test_every_use_takes_the_checkpoint(make: Make) -> None:
    found = train(make(name="folds", train__folds=2))
    assert len(found.folds) == 2
    assert found.val.metrics["accuracy"].value > 0.8


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def test_folding_batch_norms_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5)
    size = model.pretrained_cfg["input_size"][-1]
    pages = torch.randn(4, 3, size, size)
    model.train()(pages)  # statistics of its own
    runtime = Runtime(torch.device("cpu"))
    folded = without_batch_norms(model, size, runtime)
    with torch.inference_mode():
        assert torch.allclose(folded(pages), model.eval()(pages), atol=1e-4)
    left = [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert left == []


def test_views_that_do_not_fit_into_the_time_are_left_out(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    def allows(self: linear_probe.ProbeBudget, pages: int, each: float) -> bool:
        asked.append(pages)
        return len(asked) < 2

    monkeypatch.setattr(linear_probe.ProbeBudget, "allows", allows)
    planned = {"train__minutes": 1, "train__plan": "x", "train__linear_probe": 8}
    result = train(make(name="a", **planned))
    assert asked == [18, 18]  # after the first view there is time for another one, and then there is not
    assert "2 of 8 planned views" in caplog.text
    # The same as a probe that was planned with two views.
    whole = train(make(name="b", train__linear_probe=2))
    assert RunFolder(result.run).read_history()[0]["val_loss"] == RunFolder(whole.run).read_history()[0]["val_loss"]


def test_a_probe_keeps_time_for_what_follows() -> None:
    budget = linear_probe.ProbeBudget(seconds=100.0, began=0.0, scored=100, clock=lambda: 40.0)
    assert budget.allows(200, 0.18)  # 40 s gone, 54 s for view and scoring, 5 s for the regressions
    assert not budget.allows(200, 0.19)
