"""Read CSV files as columns of text; faults are reported with their row."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docclf_cli.data.index.cells import from_cell
from docclf_cli.errors import InputError
from docclf_cli.registry import did_you_mean
from docclf_cli.text import all_composed, and_more

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import pandas as pd

SHOWN = 5  # faults are listed with this many examples and their count
_SEPARATORS = (",", ";", "\t")  # the first of them where the header decides nothing
_IN_QUOTES = re.compile(rb'"[^"]*"')
_FIRST_ROW = 2  # the row of the first record as spreadsheets count: the header is row 1


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a CSV file.

    Attributes:
        path: The file, for messages.
        columns: Text by column name, object arrays of `str` of one length; an absent field is empty.
    """

    path: Path
    columns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> np.ndarray:
        """The text of a column.

        Raises:
            InputError: There is no such column; the message lists those there are.
        """
        if name not in self.columns:
            raise InputError(
                f"{self.path} has no column '{name}'{did_you_mean(name, tuple(self.columns))}",
                f"it has: {', '.join(self.columns)}",
            )
        return self.columns[name]

    def names(self, name: str) -> np.ndarray:
        """The names in a column in NFC (see `docclf_cli.text`): an object array of `str`.

        Raises:
            InputError: There is no such column; the message lists those there are.
        """
        return all_composed(self[name])


def read_table(path: Path) -> Table:
    """Read a CSV file that has a header and rows, as programs and spreadsheets write it.

    Text is UTF-8, or UTF-16 with a byte order mark; fields are separated by commas, semicolons or tabs, whichever the
    header has most of. Values stay text as they are (`00123`, `NA`); what was escaped for spreadsheets is what it was
    before (`docclf_cli.data.index.cells`). Blank rows, and columns without a name, are skipped.

    Raises:
        InputError: The file is missing, empty, without rows, of another encoding, binary, or not well-formed.
    """
    table = Table(path, _columns(path, _text(path)))
    if not len(table):
        raise InputError(f"{path} has a header but no rows", f"columns: {', '.join(table.columns)}")
    return table


def read_parquet(path: Path) -> Table:
    """Read a Parquet file as columns of text; missing values are empty.

    Raises:
        InputError: `pyarrow` is missing, or the file is damaged or has no rows.
    """
    import importlib.util

    if importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"{path}: Parquet files need the package pyarrow", "pip install 'docclf[parquet]'")
    import numpy as np
    import pyarrow
    import pyarrow.parquet

    try:
        read = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path}: damaged, or no Parquet file") from error
    columns: dict[str, np.ndarray] = {}
    for name, column in zip(read.column_names, read.columns, strict=True):
        if not pyarrow.types.is_nested(column.type):
            columns[name] = np.array(
                ["" if cell is None else from_cell(str(cell)) for cell in column.to_pylist()], dtype=object
            )
    if not read.num_rows or not columns:
        raise InputError(f"{path} has no rows", f"columns: {', '.join(read.column_names)}")
    return Table(path, columns)


def examples(values: Sequence[str] | np.ndarray, rows: Sequence[int] | np.ndarray) -> str:
    """The values of the first few faulty records with their rows in the file: `'a.jpg' (row 2), … and 7 more`."""
    shown = [f"{values[row]!r} (row {row + _FIRST_ROW})" for row in rows[:SHOWN]]
    return and_more(shown, len(rows))


def row_number(record: int) -> int:
    """The row of a record (counted from 0) as spreadsheets count."""
    return record + _FIRST_ROW


def _text(path: Path) -> bytes:
    """The content as UTF-8 without a byte order mark."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    content = _as_utf8(path, content)
    if not content.strip():
        raise InputError(f"{path} is empty")
    if (at := content.find(b"\0")) >= 0:
        raise InputError(f"{path} holds a NUL byte in line {_line(content, at)}: it is damaged, or not a text file")
    return content


def _as_utf8(path: Path, content: bytes) -> bytes:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16").encode()
        except UnicodeError as error:
            raise InputError(f"{path} starts like UTF-16 and is damaged", "save it as 'CSV UTF-8'") from error
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        korean = _decodes(content, "cp949")
        kind = " but looks like cp949 (EUC-KR), as Excel writes in Korean" if korean else ""
        command = f"iconv -f cp949 -t utf-8 {path.name} > utf8.csv"
        convert = f"convert it: `{command}`, or save it as 'CSV UTF-8' in the spreadsheet"
        hint = convert if korean else "save it as UTF-8"
        raise InputError(f"{path} is not UTF-8{kind} (line {_line(content, error.start)})", hint) from error
    return content


def _line(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _columns(path: Path, content: bytes) -> dict[str, np.ndarray]:
    import pandas as pd

    try:
        frame = pd.read_csv(
            io.BytesIO(content), sep=_separator(content), dtype=str, keep_default_na=False, na_filter=False,
            index_col=False, header=None, engine="c",
        )  # fmt: skip
    except pd.errors.ParserError as error:
        raise InputError(f"{path} is not well-formed: {_readable(error)}") from error
    names = [from_cell(str(name).strip()) for name in frame.iloc[0]]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise InputError(f"{path} has the column '{twice[0]}' more than once")
    if not any(names):
        raise InputError(f"{path}: no column of its header has a name")
    rows = _filled(frame.iloc[1:])
    return {name: _texts(rows[column]) for column, name in enumerate(names) if name}


def _filled(rows: pd.DataFrame) -> pd.DataFrame:
    # Spreadsheets end with rows of nothing but separators.
    blank = (rows[0] == "").to_numpy()
    if not blank.any():
        return rows
    return rows[~blank | (rows != "").any(axis=1).to_numpy()]


def _texts(column: pd.Series) -> np.ndarray:
    cells = column.to_numpy(dtype=object)
    for row in [row for row, cell in enumerate(cells) if cell.startswith("'") or "\\" in cell]:
        cells[row] = from_cell(cells[row])
    return cells


def _separator(content: bytes) -> str:
    """The separator that the header has most of outside of quotes; a comma where it has none."""
    header = _IN_QUOTES.sub(b"", content.lstrip(b"\r\n")).splitlines()[0]
    return max(_SEPARATORS, key=lambda mark: header.count(mark.encode()))


def _readable(error: Exception) -> str:
    text = str(error)
    if match := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", text):
        return f"row {match[2]} has {match[3]} fields where {match[1]} are expected"
    if match := re.search(r"EOF inside string starting at row (\d+)", text):
        return f"a quote opened in row {int(match[1]) + 1} is never closed"
    return " ".join(text.split())
