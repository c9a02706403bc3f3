"""`docclf class-report` as people run it."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cli_process import CliProcess, Outcome
from prediction_cases import naming
from rich.cells import cell_len

from docclf_cli.results.predictions import Predictions

Docclf = Callable[..., Outcome]


@pytest.fixture(scope="module")
def trained(
    pages: Path, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory, cache_home: Path
) -> tuple[Path, Outcome]:
    """A folder with `runs/a`, and what `train` said."""
    folder = tmp_path_factory.mktemp("trained")
    args = ("train", "--data", str(pages), *tiny, "--epochs", "1", "--name", "a", "--json")
    outcome = CliProcess(args, folder, {"XDG_CACHE_HOME": str(cache_home), "COLUMNS": "120"}).wait()
    assert outcome.code == 0, outcome.stderr
    return folder, outcome


@pytest.fixture
def run(trained: tuple[Path, Outcome], tmp_path: Path) -> Path:
    """A run of the test's own."""
    return Path(shutil.copytree(trained[0] / "runs" / "a", tmp_path / "runs" / "a"))


def test_the_newest_run_class_by_class(docclf: Docclf, run: Path, trained: tuple[Path, Outcome]) -> None:
    refused = docclf("class-report")  # one epoch taught it nothing
    assert (refused.code, "no finished run below runs is better than chance" in refused.stderr) == (2, True)
    state = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(state | {"no_better_than_chance": False}))
    outcome = docclf("class-report", "--json")
    assert outcome.code == 0, outcome.stderr
    assert "the newest finished run: runs/a" in outcome.stderr
    assert outcome.json["scores"] == trained[1].json["val"]
    assert len(outcome.json["gaps"]) == 10
    names = [Path(name).name for name in outcome.json["files"]]
    plots = {"val_class_performance.png", "confusion_matrix.png", "train_val_comparison.png"}
    assert {"val_class_metrics.csv", *plots} <= set(names)
    folder = run / "class-report" / "val"
    assert all((folder / name).is_file() for name in names)
    with (folder / "val_class_metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    recalls = {row["name"]: row["accuracy"]["value"] for row in outcome.json["scores"]["classes"]}
    assert {row["class"]: float(row["accuracy"]) for row in rows} == pytest.approx(recalls)


def test_stored_predictions_need_neither_model_nor_torch(run: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from docclf_cli.app import app\n"
        "app(['class-report', 'runs/a', '--html', '--no-thumbnails', '--json', '--quiet'], standalone_mode=False)\n"
        "print([name for name in ('torch', 'timm', 'sklearn', 'wandb', 'boto3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_split_without_predictions_is_predicted_once(docclf: Docclf, run: Path) -> None:
    first = docclf("class-report", "runs/a", "--split", "test", "--html", "--json")
    assert first.code == 0, first.stderr
    assert first.json["scores"]["support"] == 20
    (stored,) = (run / "predictions").glob("test-*.npz")
    written = stored.stat().st_mtime_ns
    again = docclf("class-report", "runs/a", "--split", "test", "--html", "--json")
    assert again.json == first.json
    assert stored.stat().st_mtime_ns == written
    page = (run / "class-report" / "test" / "report.html").read_text()
    assert page.count("data:image/jpeg") == 20
    assert "<h2>Profile</h2>" in page
    assert "test_resnet" in page


def test_heat_maps_of_mistakes_and_of_the_surest_pages(docclf: Docclf, run: Path) -> None:
    outcome = docclf("class-report", "runs/a", "--explain", "--json")
    assert outcome.code == 0, outcome.stderr
    page = (run / "class-report" / "val" / "report.html").read_text()
    records = json.loads(page.partition('id="data">')[2].partition("</script>")[0])["pages"]
    for record in records:
        assert ("heat" in record) == (record["target"] != record["predicted"] or record.get("surest", False))
        assert record.get("heat") != record["image"]
    surest = [record for record in records if record.get("surest")]
    right = {record["target"] for record in records if record["target"] == record["predicted"]}
    assert {record["target"] for record in surest} == right
    assert len(surest) == len(right)
    assert "What speaks for each class" in page
    for args, text in (
        (("--predictions", "x.npz"), "--explain needs the model"),
        (("runs/a", "--no-thumbnails"), "--explain shows pages"),
    ):
        refused = docclf("class-report", *args, "--explain")
        assert (refused.code, text in refused.stderr) == (2, True), refused.stderr


def test_tables_for_people(docclf: Docclf, run: Path) -> None:
    outcome = docclf("class-report", "runs/a", env={"COLUMNS": "80"})
    assert outcome.code == 0, outcome.stderr
    for text in ("accuracy is recall", "Most confused", "Over-fitting", "macro-F1", "val_class_metrics.csv"):
        assert text in outcome.stdout
    assert max(map(len, outcome.stdout.splitlines())) <= 80
    assert re.search(r" \.\d\d \.\d\d–1?\.\d\d", outcome.stdout)  # an interval stays in one piece


def test_one_class_by_name_and_by_index(docclf: Docclf, run: Path) -> None:
    by_name = docclf("class-report", "runs/a", "--class", "invoice", "--json")
    assert by_name.code == 0, by_name.stderr
    assert by_name.json["row"]["name"] == "invoice"
    by_index = docclf("class-report", "runs/a", "--class", by_name.json["index"], "--json")
    assert by_index.json == by_name.json
    shown = docclf("class-report", "runs/a", "--class", "invoice")
    assert "recall" in shown.stdout
    assert not (run / "class-report").exists()


def test_a_file_of_predictions(docclf: Docclf, tmp_path: Path) -> None:
    pages = naming([0, 0, 1], [0, 1, 1], 2)
    replace(pages, class_names=("=1+1", "영수증")).save(tmp_path / "mine.npz")
    outcome = docclf("class-report", "--predictions", "mine.npz", "--html", "--json")
    assert outcome.code == 0, outcome.stderr
    folder = tmp_path / "class-report" / "mine"
    assert {path.name for path in folder.iterdir()} >= {"report.html", "mine_class_metrics.csv", "confusion_matrix.png"}
    assert (folder / "mine_class_metrics.csv").read_text().splitlines()[1].startswith("'=1+1,2,")
    assert not (folder / "train_val_comparison.png").exists()
    named = docclf("class-report", "--predictions", "mine.npz", "--class", "1", "--json")
    assert named.json["row"]["name"] == "영수증"


def test_the_page_is_opened_in_the_browser_or_its_place_is_said(docclf: Docclf, run: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    outcome = docclf("class-report", "runs/a", "--open", "--no-thumbnails", env={"BROWSER": f"{browser} %s"})
    assert outcome.code == 0, outcome.stderr
    page = run / "class-report" / "val" / "report.html"
    assert (tmp_path / "opened").read_text().strip() == page.as_uri()
    without = {"BROWSER": None, "DISPLAY": None, "WAYLAND_DISPLAY": None, "PATH": "/nowhere"}
    outcome = docclf("class-report", "runs/a", "--open", "--no-thumbnails", env=without)
    assert outcome.code == 0, outcome.stderr
    assert "no browser was found: open runs/a/class-report/val/report.html yourself" in outcome.stderr


def test_tables_are_korean_where_asked_for_and_json_never_is(docclf: Docclf, run: Path) -> None:
    korean = docclf("class-report", "runs/a", "--lang", "ko", env={"COLUMNS": "80"})
    assert korean.code == 0, korean.stderr
    for word in ("클래스", "정확도", "F1 점수", "손실", "샘플 수"):
        assert word in korean.stdout
    assert max(map(cell_len, korean.stdout.splitlines())) <= 80
    by_environment = docclf("class-report", "runs/a", env={"COLUMNS": "80", "LC_ALL": "ko_KR.UTF-8"})
    assert by_environment.stdout == korean.stdout
    english = docclf("class-report", "runs/a", "--lang", "en", env={"LC_ALL": "ko_KR.UTF-8"})
    assert "accuracy" in english.stdout
    as_json = docclf("class-report", "runs/a", "--lang", "ko", "--json").stdout
    assert as_json == docclf("class-report", "runs/a", "--json").stdout
    wrong = docclf("class-report", "runs/a", "--lang", "kr")
    assert (wrong.code, "'kr' is not one of en, ko" in wrong.stderr) == (2, True)


def test_pages_that_cannot_be_shown_are_counted(docclf: Docclf, run: Path, pages: Path, tmp_path: Path) -> None:
    (stored,) = (run / "predictions").glob("val-*.npz")
    known = Predictions.load(stored)
    missing = replace(known, ids=known.ids.astype("U40"))
    missing.ids[0] = "not-there.jpg"
    missing.save(tmp_path / "mine.npz")
    outcome = docclf("class-report", "--predictions", "mine.npz", "--data", pages, "--html")
    assert outcome.code == 0, outcome.stderr
    assert f"1 of {len(known)} pages have no thumbnail" in outcome.stderr
    text = (tmp_path / "class-report" / "mine" / "report.html").read_text()
    assert text.count("data:image/jpeg") == len(known) - 1


def test_wrong_use_is_named(docclf: Docclf, run: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    cases = [
        (("runs/absent",), 4, "absent"),
        (("runs/a", "--split", "tset"), 2, "'tset'"),
        (("runs/a", "--class", "invoce"), 2, "did you mean 'invoice'"),
        (("runs/a", "--class", "10"), 2, "index from 0 to 9"),
        (("--predictions", "bad.npz"), 2, "bad.npz"),
        (("bad.npz",), 2, "--predictions"),
        (("runs/a", "--predictions", "bad.npz"), 2, "both given"),
        (("runs/a", "--class", "invoice", "--html"), 2, "--html"),
        (("runs/a", "--no-thumbnails"), 2, "--html"),
        (("--output", "elsewhere"), 2, "no finished run below elsewhere"),
    ]
    for args, code, text in cases:
        outcome = docclf("class-report", *args)
        assert (outcome.code, text in outcome.stderr) == (code, True), outcome.stderr
        assert "Traceback" not in outcome.stderr
        assert outcome.stdout == ""
