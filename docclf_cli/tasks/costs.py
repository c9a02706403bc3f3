"""Reads the prices of decisions from a table that people keep."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from docclf_cli.errors import InputError
from docclf_cli.metrics.costs import Costs
from docclf_cli.registry import did_you_mean
from docclf_cli.text import composed

TRUE, REVIEW, UNKNOWN = "true", "review", "unknown"


def read_costs(path: Path, class_names: Sequence[str]) -> Costs:
    """Read a table with a row for each true class, and a column for each decision and for `review`.

        true,invoice,letter,review
        invoice,0,5,1
        letter,20,0,1
        unknown,50,50,1

    The row `unknown` is for pages of no known class, and may be left out; with a class of that name it is the class.

    Args:
        path: The CSV.
        class_names: Names along the class axis.

    Raises:
        InputError: The file is missing, a class is missing or not known, or a cell is no price.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--costs {path}: cannot be read", "name a CSV of true classes by decisions") from error
    names = [composed(name) for name in class_names]
    columns = [composed(cell) for cell in rows[0][1:]] if rows else []
    _check_names(path, "column", columns, [*names, REVIEW], required=[*names, REVIEW])
    order = [columns.index(name) for name in [*names, REVIEW]]
    found: dict[str, np.ndarray] = {}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(columns) + 1:
            raise InputError(f"{path}: row {number} has {len(row)} cells, the header {len(columns) + 1}")
        if composed(row[0]) in found:
            raise InputError(f"{path}: row {number}: '{row[0]}' is there twice")
        found[composed(row[0])] = np.array([_price(path, number, row[place + 1]) for place in order])
    _check_names(path, "row", list(found), [*names, UNKNOWN], required=names)
    prices = np.stack([found[name] for name in names])
    foreign = None if UNKNOWN in names else found.get(UNKNOWN)
    if foreign is None:
        return Costs(prices[:, :-1], prices[:, -1])
    return Costs(prices[:, :-1], prices[:, -1], foreign[:-1], float(foreign[-1]))


def _check_names(path: Path, kind: str, given: list[str], known: list[str], required: list[str]) -> None:
    for name in given:
        if name not in known:
            raise InputError(
                f"{path}: {kind} '{name}' is no class of the model{did_you_mean(name, known)}", f"{', '.join(known)}"
            )
        if given.count(name) > 1:
            raise InputError(f"{path}: {kind} '{name}' is there twice")
    if missing := [name for name in required if name not in given]:
        raise InputError(f"{path}: there is no {kind} '{missing[0]}'", f"one {kind} for each of {', '.join(required)}")


def _price(path: Path, number: int, cell: str) -> float:
    try:
        price = float(cell)
    except ValueError:
        price = float("nan")
    if not 0 <= price < float("inf"):
        raise InputError(f"{path}: row {number}: '{cell}' is no price", "a number that is not negative, such as 2.50")
    return price
