"""What is escaped in a table comes back as it was."""

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docclf_cli.data.index.cells import from_cell, to_cell
from docclf_cli.data.index.tables import read_table

# Texts made of what has a meaning to either side, and of everything else; NUL is refused in tables.
PIECES = st.sampled_from(
    ["'", "=", "+", "-", "@", "\t", "\r", "\\", "u", "udc80", "\\udc80", "u000d", "\udc80", "\ud800", "a"]
)
TEXT = st.one_of(
    st.lists(PIECES, max_size=8).map("".join),
    st.text(st.characters(exclude_characters="\0"), max_size=12),
    st.text(st.characters(exclude_characters="\0", categories=["Cs", "Po", "Sm"]), max_size=6),
)


@given(TEXT)
def test_every_text_comes_back(text: str) -> None:
    cell = to_cell(text)
    assert from_cell(cell) == text
    cell.encode()  # a file takes it
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))  # and no spreadsheet runs it


@pytest.mark.parametrize(
    "text, cell",
    [
        ("=a.jpg", "'=a.jpg"),
        ("+82-10.jpg", "'+82-10.jpg"),
        ("'=a.jpg", "''=a.jpg"),
        ("'90s.jpg", "'90s.jpg"),
        ("a=b.jpg", "a=b.jpg"),
        (os.fsdecode("영수증.jpg".encode("cp949")), "\\udcbf\\udcb5\\udcbc\\udcf6\\udcc1\\udcf5.jpg"),
        ("C:\\scans\\update.jpg", "C:\\scans\\update.jpg"),
        ("영수증.jpg", "영수증.jpg"),
        ("two\rlines", "two\\u000dlines"),
    ],
)
def test_cells_are_what_people_expect(text: str, cell: str) -> None:
    assert to_cell(text) == cell


def test_numbers_stay_numbers() -> None:
    assert to_cell(-0.5) == -0.5


@given(st.lists(st.tuples(TEXT.map("x{}".format), TEXT), min_size=1, max_size=20))
@settings(deadline=None)
def test_tables_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("ID", "target"), *(map(to_cell, row) for row in rows)])
    path: Path = tmp_path_factory.mktemp("csv") / "pages.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    table = read_table(path)
    assert list(zip(table["ID"], table["target"], strict=True)) == rows
