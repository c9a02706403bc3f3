"""What teachers say about a page, what a student learns from it, and which teachers are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import draw_pages, no_plots, stop_when, tiny_profile

from docclf_cli.data.index.index import load_training_index
from docclf_cli.data.index.tables import read_table
from docclf_cli.data.loading.batch import Batch
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.training.distillation import Teachers, as_seen
from docclf_cli.engine.training.losses import LOSSES
from docclf_cli.errors import InputError
from docclf_cli.events import StepDone, silent
from docclf_cli.profile.schema import DistillConfig, Profile
from docclf_cli.stop import NEVER
from docclf_cli.tasks.distill import distill, labels_of
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]
pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 12)


@pytest.fixture(scope="module")
def teachers(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single run and a folds run, of another image size."""
    output = tmp_path_factory.mktemp("teachers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("docclf_cli.tasks.train.write_class_report", lambda *_: [])
        usual = {"train__snapshots__keep": "none", "train__epochs": 2, "data__image_size": 48}
        train(tiny_profile(pages, output, name="single", **usual))
        train(tiny_profile(pages, output, name="folds", train__folds=2, **usual))
    return output


def student(pages: Path, output: Path, *teachers: Path, **options: object) -> Profile:
    given = {"train__snapshots__keep": "none", "train__distill__teachers": [str(one) for one in teachers], **options}
    return tiny_profile(pages, output, **given)


def test_each_page_is_judged_by_the_fold_that_did_not_train_on_it(pages: Path, teachers: Path) -> None:
    profile = student(pages, teachers, teachers / "folds")
    index, _ = load_training_index(profile.data)
    config = DistillConfig(teachers=(str(teachers / "folds"),))
    (one,) = Teachers.open(config, index, profile.runtime).members
    split = dict(zip(*_split(teachers / "folds"), strict=True))
    images = torch.randint(0, 256, (len(index), 32, 32, 3), dtype=torch.uint8).movedim(-1, 1)
    rows = np.arange(len(index))
    found = one.probs(images, rows, 1.0)
    model = TrainedModel.load(teachers / "folds")
    for number, network in enumerate(one.networks):
        mine = np.array([split[name] == f"fold-{number}" for name in index.ids])
        assert mine.any()
        logits = network.outputs(as_seen(images[torch.as_tensor(mine)], 48))[0] / model.temperature_of("val")
        assert torch.allclose(found[torch.as_tensor(mine)], logits.softmax(dim=1), atol=1e-6)
    # A page that no fold knows is judged by all of them.
    one.fold_of_row[:] = -1
    means = torch.stack([network.outputs(as_seen(images, 48))[0] / one.temperatures[0] for network in one.networks])
    assert torch.allclose(one.probs(images, rows, 1.0), means.softmax(dim=2).mean(dim=0), atol=1e-6)


def _split(run: Path) -> tuple[list[str], list[str]]:
    from docclf_cli.data.index.splits import Split

    split = Split.load(RunFolder(run).split)
    return split.ids.tolist(), split.parts.tolist()


def test_the_loss_is_that_of_labels_and_of_teachers(pages: Path, teachers: Path) -> None:
    profile = student(pages, teachers, teachers / "single")
    index, _ = load_training_index(profile.data)
    opened = Teachers.open(DistillConfig(teachers=(str(teachers / "single"),), weight=0.25), index, profile.runtime)
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8).movedim(-1, 1)
    batch = Batch((images,), torch.tensor([0, 1, 2, 0]), np.arange(4))
    logits = torch.randn(4, 3, requires_grad=True)
    loss = LOSSES.get("cross_entropy").build([4, 4, 4])
    of_labels = loss(logits, batch.targets)
    probs = opened.members[0].probs(images, batch.rows, 1.0)
    expected = 0.75 * of_labels - 0.25 * (probs * logits.log_softmax(dim=1)).sum(dim=1)
    found = opened.loss(of_labels, loss, logits, batch)
    assert torch.allclose(found, expected)
    found.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_teacher_of_no_weight_changes_nothing_and_one_of_weight_does(
    pages: Path, teachers: Path, tmp_path: Path
) -> None:
    histories = []
    for name, weight in (("plain", None), ("none", 0.0), ("half", 0.5)):
        given = () if weight is None else (teachers / "folds",)
        profile = student(pages, tmp_path, *given, name=name, train__epochs=1, train__distill__weight=weight or 0.0)
        train(profile)
        histories.append(RunFolder(tmp_path / name).read_history())
    assert histories[0] == histories[1]
    assert histories[1] != histories[2]


