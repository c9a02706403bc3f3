"""The built-in sample documents."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from docclf_cli.data.sample_pages import KINDS, LAYOUTS, render_page
from docclf_cli.data.samples import render_samples


def test_a_data_root_in_the_competition_layout(tmp_path: Path) -> None:
    root = render_samples(tmp_path / "data", pages_per_class=2, test_pages_per_class=1)
    with (root / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["target"] for row in rows) == {str(number): 2 for number in range(len(KINDS))}
    assert all((root / "train" / row["ID"]).is_file() for row in rows)
    assert len(list((root / "test").iterdir())) == len(KINDS) >= 10
    assert not any(kind in row["ID"] for row in rows for kind in KINDS)


def test_pages_are_functions_of_kind_seed_and_number() -> None:
    for kind in KINDS:
        pages = [np.asarray(render_page(kind, 0, number)) for number in range(LAYOUTS)]
        again = np.asarray(render_page(kind, 0, 0))
        assert (pages[0] == again).all()
        other = np.asarray(render_page(kind, 1, 0))
        assert other.shape != again.shape or (other != again).any()


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "mine.txt").write_text("x")
    render_samples(root, pages_per_class=1, test_pages_per_class=1)
    assert [path.name for path in root.iterdir()] == ["mine.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
