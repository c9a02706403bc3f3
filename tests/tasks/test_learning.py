"""Training on labels that were added: what is trained on, what is held out, and whether it helped."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import TONES, draw_pages, no_plots, tiny_profile

from docclf_cli.data.index.index import load_training_pages
from docclf_cli.data.index.splits import ADDED, Split
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.members import trained_ids
from docclf_cli.engine.inference.store import stored_prefix
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import DataConfig
from docclf_cli.results.training import TrainResult
from docclf_cli.tasks.evaluate.evaluate import evaluate
from docclf_cli.tasks.learning import sets_of_added
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]
pytestmark = pytest.mark.usefixtures("no_plots")
ADDED_PAGES = 170  # about a fifth of them is more than the 30 that a difference is told for


def _draw(folder: Path, count: int) -> str:
    """A table of new pages of two classes of the data, and of one that it lacks."""
    rng = np.random.default_rng(5)
    folder.mkdir()
    rows = []
    for number in range(count):
        label, tone = list((TONES | {"certificate": 20}).items())[number % 4]
        page = np.clip(tone + rng.normal(0, 30, (40, 30, 3)), 0, 255).astype(np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(page).save(path)
        rows.append(f"{path.name},{label},{path},\n")
    table = folder / "review_labels.csv"
    table.write_text("ID,target,path,group\n" + "".join(rows))
    return str(table)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 10)


@pytest.fixture(scope="module")
def first(data: Path, tmp_path_factory: pytest.TempPathFactory, no_plots: None) -> Path:
    return train(tiny_profile(data, tmp_path_factory.mktemp("first"), name="first")).run


@pytest.fixture(scope="module")
def second(data: Path, first: Path, tmp_path_factory: pytest.TempPathFactory, no_plots: None) -> TrainResult:
    table = _draw(tmp_path_factory.mktemp("scans") / "scans", ADDED_PAGES)
    options = {"data__add": [table], "model__checkpoint_path": str(first / "best.ckpt"), "train__epochs": 2}
    return train(tiny_profile(data, first.parent, name="second", **options))


def test_old_held_out_pages_stay_held_out_and_added_ones_choose_nothing(first: Path, second: TrainResult) -> None:
    before, after = Split.load(RunFolder(first).split), Split.load(RunFolder(second.run).split)
    old_val, new_val = (set(split.ids[split.parts == "val"]) for split in (before, after))
    assert old_val == new_val  # so no added page fits an epoch, a temperature or a threshold
    never = set(after.ids[after.parts == ADDED])
    assert 0.1 * ADDED_PAGES < len(never) < 0.3 * ADDED_PAGES
    assert not never & set(trained_ids(TrainedModel.load(second.run)).tolist())
    assert len(after.ids[after.parts == "train"]) == len(before.ids[before.parts == "train"]) + ADDED_PAGES - len(never)


def test_the_answer_is_in_words_with_paired_intervals(first: Path, second: TrainResult) -> None:
    learned = second.learned
    assert learned is not None
    assert learned.previous == first
    assert learned.new_classes == ("certificate",)
    assert learned.held_out_pages >= 30
    assert learned.added_pages + learned.held_out_pages == ADDED_PAGES
    assert learned.on_old_pages is not None and learned.on_old_pages.pages == 12
    assert learned.on_new_pages is not None and learned.on_new_pages.pages == learned.held_out_pages
    # The first run cannot know the new class, so the second is better where it occurs.
    assert learned.on_new_pages.low <= learned.on_new_pages.value <= learned.on_new_pages.high
    text = "\n".join(learned.sentences)
    assert f"{learned.held_out_pages} added pages are never trained on" in text
    assert "held-out pages of the data:" in text
    assert "of the added kind:" in text


def test_a_run_with_added_pages_is_evaluated_as_any_other(second: TrainResult) -> None:
    assert evaluate(second.run, split="val").scores.support == 12
    found = list((second.run / "predictions").glob(f"{stored_prefix(ADDED, 'plain')}-*.npz"))
    assert len(found) == 1


def test_few_added_pages_are_too_few_to_say(data: Path, first: Path, tmp_path: Path) -> None:
    table = _draw(tmp_path / "scans", 12)
    options = {"data__add": [table], "model__checkpoint_path": str(first / "best.ckpt"), "train__epochs": 1}
    learned = train(tiny_profile(data, tmp_path / "runs", **options)).learned
    assert learned is not None
    assert learned.on_new_pages is None
    assert any("too few to say" in line for line in learned.sentences)


def test_without_an_earlier_run_nothing_is_claimed(data: Path, tmp_path: Path) -> None:
    table = _draw(tmp_path / "scans", 8)
    learned = train(tiny_profile(data, tmp_path / "runs", data__add=[table], train__epochs=1)).learned
    assert learned is not None
    assert learned.on_old_pages is None
    assert any("--from" in line for line in learned.sentences)


def test_pages_that_trained_the_first_weights_are_not_held_out(data: Path, first: Path, tmp_path: Path) -> None:
    options = {"model__checkpoint_path": str(first / "best.ckpt"), "data__split_seed": 3}
    with pytest.raises(InputError, match="have trained"):
        train(tiny_profile(data, tmp_path / "runs", **options))


def test_sets_of_added_added_pages_are_found(data: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(3):
        page = Image.fromarray(rng.integers(0, 256, (90, 70), dtype=np.uint8)).resize((350, 450))
        for suffix in ("png", "jpg"):
            page.save(tmp_path / f"{number}.{suffix}", quality=80)
            rows.append(f"{number}.{suffix},form,{tmp_path}/{number}.{suffix},\n")
    (tmp_path / "damaged.png").write_bytes(b"x")
    rows.append(f"damaged.png,form,{tmp_path}/damaged.png,\n")
    (tmp_path / "a.csv").write_text("ID,target,path,group\n" + "".join(rows))
    config = DataConfig(root=str(data), add=(str(tmp_path / "a.csv"),))
    sets = sets_of_added(load_training_pages(config), config)
    assert sets[[0, 2, 4]].tolist() == sets[[1, 3, 5]].tolist()
    assert len(set(sets.tolist())) == 4


def test_folds_take_added_pages_as_well(data: Path, tmp_path: Path) -> None:
    table = _draw(tmp_path / "scans", 20)
    options = {"data__add": [table], "train__epochs": 1, "train__folds": 2, "data__degraded_validation": False}
    result = train(tiny_profile(data, tmp_path / "runs", **options))
    split = Split.load(RunFolder(result.run).split)
    assert set(split.names) <= {"fold-0", "fold-1", "train", ADDED}
    assert result.val.support == 30
