r"""Escape texts as cells of a CSV file, and unescape them.

- A text that starts like a formula (`=`, `+`, `-`, `@`, tab), which a spreadsheet would run, comes behind a quote `'`
  (OWASP: CSV injection).
- A byte of a file name that is not UTF-8 (a lone surrogate, PEP 383) is `\udcXX`; a carriage return, which the csv
  module does not put in quotes, is `\u000d`.

Quotes before such a start, and backslashes before such a number, are doubled as needed, so that every text comes back
as it was. A cell that needs no escape is the text itself; so are the cells of other people's files.
"""

from __future__ import annotations

import re
from typing import Any

_NUMBER = "u(?:000d|d[89a-f][0-9a-f]{2})"
_FORMULA = re.compile(r"'*[=+\-@\t]")
_QUOTED = re.compile(r"'+[=+\-@\t]")
_UNSAFE = re.compile(rf"(\\*)(?:([\r\ud800-\udfff])|(?={_NUMBER}))")
_ESCAPED = re.compile(rf"(\\+)({_NUMBER})")


def to_cell(value: Any) -> Any:
    """A value as the cell of a table: texts are escaped, everything else is returned as it is."""
    if not isinstance(value, str):
        return value
    text = value if value.isascii() and value.isprintable() and "\\" not in value else _UNSAFE.sub(_numbered, value)
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """The text of a cell: the inverse of `to_cell`."""
    text = cell[1:] if cell.startswith("'") and _QUOTED.match(cell) else cell
    return _ESCAPED.sub(_unnumbered, text) if "\\u" in text else text


def _numbered(found: re.Match[str]) -> str:
    backslashes, unsafe = found[1], found[2]
    return 2 * backslashes + (f"\\u{ord(unsafe):04x}" if unsafe else "")


def _unnumbered(found: re.Match[str]) -> str:
    backslashes, number = len(found[1]), found[2]
    return "\\" * (backslashes // 2) + (chr(int(number[1:], 16)) if backslashes % 2 else number)
