"""Unknown pages and the price of mistakes, as people meet them: train, predict, evaluate."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_process import CliProcess, Outcome
from page_cases import write_images
from tiny import PLAIN

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint, _digest
from docclf_cli.engine.checkpoints.info import info_of
from docclf_cli.errors import InputError
from docclf_cli.metrics.novelty import probability
from docclf_cli.tasks.costs import read_costs

Docclf = Callable[..., Outcome]


@pytest.fixture(scope="module")
def trained(pages: Path, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> Path:
    """A folder with a run that learned a little of the sample pages and what is unknown, and six foreign pages."""
    folder = tmp_path_factory.mktemp("unknown")
    numerics = [text for key, value in PLAIN.items() for text in ("--set", f"{key}={value}")]
    outcome = CliProcess(
        (
            "train",
            str(pages),
            *tiny,
            "--epochs",
            "2",
            "--set",
            "data.val_fraction=0.4",
            "--name",
            "a",
            "--quiet",
            *numerics,
        ),
        folder,
        {"XDG_CACHE_HOME": str(cache_home), "COLUMNS": "120"},
    ).wait()
    assert outcome.code == 0, outcome.stderr
    write_images(folder / "foreign", 6)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_checkpoint_holds_plain_arrays_and_its_info_what_held_out_pages_showed(trained: Path) -> None:
    path = trained / "runs" / "a" / "best.ckpt"
    content = torch.load(path, weights_only=True)["novelty"]
    assert all(isinstance(value, torch.Tensor) for value in content.values())
    held_out = info_of(path).novelty
    assert held_out is not None
    assert sum(held_out.degraded) == len(held_out.degraded) / 2  # each held-out page and its degraded copy
    assert len(set(held_out.units)) * 2 == len(held_out.units)
    (path.parent / "predictions" / "best.ckpt.info.json").unlink()
    assert info_of(path).novelty == held_out


def test_pages_are_called_unknown_reviewed_and_sorted_apart(
    docclf: Docclf, trained: Path, pages: Path, tmp_path: Path
) -> None:
    held_out = info_of(trained / "runs" / "a" / "best.ckpt").novelty
    assert held_out is not None
    outcome = docclf(
        "predict", "runs/a", "foreign", pages / "test", "--max-lost", "0.6", "--copy-to", tmp_path / "sorted", "-o", tmp_path / "out", cwd=trained,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    for row in rows:
        assert row["decision"] in ("unknown", row["class"])
        assert (row["decision"] == "unknown") == (row["needs_review"] == "true")
        above = float(row["unknown"]) > probability(np.array(held_out.threshold(0.6)), 0.1) - 1e-6
        assert above == (row["decision"] == "unknown")
    unknown = [row for row in rows if row["decision"] == "unknown"]
    assert 0 < len(unknown) < len(rows)
    assert len([path for path in (tmp_path / "sorted" / "_unknown").rglob("*") if path.is_file()]) == len(unknown)
    assert "About 60.0% of the pages of known classes are called unknown" in outcome.stdout.replace("\n", " ")
    expecting = ("--expect-unknown", "0.9", "--max-lost", "0.6")
    told = docclf("predict", "runs/a", "foreign", *expecting, "-o", tmp_path / "b", "--json", cwd=trained).json
    assert told["max_lost"] == 0.6
    by_path = {row["path"]: row for row in rows}
    assert told["unknown"] == sum(by_path[row["path"]]["decision"] == "unknown" for row in told["predictions"])
    assert all(row["unknown"] > float(by_path[row["path"]]["unknown"]) for row in told["predictions"])


def test_no_page_is_unknown_where_that_is_not_wanted_or_not_known(
    docclf: Docclf, trained: Path, tmp_path: Path
) -> None:
    off = docclf("predict", "runs/a", "foreign", "--max-lost", "0", "-o", tmp_path / "a", "--json", cwd=trained).json
    assert (off["unknown"], off["needs_review"]) == (None, 0)
    assert off["notes"] == ["No page is called unknown, because --max-lost is 0."]
    assert off["predictions"][0]["needs_review"] is None
    strict = docclf(
        "predict", "runs/a", "foreign", "--max-lost", "0.001", "-o", tmp_path / "b", "--json", cwd=trained
    ).json
    assert "takes at least 999 held-out pages" in strict["notes"][0]
    old = tmp_path / "old.ckpt"
    replace(Checkpoint.load(trained / "runs" / "a" / "best.ckpt"), novelty={}).save(old)
    before = docclf("predict", old, trained / "foreign", "-o", tmp_path / "c", "--json")
    assert before.code == 0, before.stderr
    assert before.json["unknown"] is None
    assert "holds no score of unknown pages" in before.json["notes"][0]
    assert {row["unknown"] for row in rows_of(tmp_path / "c" / "predictions.csv")} == {""}
    refused = docclf(
        "predict",
        old,
        trained / "foreign",
        "-o",
        tmp_path / "d",
        "--target-precision",
        "0.5",
        "--expect-unknown",
        "0.1",
    )
    assert refused.code == 2
    assert "--expect-unknown: No page can be called unknown" in refused.stderr


def test_a_checkpoint_of_before_is_read(trained: Path, tmp_path: Path) -> None:
    content = torch.load(trained / "runs" / "a" / "best.ckpt", weights_only=True)
    del content["novelty"], content["digest"]
    content["digest"] = _digest(content)
    torch.save(content, tmp_path / "old.ckpt")
    assert Checkpoint.load(tmp_path / "old.ckpt").novelty == {}
    assert info_of(tmp_path / "old.ckpt").novelty is None


def test_evaluate_tells_what_is_caught_and_measures_foreign_pages(docclf: Docclf, trained: Path) -> None:
    outcome = docclf("evaluate", "runs/a", "--unknown", "foreign", "--max-lost", "0.2", "--json", cwd=trained)
    assert outcome.code == 0, outcome.stderr
    found = outcome.json["unknown"]
    assert [row["name"] for row in found["classes"]] == sorted(row["name"] for row in found["classes"])
    assert all(
        0 <= row["caught"]["low"] <= row["caught"]["value"] <= row["caught"]["high"] <= 1 for row in found["classes"]
    )
    assert found["lost"]["value"] <= 0.25
    assert 0 <= found["lost_degraded"]["value"] <= 1
    assert "trained on the classes that are left out" in found["notes"][0]
    foreign = found["foreign"]
    assert (foreign["pages"], foreign["unreadable"]) == (6, 0)
    assert 0 <= foreign["auroc"] <= 1
    assert foreign["confident"]["value"] <= foreign["confident_before"]["value"]
    assert foreign["known_confident"]["value"] <= foreign["known_confident_before"]["value"]
    (table,) = [Path(path) for path in outcome.json["files"] if path.endswith("unknown_pages.csv")]
    told = [row["decision"] == "unknown" for row in rows_of(trained / table)]
    assert len(told) == 6
    assert sum(told) / 6 == pytest.approx(foreign["caught"]["value"])
    shown = docclf("evaluate", "runs/a", "--unknown", "foreign", cwd=trained).stdout
    assert "each class left out in turn" in shown
    assert "Foreign pages: 6 of foreign" in shown


def test_a_precision_holds_among_expected_unknown_pages_or_says_under_which_condition(
    docclf: Docclf, trained: Path
) -> None:
    def threshold(*more: str) -> dict[str, object]:
        outcome = docclf("evaluate", "runs/a", "--target-precision", "0.3", "--json", *more, cwd=trained)
        assert outcome.code == 0, outcome.stderr
        found: dict[str, object] = outcome.json["confidence_threshold"]
        return found

    plain, among = threshold(), threshold("--expect-unknown", "0.2")
    assert "if every page belongs to a known class" in str(plain["condition"])
    assert "if at most 20 % of the pages belong to no class" in str(among["condition"])
    values = [json.loads(json.dumps(one))["held_out"]["value"] for one in (plain, among)]
    assert values[1] is None or values[1] >= values[0]


def test_costs_decide_and_are_reported(docclf: Docclf, trained: Path, pages: Path, tmp_path: Path) -> None:
    names = info_of(trained / "runs" / "a" / "best.ckpt").class_names
    table = tmp_path / "costs.csv"

    def write(wrong: float, review: float, extra: str = "") -> None:
        lines = [",".join(["true", *names, "review"])]
        lines += [",".join([name, *(str(wrong * (name != other)) for other in names), str(review)]) for name in names]
        table.write_text("\n".join([*lines, extra]), encoding="utf-8")

    write(10, 1)
    report = docclf("evaluate", "runs/a", "--split", "test", "--costs", table, "--json", cwd=trained).json["costs"]
    assert report["pages"] == 2 * len(names)
    assert report["all_reviewed"]["value"] == pytest.approx(1000)
    assert report["paid"]["low"] <= report["paid"]["value"] <= report["paid"]["high"]
    assert "every page belongs to a known class" in report["condition"]
    write(1, 1000)  # a review is never worth its price
    decided = docclf(
        "predict", "runs/a", pages / "test", "--costs", table, "--max-lost", "0", "-o", tmp_path / "a", cwd=trained
    )
    assert decided.code == 0, decided.stderr
    assert {row["needs_review"] for row in rows_of(tmp_path / "a" / "predictions.csv")} == {"false"}
    write(1, 0)
    docclf("predict", "runs/a", pages / "test", "--costs", table, "--max-lost", "0", "-o", tmp_path / "b", cwd=trained)
    assert {row["decision"] for row in rows_of(tmp_path / "b" / "predictions.csv")} == {"review"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true,form,letter,review\nform,0,1,1\nletter,1,0,1\nbill,1,1,1\n", "there is no column 'bill'"),
        ("true,form,letter,bill,review\nform,0,1,1,1\nletter,1,0,1,1\n", "there is no row 'bill'"),
        ("true,form,letter,bill,review\nform,0,1,1,x\n", "row 2: 'x' is no price"),
        ("true,form,letter,bill,review\nform,0,1,1,-1\n", "row 2: '-1' is no price"),
        ("true,form,letter,bill,review\nform,0,1,1\n", "row 2 has 4 cells, the header 5"),
        ("true,form,leter,bill,review\n", "column 'leter' is no class of the model, did you mean 'letter'"),
        ("", "there is no column 'form'"),
    ],
)
def test_faults_of_a_cost_table_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "costs.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as found:
        read_costs(path, ("form", "letter", "bill"))
    assert message.split(",")[0] in found.value.message


def test_a_cost_table_may_price_unknown_pages(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    path.write_text("true,b,review,a\nunknown,7,1,8\na,1,2,0\nb,0,3,4\n", encoding="utf-8")
    costs = read_costs(path, ("a", "b"))
    assert costs.prices.tolist() == [[0, 1], [4, 0]]
    assert costs.review.tolist() == [2, 3]
    assert costs.unknown is not None
    assert (costs.unknown.tolist(), costs.review_unknown) == ([8, 7], 1)


def test_wrong_use_is_named(docclf: Docclf, trained: Path) -> None:
    cases = [
        (("--max-lost", "1"), "--max-lost: 1 is not a share"),
        (("--expect-unknown", "1.5"), "--expect-unknown: 1.5 is not between 0 and 1"),
        (("--costs", "x.csv", "--min-confidence", "0.5"), "--costs decides by prices"),
        (("--costs", "x.csv"), "--costs x.csv: cannot be read"),
    ]
    for args, text in cases:
        outcome = docclf("predict", "runs/a", "foreign", "-o", "never", *args, cwd=trained)
        assert (outcome.code, text in outcome.stderr) == (2, True), outcome.stderr
