"""What damage costs, from predictions made by hand."""

import csv
from pathlib import Path

import pytest
from prediction_cases import naming

from docclf_cli.data.images.corruptions import RULES, DegradedView
from docclf_cli.tasks.evaluate.corruptions import SEED, corrupted_views, measure_corruptions


def test_costs_by_kind_and_class(tmp_path: Path) -> None:
    targets = [0, 0, 0, 0, 1, 1]
    clean, half = naming(targets, targets, 2), naming(targets, [0, 0, 1, 1, 1, 1], 2)
    names = [("all", ""), ("turn", "half")]
    corruptions, files = measure_corruptions(
        clean, names, [half, clean], tmp_path, split="val", total_pages=9, temperature=1.0
    )
    assert (corruptions.pages, corruptions.total_pages) == (6, 9)
    mixture, *parts, turn = corruptions.rows
    assert {row.severity for row in parts} <= {"mirrored", "not mirrored"}
    assert mixture.accuracy.value == pytest.approx(4 / 6)
    assert mixture.recalls == (0.5, 1.0)
    assert mixture.difference.value == pytest.approx((2 / 3 + 2 / 3) / 2 - 1)
    assert mixture.difference.low < mixture.difference.value < mixture.difference.high
    assert (turn.difference.value, turn.f1_macro.value) == (0.0, 1.0)
    with files[1].open() as file:
        rows = list(csv.DictReader(file))
    whole = [row for row in rows if "mirrored" not in row["severity"]]
    assert [(row["corruption"], row["severity"], row["class"], row["support"]) for row in whole] == [
        ("all", "", "class 0", "4"), ("all", "", "class 1", "2"), ("turn", "half", "class 0", "4"),
        ("turn", "half", "class 1", "2"),
    ]  # fmt: skip
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_each_view_has_a_name_of_its_own() -> None:
    views = [view for _, _, view in corrupted_views(naming([0], [0], 2).ids)]
    assert len({view.name for view in views}) == len(views)


def test_what_the_mirror_costs_is_told_apart(tmp_path: Path) -> None:
    targets = [0, 1] * 30
    clean = naming(targets, targets, 2)
    view = DegradedView(clean.ids, SEED)
    mirrored = [view.is_mirrored(row) for row in range(60)]
    assert 5 < sum(mirrored) < 30
    # Every mirrored page is read wrongly, and no other.
    named = [1 - target if wrong else target for target, wrong in zip(targets, mirrored, strict=True)]
    corruptions, _ = measure_corruptions(
        clean, [("all", "")], [naming(targets, named, 2)], tmp_path, split="val", total_pages=60, temperature=1.0
    )
    assert [(row.kind, row.severity, row.pages, row.accuracy.value) for row in corruptions.rows] == [
        ("all", "", 60, pytest.approx(1 - sum(mirrored) / 60)),
        ("all", "mirrored", sum(mirrored), 0.0),
        ("all", "not mirrored", 60 - sum(mirrored), 1.0),
    ]
    assert corruptions.version == RULES
