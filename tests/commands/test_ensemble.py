"""`docclf ensemble` as people run it, on models that were never trained."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cli_process import CliProcess, Outcome
from member_runs import make_folds, make_run, untrained, with_shuffled_classes

from docclf_cli.data.index.splits import Split
from docclf_cli.ensembling.combine import COMBINERS
from docclf_cli.results.predictions import Predictions

Docclf = Callable[..., Outcome]
METHODS = ["voting", "averaging", "weighted", "auto_weights", "greedy", "stacking"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, pages: Path) -> Path:
    """Runs a, b (other classes' order) and c with the same 50 held-out pages, folds f and g, snapshots in a."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate("abc"):
        make_run(folder / name, pages, seed, val_fraction=0.8)
    with_shuffled_classes(untrained(pages, 1)).save(folder / "b" / "best.ckpt")
    for seed, name in enumerate("fg", 5):
        make_folds(folder / name, pages, 3, seed)
    for epoch in (2, 4):
        untrained(pages, 10 + epoch).save(folder / "a" / "snapshots" / f"epoch-000{epoch}.ckpt")
    return folder


def members(runs: Path, names: str) -> list[object]:
    return [part for name in names for part in ("--members", runs / name)]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_all_methods_side_by_side(docclf: Docclf, runs: Path, pages: Path, tmp_path: Path) -> None:
    outcome = docclf("ensemble", *members(runs, "abc"), "--method", "all", "--name", "e", "--json")
    assert outcome.code == 0, outcome.stderr
    result = outcome.json
    assert [line["name"] for line in result["methods"]] == METHODS
    assert {line["name"] for line in result["members"]} == set("abc")
    assert all(line["held_out"]["pages"] == 50 and line["test"]["pages"] == 20 for line in result["methods"])
    alone = {line["name"]: line["held_out"]["metrics"]["f1_macro"]["value"] for line in result["members"]}
    assert alone[result["best_member"]] == max(alone.values())
    combined = {line["name"]: line["held_out"]["metrics"]["f1_macro"]["value"] for line in result["methods"]}
    assert combined[result["method"]] == max(combined.values())
    for line in (*result["members"], *result["methods"]):
        known = None if line["name"] == result["best_member"] else pytest.approx(
            line["held_out"]["metrics"]["f1_macro"]["value"] - alone[result["best_member"]]
        )  # fmt: skip
        assert (line["held_out"]["difference"] or {}).get("value") == known
    assert result["method"] in result["advice"]
    assert result["disagreement"][0][0] == 0
    run = tmp_path / "runs" / "e"
    assert [row["ID"] for row in rows_of(run / "ensemble_predictions.csv")] == [
        r["ID"] for r in rows_of(pages / "test.csv")
    ]
    meta = json.loads((run / "ensemble_predictions_meta.json").read_text())
    assert len({one["checkpoints"][0]["sha256"] for one in meta["members"]}) == 3
    assert meta["method"] == result["method"]
    assert meta["scores"]["methods"] == result["methods"]


def test_averaging_is_the_mean_whatever_the_order_of_classes(
    docclf: Docclf, runs: Path, pages: Path, tmp_path: Path
) -> None:
    first = docclf("ensemble", *members(runs, "ab"), "--name", "e", "--json")
    assert first.code == 0, first.stderr
    again = docclf("ensemble", *members(runs, "ba"), "--name", "f", "--json")
    assert again.json["methods"] == first.json["methods"]
    found = [Predictions.load(tmp_path / "runs" / name / "predictions" / "test.npz") for name in "ef"]
    columns = [found[1].class_names.index(name) for name in found[0].class_names]
    np.testing.assert_allclose(found[0].probs(), found[1].probs()[:, columns], atol=1e-6)
    stored = {name: next((runs / name / "predictions").glob("test-*.npz")) for name in "ab"}
    alone = [Predictions.load(path) for path in stored.values()]
    columns = [alone[1].class_names.index(name) for name in alone[0].class_names]
    mean = (alone[0].probs() + alone[1].probs()[:, columns]) / 2
    mean = mean[:, [alone[0].class_names.index(name) for name in found[0].class_names]]
    np.testing.assert_allclose(found[0].probs(), mean, atol=1e-6)
    numbers = {row["class_name"]: row["target"] for row in rows_of(pages / "meta.csv")}
    expected = [numbers[found[0].class_names[row]] for row in mean.argmax(axis=1)]
    assert [row["target"] for row in rows_of(tmp_path / "runs" / "e" / "ensemble_predictions.csv")] == expected
    probabilities = rows_of(tmp_path / "runs" / "e" / "ensemble_probabilities.csv")
    assert float(probabilities[3][found[0].class_names[2]]) == pytest.approx(mean[3, 2], abs=1e-5)


def test_asking_again_runs_no_model_and_imports_no_torch(docclf: Docclf, runs: Path, tmp_path: Path) -> None:
    options = ("--set", "ensemble.tta.enabled=true")
    assert docclf("ensemble", *members(runs, "ac"), *options).code == 0
    args = [str(part) for part in ("docclf", "ensemble", *members(runs, "ac"), *options, "--method", "voting")]
    code = (
        f"import sys; sys.argv = {args!r}\nfrom docclf_cli.app import _run, app\n"
        "code = _run(app); print(code, [name for name in ('torch', 'timm') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "0 []", shown.stderr


def test_views_are_written_beside_the_plain_predictions(docclf: Docclf, runs: Path, tmp_path: Path) -> None:
    outcome = docclf("ensemble", *members(runs, "ac"), "--set", "ensemble.tta.enabled=true", "--name", "e", "--json")
    plain = docclf("ensemble", *members(runs, "ac"), "--name", "plain", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["tta"]["name"] == "averaging with views"
    assert set(outcome.json["precision"].values()) == {"fp32"}
    assert outcome.json["methods"] == plain.json["methods"]
    files = [tmp_path / "runs" / name / "ensemble_predictions.csv" for name in ("e", "plain")]
    assert files[0].read_text() == files[1].read_text()
    seen = tmp_path / "runs" / "e" / "tta_predictions.csv"
    assert [row["ID"] for row in rows_of(seen)] == [row["ID"] for row in rows_of(files[0])]
    assert seen.read_text() != files[0].read_text()
    assert not (tmp_path / "runs" / "plain" / "tta_predictions.csv").exists()


SEED = """
ensemble:
  enabled: true
  method: "{method}"  # voting, averaging, weighted, stacking
  models:
    - name: "resnet50"
      checkpoint_path: "{runs}/a/best.ckpt"
      weight: 0.4
    - name: "vit"
      checkpoint_path: "{runs}/b/best.ckpt"
      weight: 0.6

  # 테스트 타임 증강 설정
  tta:
    enabled: true
    augmentations:
      - type: "horizontal_flip"
        probability: 0.5
      - type: "rotation"
        degrees: [90, 180, 270]
"""


def test_the_file_of_the_seed_framework(docclf: Docclf, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "ensemble.yaml").write_text(SEED.format(method="weighted", runs=runs), encoding="utf-8")
    outcome = docclf("ensemble", "--method", "weighted", "--name", "e", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["methods"][0]["weights"] == {"resnet50": pytest.approx(0.4), "vit": pytest.approx(0.6)}
    assert "ensemble.enabled has no effect" in outcome.stderr
    assert "`probability` has no effect" in outcome.stderr
    assert (tmp_path / "runs" / "e" / "tta_predictions.csv").is_file()
    again = docclf("ensemble", "--profile", "runs/e/profile.yaml", "--name", "again", "--json")
    assert again.code == 0, again.stderr
    assert again.json["methods"] == outcome.json["methods"]


def test_a_folds_run_is_one_member_among_others(docclf: Docclf, runs: Path) -> None:
    outcome = docclf("ensemble", *members(runs, "fg"), "--method", "stacking", "--json")
    assert outcome.code == 0, outcome.stderr
    assert [line["held_out"]["pages"] for line in outcome.json["members"]] == [60, 60]
    mixed = docclf("ensemble", *members(runs, "fa"), "--json")
    assert [line["held_out"]["pages"] for line in mixed.json["members"]] == [50, 50]


def test_the_folds_of_a_run_alone(docclf: Docclf, runs: Path, tmp_path: Path) -> None:
    outcome = docclf("ensemble", *members(runs, "f"), "--method", "all", "--name", "e", "--json")
    assert outcome.code == 0, outcome.stderr
    assert [line["name"] for line in outcome.json["members"]] != []
    assert {line["name"] for line in outcome.json["members"]} == {"fold-0", "fold-1", "fold-2"}
    assert [line["name"] for line in outcome.json["methods"]] == METHODS[:3]
    assert outcome.json["method"] == "averaging"
    assert any("auto_weights, greedy, stacking" in note for note in outcome.json["notes"])
    fitted = docclf("ensemble", *members(runs, "f"), "--method", "stacking")
    assert (fitted.code, "no page that all members hold out" in fitted.stderr) == (2, True)
    assert "--folds 5" in fitted.stderr


def test_snapshots_of_a_run(docclf: Docclf, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(f"ensemble:\n  models:\n    - {{run: {runs / 'a'}, use: snapshots}}\n")
    outcome = docclf("ensemble", "--profile", "e.yaml", "--method", "greedy", "--json")
    assert outcome.code == 0, outcome.stderr
    assert {line["name"] for line in outcome.json["members"]} == {"a epoch-0002", "a epoch-0004"}


def test_unlabelled_pages_and_their_order(docclf: Docclf, runs: Path, pages: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(pages, tmp_path / "data"))
    ids = [row["ID"] for row in rows_of(data / "test.csv")][::-1]
    (data / "test.csv").unlink()
    (data / "sample_submission.csv").write_text("ID,target\n" + "".join(f"{name},0\n" for name in ids))
    outcome = docclf("ensemble", *members(runs, "ab"), "--data", data, "--name", "e", "--method", "greedy", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["methods"][0]["test"] is None
    assert outcome.json["methods"][0]["held_out"]["pages"] == 50
    assert [row["ID"] for row in rows_of(tmp_path / "runs" / "e" / "ensemble_predictions.csv")] == ids


def test_other_pages_are_predicted_by_what_was_fitted_on_the_members_own(
    docclf: Docclf, runs: Path, pages: Path, tmp_path: Path
) -> None:
    lone = tmp_path / "lone.csv"
    lone.write_text("\n".join((pages / "test.csv").read_text().splitlines()[:6]) + "\n")
    shutil.copytree(pages / "test", tmp_path / "lone")
    shutil.copy(pages / "meta.csv", tmp_path)
    outcome = docclf("ensemble", *members(runs, "ab"), "--data", lone, "--method", "stacking", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["methods"][0]["test"]["pages"] == 5
    assert outcome.json["methods"][0]["held_out"]["pages"] == 50


def test_pages_that_a_member_was_trained_on_are_not_scored(docclf: Docclf, runs: Path, pages: Path) -> None:
    outcome = docclf("ensemble", *members(runs, "ab"), "--data", pages / "train.csv", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["pages"] == 60
    assert outcome.json["methods"][0]["test"]["pages"] == 50
    assert any("10 of the pages were trained on" in note for note in outcome.json["notes"])


def test_held_out_pages_can_be_what_is_predicted(docclf: Docclf, runs: Path, tmp_path: Path) -> None:
    outcome = docclf(
        "ensemble", *members(runs, "ab"), "--split", "val", "--method", "stacking", "--name", "e", "--json"
    )
    assert outcome.code == 0, outcome.stderr
    assert (outcome.json["pages"], outcome.json["methods"][0]["test"]) == (50, None)
    held_out = Split.load(runs / "a" / "split.csv")
    ids = [row["ID"] for row in rows_of(tmp_path / "runs" / "e" / "ensemble_predictions.csv")]
    assert sorted(ids) == sorted(held_out.ids[held_out.parts == "val"])


def test_an_unreadable_page_needs_a_class(docclf: Docclf, runs: Path, pages: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(pages, tmp_path / "data"))
    broken = rows_of(data / "test.csv")[2]["ID"]
    (data / "test" / broken).write_bytes(b"<html>")
    args = ("ensemble", *members(runs, "ab"), "--data", data, "--name", "e")
    refused = docclf(*args)
    assert (refused.code, "--fill" in refused.stderr) == (2, True)
    assert docclf(*args, "--fill", "nonsense").code == 2
    name = rows_of(data / "meta.csv")[4]
    outcome = docclf(*args, "--fill", name["class_name"], "--json")
    assert (outcome.code, "1 of 20 pages cannot be read, more than 1.00%" in outcome.stderr) == (3, True)
    assert outcome.json["unreadable"] == 1
    assert "1 of the 20 test pages cannot be read and are not scored." in outcome.json["notes"]
    assert rows_of(tmp_path / "runs" / "e" / "ensemble_predictions.csv")[2] == {"ID": broken, "target": name["target"]}
    assert "HTML" in rows_of(tmp_path / "runs" / "e" / "ensemble_probabilities.csv")[2]["status"]


def test_a_class_is_asked_for_before_the_other_members_have_begun(
    docclf: Docclf, runs: Path, pages: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(pages, tmp_path / "data"))
    (data / "test" / rows_of(data / "test.csv")[2]["ID"]).write_bytes(b"")
    copies = [shutil.copytree(runs / name, tmp_path / "copies" / name) for name in "ab"]
    for copy in copies:
        shutil.rmtree(copy / "predictions", ignore_errors=True)
    args = [part for copy in copies for part in ("--members", copy)]
    refused = docclf("ensemble", *args, "--data", data, "--name", "e")
    assert (refused.code, "1 page of the submission" in refused.stderr) == (2, True)
    assert sum(bool(list(copy.glob("predictions/*test-*.npz"))) for copy in copies) == 1


def test_an_unreadable_held_out_page_is_left_out_of_metrics(
    docclf: Docclf, runs: Path, pages: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(pages, tmp_path / "data"))
    split = Split.load(runs / "a" / "split.csv")
    broken = str(split.ids[split.parts == "val"][3])
    (data / "train" / broken).write_bytes(b"")
    args = ("ensemble", *members(runs, "abc"), "--data", data, "--split", "val", "--method", "all", "--name", "e")
    outcome = docclf(*args, "--json")
    assert outcome.code == 0, outcome.stderr
    assert (outcome.json["pages"], outcome.json["unreadable"]) == (50, 1)
    assert {line["held_out"]["pages"] for line in (*outcome.json["members"], *outcome.json["methods"])} == {49}
    assert "1 of the 50 pages cannot be read and are not scored." in outcome.json["notes"]
    assert [line["name"] for line in outcome.json["methods"]] == ["voting", "averaging", "weighted"]
    assert "stacking, which need at least 50 held-out pages (only 49 pages can be read" in str(outcome.json)
    targets = {row["ID"]: row["target"] for row in rows_of(tmp_path / "runs" / "e" / "ensemble_predictions.csv")}
    assert [name for name, target in targets.items() if not target] == [broken]
    status = {row["ID"]: row["status"] for row in rows_of(tmp_path / "runs" / "e" / "ensemble_probabilities.csv")}
    assert {name: reason for name, reason in status.items() if reason} == {broken: "the file is empty"}


def test_wrong_input_is_named(docclf: Docclf, runs: Path, pages: Path, tmp_path: Path) -> None:
    refit = runs / "c" / "refit.ckpt"
    untrained(pages, 2, metrics={}, temperature=1.1).save(refit)
    other = make_run(tmp_path / "other", pages, 9)
    untrained(pages, 9, class_names=tuple("abcdefghij")).save(other / "best.ckpt")
    shutil.copytree(runs / "a", tmp_path / "runs" / "a")
    cases: list[tuple[tuple[object, ...], int, str]] = [
        ((), 2, "needs members"),
        (members(runs, "a"), 2, "needs two members"),
        ((*members(runs, "a"), "--members", runs / "a" / "best.ckpt"), 2, "same checkpoint"),
        ((*members(runs, "ab"), "--members", tmp_path / "absent"), 4, "absent"),
        ((*members(runs, "a"), "--members", other), 2, "different classes"),
        ((*members(runs, "ab"), "--method", "staking"), 2, "did you mean 'stacking'"),
        ((*members(runs, "ab"), "--split", "train"), 2, "'train'"),
        ((*members(runs, "ab"), "--data", "nowhere"), 2, "nowhere"),
        ((*members(runs, "a"), "--members", refit, "--method", "greedy"), 2, "no page that all members hold out"),
        ((*members(runs, "ab"), "--set", "ensemble.tta.augmentations=[{type: rotate}]"), 2, "did you mean 'rotation'"),
        ((*members(runs, "ab"), "--set", "ensemble.tta.augmentations=[{type: crop, size: 3}]"), 2, "size"),
        ((*members(tmp_path / "runs", "a"), *members(runs, "b"), "--name", "a", "--overwrite"), 2, "holds a member"),
        ((*members(runs, "bc"), "--name", "a"), 2, "--overwrite"),
    ]
    for args, code, text in cases:
        outcome = docclf("ensemble", *args)
        assert (outcome.code, text in outcome.stderr) == (code, True), (args, outcome.stderr)
        assert "Traceback" not in outcome.stderr
        assert outcome.stdout == ""
    assert (tmp_path / "runs" / "a" / "best.ckpt").is_file()


def test_members_of_different_data_need_a_root(docclf: Docclf, runs: Path, pages: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pages, tmp_path / "copy"))
    other = make_run(tmp_path / "other", copy, 9)
    args = ("ensemble", *members(runs, "a"), "--members", other)
    refused = docclf(*args)
    assert (refused.code, "trained on different data" in refused.stderr) == (2, True)
    outcome = docclf(*args, "--data", copy, "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["methods"][0]["held_out"]["pages"] == 10


@pytest.mark.parametrize("method", METHODS[3:])
def test_fitted_methods_see_only_what_no_member_was_trained_on(
    runs: Path, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Members with different held-out pages: whatever a combiner is given comes from pages that both hold out."""
    from docclf_cli.ensembling.combine import Method
    from docclf_cli.profile.schema import EnsembleConfig, MemberConfig, Profile, RuntimeConfig
    from docclf_cli.tasks.ensemble import ensemble as engine

    other = make_run(tmp_path / "other", pages, 9, val_fraction=0.8, split_seed=1)
    for name in ("shared", "also"):
        make_folds(tmp_path / name, pages, 2, 30 + len(name))
    paths = [runs / "a", tmp_path / "shared"] if method == "stacking" else [runs / "a", runs / "c"]
    seen: list[Any] = []
    build = Method._build
    monkeypatch.setattr(Method, "_build", lambda self, listed, held: (seen.append(held), build(self, listed, held))[1])
    grounds: list[Any] = []
    find_evaluation_pages = engine.find_evaluation_pages
    monkeypatch.setattr(
        engine, "find_evaluation_pages", lambda *args: (grounds.append(find_evaluation_pages(*args)), grounds[-1])[1]
    )

    def run_with(given: list[Path]) -> None:
        models = tuple(MemberConfig(checkpoint_path=str(path)) for path in given)
        profile = Profile(
            output=str(tmp_path / "runs"), name=f"e{len(grounds)}", runtime=RuntimeConfig(workers=0),
            ensemble=EnsembleConfig(method="weighted" if method == "auto_weights" else method, models=models, weights="auto"),
        )  # fmt: skip
        engine.ensemble(profile)

    run_with(paths)
    stored = Split.load(runs / "a" / "split.csv")
    trained = set(stored.ids[stored.parts == "train"].tolist())
    assert set(grounds[0].common.tolist()) == set(stored.ids[stored.parts == "val"].tolist())
    learned = {grounds[0].common[row] for held in seen if held is not None for row in held.rows}
    assert learned
    assert not learned & trained
    # Five fits without a fifth of the pages each, whose scores are shown, and one on all, which predicts.
    assert sorted(len(held) for held in seen if held is not None) == [40] * 5 + [50]
    with pytest.raises(Exception, match="pages are held out by all members"):
        run_with([runs / "a", other])


@pytest.mark.parametrize(
    ("method", "tta"), [("auto_weights", False), ("greedy", False), ("stacking", False), ("stacking", True)]
)
def test_predict_answers_as_what_was_fitted(
    docclf: Docclf, runs: Path, pages: Path, tmp_path: Path, method: str, tta: bool
) -> None:
    """The same members, views and held-out pages: the same answers about the same pages."""
    named = {"method": "weighted", "weights": "auto"} if method == "auto_weights" else {"method": method}
    models = [{"run": str(runs / name)} for name in "abc"]
    profile = tmp_path / "both.yaml"
    profile.write_text(yaml.safe_dump({"ensemble": {**named, "models": models, "tta": {"enabled": tta}}}))
    outcome = docclf("ensemble", "--profile", profile, "--name", "e")
    assert outcome.code == 0, outcome.stderr
    outcome = docclf(
        "predict",
        "--split",
        "test",
        "--profile",
        profile,
        "--top-k",
        3,
        "--format",
        "jsonl",
        "--output",
        "out",
        "--json",
    )
    assert outcome.code == 0, outcome.stderr
    table = tmp_path / "runs" / "e" / ("tta_predictions.csv" if tta else "ensemble_predictions.csv")
    numbers = {row["class_name"]: row["target"] for row in rows_of(pages / "meta.csv")}
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [(line["ID"], numbers[line["class"]]) for line in lines] == [
        (row["ID"], row["target"]) for row in rows_of(table)
    ]
    if not tta:
        expected = Predictions.load(tmp_path / "runs" / "e" / "predictions" / "test.npz").probs()
        assert [line["confidence"] for line in lines] == pytest.approx(expected.max(axis=1).tolist(), abs=1e-3)


def test_predict_says_what_a_fitted_method_lacks(docclf: Docclf, runs: Path, pages: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", pages, 9, split_seed=1)
    profile = tmp_path / "both.yaml"
    for named, message in (("all", "needs one method"), ("greedy", "is fitted, and only")):
        models = [{"run": str(runs / "a")}, {"run": str(other)}]
        profile.write_text(yaml.safe_dump({"ensemble": {"method": named, "models": models}}))
        outcome = docclf("predict", pages / "test", "--profile", profile)
        assert outcome.code == 2
        assert message in outcome.stderr, outcome.stderr


def test_the_table_of_methods_grows_with_the_registry() -> None:
    assert list(COMBINERS.names()) == METHODS


@pytest.mark.slow
def test_interrupted_and_repeated(
    start: Callable[..., CliProcess], docclf: Docclf, pages: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    for seed, name in enumerate("abcd"):
        make_run(folder / name, pages, 50 + seed, val_fraction=0.8, size=200 + seed)
    process = start("ensemble", *members(folder, "abcd"), "--name", "e")
    while not list(folder.glob("*/predictions/test-*.npz")):
        assert process.process.exitcode is None, process.stderr
    process.send(signal.SIGINT)
    outcome = process.wait()
    assert outcome.code == 130, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "runs").exists()
    done = {path: path.stat().st_mtime_ns for path in folder.glob("*/predictions/test-*.npz")}
    assert 0 < len(done) < 4
    again = docclf("ensemble", *members(folder, "abcd"), "--name", "e", "--json")
    assert again.code == 0, again.stderr
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())
