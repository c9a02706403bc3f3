"""Which pages a model is scored on, and on which it is refused."""

import csv
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from member_runs import make_folds, make_run
from PIL import Image, ImageOps

from docclf_cli.data.index.splits import Split
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.evaluate.evaluate import EvaluateOptions, evaluate

ONE_PROCESS = RuntimeConfig(workers=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_samples(tmp_path_factory.mktemp("pages") / "data", pages_per_class=5, test_pages_per_class=2)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_csv_that_was_trained_on_is_not_a_test(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", root / "train.csv", seed=1)
    with pytest.raises(InputError, match="has no separate test split, and 40 of its 50 pages"):
        evaluate(run, "test", runtime_config=ONE_PROCESS)
    # The same file under another root: its images are the ones that were trained on.
    of_root = make_run(tmp_path / "of_root", root, seed=1)
    with pytest.raises(InputError, match="has no separate test split"):
        evaluate(of_root, data=str(root / "train.csv"), runtime_config=ONE_PROCESS)


def test_other_pages_of_the_same_names_are_scored_with_a_warning(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path / "run", root, seed=1)
    shutil.copytree(root / "train", tmp_path / "scans")
    for page in (tmp_path / "scans").iterdir():
        ImageOps.invert(Image.open(page).convert("RGB")).save(page)
    write_rows(tmp_path / "scans.csv", rows_of(root / "train.csv")[:20])
    shutil.copy(root / "meta.csv", tmp_path)
    with caplog.at_level(logging.WARNING, "docclf"):
        result = evaluate(run, data=str(tmp_path / "scans.csv"), runtime_config=ONE_PROCESS)
    assert "have the names of pages that trained" in caplog.text
    assert (result.split, result.scores.support) == ("test", 20)
    assert result.files[0] == run / "evaluate" / "test-scans" / "predictions.csv"
    # Another data set of that name has results of its own.
    (tmp_path / "b").mkdir()
    for name in ("scans", "scans.csv", "meta.csv"):
        (tmp_path / name).rename(tmp_path / "b" / name)
    before = result.files[0].read_bytes()
    other = evaluate(run, data=str(tmp_path / "b" / "scans.csv"), runtime_config=ONE_PROCESS)
    assert other.files[0].parent.name.startswith("test-scans-")
    assert result.files[0].read_bytes() == before


def test_copies_of_training_pages_are_not_test_pages(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path / "run", root, seed=1)
    split = Split.load(RunFolder(run).split)
    copied = {name: f"scan-{row}.jpg" for row, name in enumerate(split.ids[split.parts == "train"][:4].tolist())}
    other = Path(shutil.copytree(root, tmp_path / "other"))
    label_of = {row["ID"]: row["target"] for row in rows_of(root / "train.csv")}
    for place, (name, new) in enumerate(copied.items()):
        shutil.copy(root / "train" / name, other / "test" / new)
        if place % 2:  # the same picture in another file
            Image.open(root / "train" / name).save(other / "test" / new, quality=70)
    rows = [{"ID": new, "target": label_of[name]} for name, new in copied.items()]
    # A data set with test pages of its own: the copies among them are left out.
    write_rows(other / "test.csv", [*rows, *rows_of(root / "test.csv")])
    with caplog.at_level(logging.WARNING, "docclf"):
        result = evaluate(run, data=str(other), runtime_config=ONE_PROCESS)
    assert f"4 of its 24 pages (such as scan-0.jpg, a copy of {root / 'train' / next(iter(copied))})" in caplog.text
    assert result.scores.support == 20
    # Nothing but copies, or a table without a separate test split: refused.
    write_rows(other / "test.csv", rows)
    for data in (other, other / "test.csv"):
        with pytest.raises(InputError, match=r"4 of its 4 pages \(such as scan-0\.jpg, a copy of .*\) trained"):
            evaluate(run, data=str(data), runtime_config=ONE_PROCESS)


def test_folders_of_a_tree_may_use_names_twice(root: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for split in ("train", "test"):
        for number, row in enumerate(rows_of(root / f"{split}.csv")):
            place = tree / split / f"class{row['target']}"
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / split / row["ID"], place / f"{number % 2 if split == 'test' else number}.jpg")
    run = make_run(tmp_path / "run", tree, seed=1)
    assert evaluate(run, "test", runtime_config=ONE_PROCESS).scores.support == len(list(tree.glob("test/*/*")))


def test_classes_are_matched_by_name_and_rows_keep_their_order(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", root, seed=1)
    expected = evaluate(run, "test", runtime_config=ONE_PROCESS).scores
    other = Path(shutil.copytree(root, tmp_path / "other"))
    meta = rows_of(root / "meta.csv")
    number = {row["target"]: str(len(meta) - 1 - int(row["target"])) for row in meta}
    write_rows(other / "meta.csv", [{**row, "target": number[row["target"]]} for row in reversed(meta)])
    mixed = [{**row, "target": number[row["target"]]} for row in rows_of(root / "test.csv")[::-1]]
    write_rows(other / "test.csv", mixed)
    result = evaluate(run, data=str(other), runtime_config=ONE_PROCESS)
    assert result.scores.metrics["accuracy"] == expected.metrics["accuracy"]
    assert {row.name: row.accuracy for row in result.scores.classes} == {
        row.name: row.accuracy for row in expected.classes
    }
    written = rows_of(result.files[0])
    assert [row["ID"] for row in written] == [row["ID"] for row in mixed]


def test_images_of_a_csv_may_lie_elsewhere(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", root, seed=1)
    write_rows(tmp_path / "some.csv", rows_of(root / "test.csv")[:5])
    shutil.copy(root / "meta.csv", tmp_path)
    result = evaluate(run, data=str(tmp_path / "some.csv"), images=str(root / "test"), runtime_config=ONE_PROCESS)
    assert result.scores.support == 5


def test_pages_without_labels_are_not_scored(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", root, seed=1)
    (tmp_path / "bare").mkdir()
    shutil.copy(next((root / "test").iterdir()), tmp_path / "bare")
    with pytest.raises(InputError, match="no labels"):
        evaluate(run, data=str(tmp_path / "bare"), runtime_config=ONE_PROCESS)


def test_runs_are_compared_where_both_hold_out(root: Path, tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one", root, seed=1), make_run(tmp_path / "two", root, seed=2)
    split = Split.load(RunFolder(two).split)
    mine = np.flatnonzero(split.parts == "val")
    moved = split.parts.copy()
    moved[mine[:4]], moved[np.flatnonzero(split.parts == "train")[:4]] = "train", "val"
    replace(split, parts=moved).save(RunFolder(two).split)
    result = evaluate(one, options=EvaluateOptions(compare=two), runtime_config=ONE_PROCESS)
    assert result.comparison is not None
    assert (result.comparison.pages, result.comparison.left_out) == (len(mine) - 4, 4)
    folds = make_folds(tmp_path / "folds", root, 2, seed=3)
    against = evaluate(one, options=EvaluateOptions(compare=folds), runtime_config=ONE_PROCESS).comparison
    assert against is not None
    assert (against.pages, against.left_out) == (len(mine), 0)


@pytest.mark.slow
def test_corruptions_are_drawn_from_the_pages_of_each_fold(root: Path, tmp_path: Path) -> None:
    folds = make_folds(tmp_path / "folds", root, 2, seed=3)
    asked = EvaluateOptions(degrade=True, limit=12)
    corruptions = evaluate(folds, options=asked, runtime_config=ONE_PROCESS).corruptions
    assert corruptions is not None
    assert (corruptions.pages, corruptions.total_pages) == (12, 50)
    split, seen = Split.load(RunFolder(folds).split), 0
    for number in range(2):
        (path, *_) = (folds / f"fold-{number}" / "predictions").glob("viewed-val-*.npz")
        ids = Predictions.load(path).ids
        assert set(ids) <= set(split.ids[split.parts == f"fold-{number}"])
        seen += len(ids)
    assert seen == 12


def test_a_threshold_needs_no_pages_where_predictions_are_kept(root: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(root, tmp_path / "moved"))
    run = make_run(tmp_path / "run", moved, seed=1)
    asked = EvaluateOptions(target_precision=0.9)
    first = evaluate(run, data=str(root), options=asked, runtime_config=ONE_PROCESS).confidence_threshold
    shutil.rmtree(moved)
    again = evaluate(run, data=str(root), options=asked, runtime_config=ONE_PROCESS).confidence_threshold
    assert first is not None
    assert again is not None
    assert (again.held_out.pages, again.held_out.value, again.includes_degraded) == (
        first.held_out.pages,
        first.held_out.value,
        True,
    )
