"""`docclf audit` as people run it, on pages with planted faults."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_process import Outcome
from PIL import Image

from docclf_cli.data.index.cells import from_cell
from docclf_cli.data.index.index import load_index
from docclf_cli.profile.load import dump_profile, load_profile
from docclf_cli.profile.schema import DataConfig
from docclf_cli.results.predictions import Predictions

Docclf = Callable[..., Outcome]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return [{name: from_cell(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


@pytest.fixture
def planted(pages: Path, tmp_path: Path) -> Path:
    """Sample pages with near duplicates (one with another label, one in test) and outliers among them."""
    root = tmp_path / "data"
    shutil.copytree(pages, root)
    train, test = rows_of(root / "train.csv"), rows_of(root / "test.csv")
    first, second = train[0], train[10]
    copy(root / "train" / first["ID"], root / "train" / "=copy.jpg", quality=30)
    copy(root / "train" / second["ID"], root / "test" / "leak.jpg", scale=0.6)
    (root / "train" / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    Image.new("RGB", (400, 560), (250, 250, 250)).save(root / "train" / "blank.png")
    Image.new("RGB", (40, 56), (250, 250, 250)).save(root / "train" / "small.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(root / "train" / train[20]["ID"]) as page:
        page.convert("RGB").rotate(90, expand=True).save(root / "train" / "turned.jpg", exif=exif)
    other = next(row["target"] for row in train if row["target"] != first["target"])
    train += [{"ID": "=copy.jpg", "target": other}]
    train += [{"ID": name, "target": "0"} for name in ("damaged.jpg", "blank.png", "small.png")]
    train += [{"ID": "turned.jpg", "target": train[20]["target"]}]
    write(root / "train.csv", train)
    write(root / "test.csv", [*test, {"ID": "leak.jpg", "target": second["target"]}])
    return root


def copy(source: Path, target: Path, scale: float = 1.0, quality: int = 90) -> None:
    with Image.open(source) as page:
        size = round(page.width * scale), round(page.height * scale)
        page.convert("RGB").resize(size).save(target, quality=quality)


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def folds_run(root: Path, run: Path, wrong: dict[str, str]) -> Path:
    """What a folds run leaves whose models know every page, and know that some labels are wrong."""
    run.mkdir(parents=True)
    index = load_index(DataConfig(root=str(root)), "train")
    seems = index.labels.copy()
    for name, label in wrong.items():
        seems[index.ids.tolist().index(name)] = index.class_names.index(label)
    probs = np.full((len(index), len(index.class_names)), 0.01)
    probs[np.arange(len(index)), seems] = 1 - 0.01 * (len(index.class_names) - 1)
    Predictions(
        index.ids.astype(np.str_), np.log(probs).astype(np.float32), index.class_names, index.labels
    ).save(run / "out_of_fold.npz")  # fmt: skip
    write(run / "split.csv", [{"ID": name, "split": f"fold-{row % 2}"} for row, name in enumerate(index.ids)])
    profile = load_profile("config", options={"data.root": str(root)}).profile
    (run / "profile.yaml").write_text(dump_profile(profile), encoding="utf-8")
    return run


def test_near_duplicates_and_outliers_are_found(docclf: Docclf, planted: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in planted.rglob("*")}
    outcome = docclf("audit", "--data", planted, "--set", "data.image_size=128", "--name", "look", "--json")
    assert outcome.code == 0, outcome.stderr
    found, train = outcome.json, rows_of(planted / "train.csv")
    pairs = [{pair["first"]["id"], pair["second"]["id"]} for pair in found["near_duplicates"]]
    assert pairs == [{train[0]["ID"], "=copy.jpg"}, {train[10]["ID"], "leak.jpg"}, {train[20]["ID"], "turned.jpg"}]
    assert [(pair["labels_differ"], pair["across_splits"]) for pair in found["near_duplicates"]] == [
        (True, False), (False, True), (False, False),
    ]  # fmt: skip
    outliers = {(page["id"], page["kind"]) for page in found["outliers"] if page["kind"] != "shape"}
    assert outliers == {
        ("damaged.jpg", "unreadable"), ("blank.png", "blank"), ("small.png", "blank"), ("small.png", "small"),
        ("turned.jpg", "rotated"),
    }  # fmt: skip
    assert found["labels"] is None
    assert found["pages"] == {"test": 21, "train": 65}
    assert found["imbalance"] == 9 / 6
    folder = tmp_path / "runs" / "look"
    assert {path.name for path in folder.iterdir()} == {
        "near_duplicates.png", "near_duplicates.csv", "outliers.csv", "classes.csv", "groups.csv", "summary.json",
    }  # fmt: skip
    with Image.open(folder / "near_duplicates.png") as sheet:
        assert sheet.size[0] == 4 * 166 + 6
    assert {path: path.stat().st_mtime_ns for path in planted.rglob("*")} == before


def test_groups_keep_near_duplicates_and_given_groups_together(docclf: Docclf, planted: Path, tmp_path: Path) -> None:
    train = rows_of(planted / "train.csv")
    ids = [row["ID"] for row in train]
    write(tmp_path / "old.csv", [{"ID": ids[0], "group": "a"}, {"ID": ids[1], "group": "a"}])
    outcome = docclf("audit", "--data", planted, "--set", "data.groups=old.csv", "--name", "look")
    assert outcome.code == 0, outcome.stderr
    groups = {row["ID"]: row["group"] for row in rows_of(tmp_path / "runs/look/groups.csv")}
    assert list(groups) == ids
    assert [groups[name] for name in (ids[0], ids[1], "=copy.jpg")] == ["a", "a", "a"]
    assert groups["turned.jpg"] == groups[ids[20]]
    assert len(set(groups.values())) == len(ids) - 3
    index = load_index(DataConfig(root=str(planted), groups=str(tmp_path / "runs/look/groups.csv")), "train")
    assert index.groups is not None
    assert index.groups.tolist() == list(groups.values())


def test_wrong_labels_become_an_overlay(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    index = load_index(DataConfig(root=str(pages)), "train")
    names = [str(name) for name in index.ids[[0, 20, 40]]]
    wrong = {
        name: index.class_names[(index.labels[row] + 1) % 10] for name, row in zip(names, (0, 20, 40), strict=True)
    }
    run = folds_run(pages, tmp_path / "runs" / "folds", wrong)
    first = docclf("audit", "--run", run, "--name", "look", "--json")
    assert first.code == 0, first.stderr
    labels = first.json["labels"]
    assert {one["id"]: one["suggested_label"] for one in labels["issues"]} == wrong
    assert labels["expected_issues"] == pytest.approx(3)
    relabel = tmp_path / "runs/look/relabel.csv"
    assert {row["ID"]: row["target"] for row in rows_of(relabel)} == wrong
    assert (tmp_path / "runs/look/label_issues.png").stat().st_size > 1000
    corrected = load_index(DataConfig(root=str(pages), relabel=str(relabel)), "train")
    assert np.flatnonzero(corrected.labels != index.labels).tolist() == [0, 20, 40]
    # People look, and find that the first label was right: it stays so, and the others are right now.
    write(relabel, [{"ID": names[0], "target": index.class_names[index.labels[0]]}, *rows_of(relabel)[1:]])
    again = docclf("audit", "--run", run, "--set", f"data.relabel={relabel}", "--name", "again", "--json")
    assert again.code == 0, again.stderr
    assert [(one["id"], one["in_relabel_file"]) for one in again.json["labels"]["issues"]] == [(names[0], True)]
    assert rows_of(tmp_path / "runs/again/relabel.csv") == rows_of(relabel)


@pytest.mark.parametrize(
    ("share", "why"), [(0.1, "not significantly better"), (0.6, "most labels that a model doubts")]
)
def test_a_model_that_knows_little_judges_no_label(
    docclf: Docclf, pages: Path, tmp_path: Path, share: float, why: str
) -> None:
    index = load_index(DataConfig(root=str(pages)), "train")
    rng = np.random.default_rng(3)
    seems = np.where(rng.random(len(index)) < share, index.labels, rng.permutation(index.labels))
    wrong = {str(name): index.class_names[label] for name, label in zip(index.ids, seems, strict=True)}
    run = folds_run(pages, tmp_path / "runs" / "folds", wrong)
    outcome = docclf("audit", "--run", run, "--name", "look", "--json")
    assert outcome.code == 0, outcome.stderr
    labels = outcome.json["labels"]
    assert why in labels["skipped_reason"]
    assert labels["agreement"] == pytest.approx((seems == index.labels).mean())
    assert (labels["expected_issues"], labels["issues"]) == (None, [])
    assert why in outcome.stderr
    assert not (tmp_path / "runs/look/relabel.csv").exists()
    assert "not checked by" in docclf("audit", "--run", run, "--name", "again").stdout


def test_tables_for_people(docclf: Docclf, planted: Path, tmp_path: Path) -> None:
    run = folds_run(planted, tmp_path / "runs" / "folds", {})
    outcome = docclf("audit", "--run", run, "--name", "look", env={"COLUMNS": "60"})
    assert outcome.code == 0, outcome.stderr
    for text in (
        "Pages by class",
        "Outliers",
        "Near duplicates: 3",
        "labels differ",
        "0 issues on 65 pages",
        "data.groups=runs/look",
    ):
        assert text in outcome.stdout
    lines = [line for line in outcome.stdout.splitlines() if not line.startswith("  docclf ")]  # whole, to be copied
    assert max(map(len, lines)) <= 60


def test_wrong_input_is_named_and_nothing_is_written(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    data = ("--data", pages)
    run = folds_run(pages, tmp_path / "runs" / "single", {})
    (run / "out_of_fold.npz").unlink()
    (tmp_path / "other.csv").write_text(f"ID,target\n{'x.jpg'},a\n", encoding="utf-8")
    cases = [
        (("--data", "nowhere"), "nowhere"),
        (("--run", "absent"), "absent"),
        (("--run", run), "folds"),
        ((*data, "--similarity", "1.5"), "--similarity"),
        ((*data, "--name", "../up"), "../up"),
        ((*data, "--name", "single"), "exists"),
        ((*data, "--name", "single", "--overwrite"), "not an audit"),
    ]
    before = names_in(tmp_path / "runs")
    for args, text in cases:
        outcome = docclf("audit", *args)
        assert (outcome.code, text in outcome.stderr) == (2, True), outcome.stderr
        assert "Traceback" not in outcome.stderr
    assert names_in(tmp_path / "runs") == before


def test_an_earlier_audit_is_replaced_only_when_asked(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    args = ("audit", "--data", pages, "--name", "look")
    assert docclf(*args).code == 0
    (tmp_path / "runs/look/mine.txt").write_text("x", encoding="utf-8")
    assert docclf(*args).code == 2
    assert (tmp_path / "runs/look/mine.txt").is_file()
    assert docclf(*args, "--overwrite").code == 0
    assert not (tmp_path / "runs/look/mine.txt").exists()
    assert names_in(tmp_path / "runs") == ["look"]


def test_pages_of_one_file_are_no_near_duplicates(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    first, second, third = sorted((pages / "train").iterdir())[:3]
    for name in ("x", "y"):
        (tmp_path / "data" / name).mkdir(parents=True)
    with Image.open(first) as page:
        page.convert("RGB").save(tmp_path / "data" / "x" / "a.pdf", save_all=True, append_images=[page.convert("RGB")])
    for number, path in enumerate((first, second, third)):
        copy(path, tmp_path / "data" / "y" / f"{number}.jpg", quality=60)
    assert docclf("audit", tmp_path / "data", "--name", "check").code == 0
    folder = tmp_path / "runs" / "check"
    pairs = {(row["first_id"], row["second_id"]) for row in rows_of(folder / "near_duplicates.csv")}
    assert pairs == {("x/a.pdf#1", "y/0.jpg"), ("x/a.pdf#2", "y/0.jpg")}
    groups = {row["ID"]: row["group"] for row in rows_of(folder / "groups.csv")}
    assert groups["x/a.pdf#1"] == groups["x/a.pdf#2"] == groups["y/0.jpg"] != groups["y/1.jpg"]
