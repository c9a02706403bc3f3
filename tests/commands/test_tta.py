"""`docclf tta` as people run it, on models that were never trained."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_process import Outcome
from member_runs import make_folds, make_run, untrained

from docclf_cli.data.index.splits import Split
from docclf_cli.results.predictions import Predictions

Docclf = Callable[..., Outcome]
# What the policy of these models trained: quarter turns, and tilts up to eight degrees.
TRAINED = ["identity", "rotation 90", "rotation 180", "rotation 270", "rotation 4", "rotation -4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pages: Path) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "a", pages, 3, val_fraction=0.8)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_view_by_view_and_merged(docclf: Docclf, run: Path, pages: Path) -> None:
    outcome = docclf("tta", "--checkpoint", run, "--json")
    assert outcome.code == 0, outcome.stderr
    result = outcome.json
    assert [line["name"] for line in result["views"]] == result["merged_views"] == TRAINED
    assert result["views"][0]["test"]["difference"] is None
    plain = result["views"][0]["test"]["metrics"]["f1_macro"]["value"]
    for line in (*result["views"][1:], result["merged"]):
        value = line["test"]["metrics"]["f1_macro"]["value"]
        assert line["test"]["difference"]["value"] == pytest.approx(value - plain)
        assert line["held_out"]["pages"] == 50
    assert result["merged"]["name"] == "mean of 6 views"
    folder = run / "tta" / "test"
    submission = rows_of(folder / "tta_predictions.csv")
    assert [row["ID"] for row in submission] == [row["ID"] for row in rows_of(pages / "test.csv")]
    stored = [Predictions.load(path) for path in sorted((run / "predictions").glob("*test-*.npz"))]
    assert len(stored) == 6
    mean = np.mean([one.probs() for one in stored], axis=0)
    numbers = {row["class_name"]: row["target"] for row in rows_of(pages / "meta.csv")}
    assert [row["target"] for row in submission] == [numbers[stored[0].class_names[k]] for k in mean.argmax(axis=1)]
    truth = {row["ID"]: row["target"] for row in rows_of(pages / "test.csv")}
    right = np.mean([truth[row["ID"]] == row["target"] for row in submission])
    assert result["merged"]["test"]["metrics"]["accuracy"]["value"] == pytest.approx(right)
    meta = json.loads((folder / "tta_predictions_meta.json").read_text())
    assert meta["merged_views"] == TRAINED


def test_an_unreadable_held_out_page_is_left_out_of_metrics(
    docclf: Docclf, run: Path, pages: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(pages, tmp_path / "data"))
    split = Split.load(run / "split.csv")
    broken = str(split.ids[split.parts == "val"][3])
    (data / "train" / broken).write_bytes(b"")
    copy = shutil.copytree(run, tmp_path / "copy")
    args = ("tta", "--checkpoint", copy, "--data", data, "--split", "val", "--prune", "--json")
    outcome = docclf(*args)
    assert outcome.code == 0, outcome.stderr
    assert (outcome.json["pages"], outcome.json["unreadable"]) == (50, 1)
    assert {line["held_out"]["pages"] for line in (*outcome.json["views"], outcome.json["merged"])} == {49}
    assert "1 of the 50 pages cannot be read and are not scored." in outcome.json["notes"]
    (written,) = (copy / "tta").glob("val*/tta_predictions.csv")
    assert [row["ID"] for row in rows_of(written) if not row["target"]] == [broken]


def test_pruning_is_decided_on_held_out_pages(docclf: Docclf, run: Path, pages: Path, tmp_path: Path) -> None:
    args = ("tta", "--checkpoint", run, "--prune", "--json")
    outcome = docclf(*args)
    assert outcome.code == 0, outcome.stderr
    kept, dropped = outcome.json["merged_views"], outcome.json["pruned_views"]
    assert sorted(kept + dropped) == sorted(TRAINED)
    assert dropped
    merged = outcome.json["merged"]
    assert any("are nested" in note for note in outcome.json["notes"])
    degrees = ", ".join(name.split()[1] for name in kept if name != "identity")
    listed = f"[{{type: rotation, degrees: [{degrees}]}}]"
    args_of_kept = ("--set", f"ensemble.tta.augmentations={listed}")
    if "identity" not in kept:
        args_of_kept += ("--set", "ensemble.tta.include_identity=false")
    same_views = docclf("tta", "--checkpoint", run, "--json", *args_of_kept).json["merged"]
    assert same_views["test"]["metrics"] == merged["test"]["metrics"]
    # The pages that chose the views make them look better than pages that did not.
    assert merged["held_out"]["metrics"]["f1_macro"]["value"] < same_views["held_out"]["metrics"]["f1_macro"]["value"]
    assert merged["held_out"]["pages"] == same_views["held_out"]["pages"] == 50
    # Labels of test pages change what is reported, and nothing that is chosen.
    data = Path(shutil.copytree(pages, tmp_path / "data"))
    rows = rows_of(data / "test.csv")
    (data / "test.csv").write_text("ID,target\n" + "".join(f"{row['ID']},{9 - int(row['target'])}\n" for row in rows))
    other = docclf(*args, "--data", data)
    assert other.json["merged_views"] == kept
    assert other.json["merged"]["test"] != merged["test"]


def test_merging_and_views_of_a_profile(docclf: Docclf, run: Path) -> None:
    views = (
        "ensemble.tta.augmentations=[{type: color_jitter, brightness: 0.1}, {type: horizontal_flip, probability: 1}]"
    )
    outcome = docclf(
        "tta", "--checkpoint", run, "--set", views, "--merge", "gmean", "--set", "ensemble.tta.include_identity=false", "--json"
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["merged_views"] == [
        "color_jitter brightness 1.1",
        "color_jitter brightness 0.9",
        "horizontal_flip",
    ]
    assert [line["name"] for line in outcome.json["views"]] == ["identity", *outcome.json["merged_views"]]
    assert outcome.json["merged"]["name"] == "gmean of 3 views"
    assert "no effect" in outcome.stderr


def test_a_folds_run_and_a_lone_checkpoint(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    folds = make_folds(tmp_path / "f", pages, 3, 4)
    outcome = docclf("tta", "--checkpoint", folds, "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["merged"]["held_out"]["pages"] == 60
    assert (folds / "tta" / "test" / "tta_predictions.csv").is_file()
    untrained(pages, 3).save(tmp_path / "x" / "lone.ckpt")
    lone = docclf("tta", "--checkpoint", tmp_path / "x" / "lone.ckpt", "--json")
    assert lone.code == 0, lone.stderr
    assert lone.json["merged"]["held_out"] is None
    assert lone.json["merged"]["test"]["pages"] == 20
    refused = docclf("tta", "--checkpoint", tmp_path / "x" / "lone.ckpt", "--prune")
    assert (refused.code, "--prune" in refused.stderr) == (2, True)


def test_tables_tell_what_is_best(docclf: Docclf, run: Path) -> None:
    outcome = docclf("tta", "--checkpoint", run)
    assert outcome.code == 0, outcome.stderr
    for text in (
        "50 held-out pages",
        "20 test pages",
        "rotation 270",
        "mean of 6 views",
        "compared with the unchanged page",
    ):
        assert text in outcome.stdout


def test_wrong_input_is_named(docclf: Docclf, run: Path) -> None:
    for args, code, text in (
        (("--checkpoint", "absent"), 4, "absent"),
        (("--checkpoint", run, "--split", "train"), 2, "'train'"),
        (("--checkpoint", run, "--merge", "median"), 2, "merge"),
        (("--checkpoint", run, "--fill", "nonsense"), 2, "nonsense"),
        (
            ("--checkpoint", run, "--set", "ensemble.tta.augmentations=[{type: flip}]"),
            2,
            "ensemble.tta.augmentations.0.type",
        ),
        (
            (
                "--checkpoint",
                run,
                "--set",
                "ensemble.tta.augmentations=[]",
                "--set",
                "ensemble.tta.include_identity=false",
            ),
            2,
            "no view",
        ),
    ):
        outcome = docclf("tta", *args)
        assert (outcome.code, text in outcome.stderr) == (code, True), (args, outcome.stderr)
        assert "Traceback" not in outcome.stderr