def test_a_stopped_student_ends_as_one_that_was_not(pages: Path, teachers: Path, tmp_path: Path) -> None:
    whole = student(pages, tmp_path / "whole", teachers / "folds", name="s", train__epochs=2)
    train(whole)
    cut = student(pages, tmp_path / "cut", teachers / "folds", name="s", train__epochs=2)
    folder = stop_when(cut, lambda event: isinstance(event, StepDone) and event.step == 5)
    train(cut, resume=folder)
    assert RunFolder(folder).metrics.read_bytes() == (tmp_path / "whole" / "s" / "metrics.csv").read_bytes()


def test_what_a_student_lost_is_told_on_pages_that_both_held_out(pages: Path, teachers: Path, tmp_path: Path) -> None:
    result = distill(student(pages, tmp_path, teachers / "single", name="s", train__epochs=1))
    assert [one.pages for one in result.held_out] == ["clean", "degraded"]
    assert {one.count for one in result.held_out} == {15}  # the two share their split
    clean = result.held_out[0]
    assert clean.f1_macro.value == pytest.approx(clean.student_f1 - clean.teacher_f1)
    assert clean.log_loss.value == pytest.approx(clean.student_loss - clean.teacher_loss, abs=1e-6)
    assert result.student.networks == result.teacher.networks == 1
    assert result.student.parameters == result.teacher.parameters
    again = distill(
        student(pages, tmp_path, teachers / "single", name="s", train__epochs=1), resume=result.run, finished=True
    )
    assert again.training is None
    assert again.held_out == result.held_out


def test_pages_without_labels_are_labelled_by_the_teachers_and_none_is_a_page_of_the_data(
    pages: Path, teachers: Path, tmp_path: Path
) -> None:
    more = draw_pages(tmp_path / "more", 15)
    known = next(path for path in sorted(pages.rglob("*.png")))
    (more / "copy.png").write_bytes(known.read_bytes())
    same = {path.read_bytes() for path in pages.rglob("*.png")}
    fresh = {str(path) for path in more.rglob("*.png") if path.read_bytes() not in same}
    assert fresh
    profile = student(pages, tmp_path / "runs", teachers / "folds", name="s", train__epochs=1)
    table = labels_of(more, profile, silent, NEVER)
    rows = read_table(table)
    assert set(rows["path"].tolist()) == fresh
    assert set(rows["target"].tolist()) <= {"form", "letter", "receipt"}
    train(student(pages, tmp_path / "runs", teachers / "folds", name="s", train__epochs=1, data__add=[str(table)]))
    trained = [name for name, part in zip(*_split(tmp_path / "runs" / "s"), strict=True) if part == "train"]
    assert sum(name in fresh or name.removeprefix("added/") in fresh for name in trained) > len(fresh) / 2


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"data__split_seed": 5}, "was trained on .* that the student would be scored on"),
        ({"data__resize_mode": "squash"}, "sees pages in the shape 'letterbox'"),
        ({"augmentation__mixup": 0.2}, "mixed pages contradict each other"),
        ({"train__linear_probe": 2, "train__epochs": 1}, "a linear probe alone"),
    ],
)
def test_teachers_that_do_not_fit_are_refused(
    pages: Path, teachers: Path, tmp_path: Path, options: dict[str, object], fault: str
) -> None:
    with pytest.raises(InputError, match=fault):
        train(student(pages, tmp_path, teachers / "single", name="s", **options))


def test_a_teacher_that_lacks_a_class_is_refused(pages: Path, teachers: Path, tmp_path: Path) -> None:
    more = draw_pages(tmp_path / "more", 4)
    (more / "form").rename(more / "ticket")
    with pytest.raises(InputError, match="does not know the class ticket"):
        train(student(more, tmp_path, teachers / "folds", name="s"))
