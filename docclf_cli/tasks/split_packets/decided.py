"""Cuts that people have decided about, as `docclf review` writes them; packets are known by their content."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from docclf_cli.data.index.file_list import FileList
from docclf_cli.data.index.tables import read_table, row_number
from docclf_cli.errors import InputError
from docclf_cli.files import sha256_of
from docclf_cli.results.packets import CUT, JOIN

logger = logging.getLogger("docclf")
Decisions = Mapping[str, Mapping[int, bool]]  # by SHA-256 of the packet: whether a document begins with a page


def read_cuts(path: Path) -> Decisions:
    """The decisions of one table.

    Raises:
        InputError: A column is missing, or a row is damaged.
    """
    table, found = read_table(path), dict[str, dict[int, bool]]()
    columns = [table[name].tolist() for name in ("sha256", "page", "decision")]
    for record, (sha256, page, decision) in enumerate(zip(*columns, strict=True)):
        place = f"{path}, row {row_number(record)}"
        if decision not in (CUT, JOIN):
            raise InputError(f"{place}: decision '{decision}' is not one of {CUT}, {JOIN}", "correct or delete the row")
        if not page.isdecimal() or int(page) < 2:
            raise InputError(f"{place}: page '{page}' is no page from 2 on", "correct or delete the row")
        found.setdefault(sha256, {})[int(page)] = decision == CUT
    return found


@dataclass(frozen=True)
class DecidedCuts:
    """What was decided about the packets of a list.

    Attributes:
        by_row: By row of the list, whether a document begins with a page.
    """

    by_row: Mapping[int, Mapping[int, bool]]

    @classmethod
    def read(cls, tables: Sequence[Path], files: FileList) -> DecidedCuts:
        """Find the packets that tables are about; of those that are not in the list is warned.

        Raises:
            InputError: A table is damaged.
        """
        decisions = dict[str, dict[int, bool]]()
        for table in tables:
            for sha256, pages in read_cuts(table).items():
                decisions.setdefault(sha256, {}).update(pages)
        by_row, found = dict[int, Mapping[int, bool]](), set[str]()
        for row in range(len(files) if decisions else 0):
            path = files.path(row)[0]
            sha256 = sha256_of(path) if path.is_file() else ""
            if sha256 in decisions:
                by_row[row] = decisions[sha256]
                found.add(sha256)
        if others := sum(len(pages) for sha256, pages in decisions.items() if sha256 not in found):
            logger.warning("--cuts: %d decisions are about other packets, or about packets that have changed", others)
        return cls(by_row)

    def of(self, row: int) -> Mapping[int, bool]:
        """Whether a document begins with a page, by its number counted from 1, where that is decided."""
        return self.by_row.get(row, {})
