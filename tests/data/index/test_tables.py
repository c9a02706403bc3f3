import csv
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.data.index.tables import examples, read_table
from docclf_cli.errors import InputError
from docclf_cli.text import and_more

BAD = {
    "empty": (b"", "is empty"),
    "blank lines": (b"\n\n  \n", "is empty"),
    "header only": (b"ID,target\n", "no rows"),
    "cp949": ("ID,target\na.jpg,영수증\n".encode("cp949"), "cp949"),
    "broken utf-16": ("ID,target\na,1\n".encode("utf-16")[:-1], "UTF-16 and is damaged"),
    "not text": (b"ID,target\na,\xff\xff1\n", r"not UTF-8 \(line 2\)"),
    "NUL bytes": (b"ID,target\na,1\n\0,1\n", "NUL byte in line 3"),
    "no name": (b",,\na,1,2\n", "no column of its header has a name"),
    "rows of separators": (b"ID,target,,\n,,,\n", "no rows"),
    "surplus field": (b"ID,target\na,1\nb,2,3\n", "row 3 has 3 fields where 2 are expected"),
    "surplus field in every row": (b"ID,target\na,1,2\nb,2,3\n", "row 2 has 3 fields"),
    "open quote": (b'ID,target\na,1\n"b,2\nc,3\n', "quote opened in row 3"),
    "column twice": (b"ID,ID\na,1\n", "'ID' more than once"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_by_name(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / "pages.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_table(path)
    assert "pages.csv" in caught.value.message


def test_cp949_comes_with_the_command_that_converts_it(tmp_path):
    path = tmp_path / "pages.csv"
    path.write_bytes("ID,target\na.jpg,영수증\n".encode("cp949"))
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert "iconv -f cp949 -t utf-8 pages.csv" in caught.value.hint


@pytest.mark.timeout(5)
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path, message in (
        (tmp_path / "no.csv", "no such file"),
        (tmp_path, "regular"),
        (tmp_path / "pipe.csv", "regular"),
    ):
        with pytest.raises(InputError, match=message):
            read_table(path)


def test_values_stay_text(tmp_path):
    path = tmp_path / "pages.csv"
    path.write_bytes(b"\xef\xbb\xbfID, target\n00123,NA\nnan,1.0\nnull,\n\n 1e5 ,true\n")
    table = read_table(path)
    assert table["ID"].tolist() == ["00123", "nan", "null", " 1e5 "]
    assert table["target"].tolist() == ["NA", "1.0", "", "true"]


AS_EXCEL_WRITES = {
    "empty columns": b"ID,target,,\na.jpg,1,,\nb.jpg,2,,\n",
    "empty rows": b"ID,target\na.jpg,1\n,\nb.jpg,2\n,\n,\n",
    "semicolons": b"ID;target\r\na.jpg;1\r\nb.jpg;2\r\n",
    "tabs": b"ID\ttarget\na.jpg\t1\nb.jpg\t2\n",
    "quoted header": b'"ID";"target"\n"a.jpg";"1"\n"b.jpg";"2"\n',
    "UTF-8 with a mark": b"\xef\xbb\xbfID,target\na.jpg,1\nb.jpg,2\n",
    "UTF-16 with tabs": "ID\ttarget\r\na.jpg\t1\r\nb.jpg\t2\r\n".encode("utf-16"),
    "UTF-16, big-endian": b"\xfe\xff" + "ID,target\na.jpg,1\nb.jpg,2\n".encode("utf-16-be"),
    "a column of numbers before": b",ID,target\n0,a.jpg,1\n1,b.jpg,2\n",
}


@pytest.mark.parametrize("name", AS_EXCEL_WRITES)
def test_tables_are_read_as_spreadsheets_write_them(tmp_path, name):
    path = tmp_path / "pages.csv"
    path.write_bytes(AS_EXCEL_WRITES[name])
    table = read_table(path)
    assert {column: values.tolist() for column, values in table.columns.items()} == {
        "ID": ["a.jpg", "b.jpg"],
        "target": ["1", "2"],
    }


def test_separators_in_quotes_do_not_count(tmp_path):
    path = tmp_path / "pages.csv"
    path.write_text('"a;b;c",target\nx;y,1\n')
    assert read_table(path)["a;b;c"].tolist() == ["x;y"]


def test_an_absent_field_is_empty(tmp_path):
    path = tmp_path / "pages.csv"
    path.write_text("ID,target\na,1\nb\n")
    assert read_table(path)["target"].tolist() == ["1", ""]


def test_a_missing_column_lists_those_there_are(tmp_path):
    path = tmp_path / "pages.csv"
    path.write_text("ID,Target\na,1\n")
    with pytest.raises(InputError, match="no column 'target', did you mean 'Target'") as caught:
        read_table(path)["target"]
    assert caught.value.hint == "it has: ID, Target"


# Lone surrogates cannot be written, and NUL is refused; blank lines are skipped, so the first field is never empty.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)


@given(st.lists(st.tuples(TEXT.map("x{}".format), TEXT), min_size=1, max_size=20))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, rows):
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("ID", "target"), *rows])
    path = tmp_path_factory.mktemp("csv") / "pages.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    table = read_table(path)
    assert list(zip(table["ID"], table["target"], strict=True)) == rows


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("csv") / "pages.csv"
    path.write_bytes(content)
    try:
        assert len(read_table(path)) > 0
    except InputError as error:
        assert "pages.csv" in error.message


def test_examples_show_five_rows_and_the_count():
    values = [f"{n}.jpg" for n in range(9)]
    assert examples(values, range(2)) == "'0.jpg' (row 2), '1.jpg' (row 3)"
    assert examples(values, range(9)).endswith("'4.jpg' (row 6), … and 4 more")
    assert and_more([], 0) == ""
