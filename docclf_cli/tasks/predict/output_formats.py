"""The formats of `predict`: one registered writer each; the option's help, its check and the file names follow.

A writer takes an open text file, the predictions, the class names, how many classes a row names, and what the columns
of the ID and the page number are called. Its `suffix` is how files of the format end. One that is `binary` takes a
binary file; `package` and `extra` name what it needs beside docclf itself.
"""

from __future__ import annotations

import csv
import importlib.util
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from docclf_cli.data.index.cells import to_cell
from docclf_cli.errors import InputError
from docclf_cli.registry import Entry, Registry

if TYPE_CHECKING:
    from docclf_cli.tasks.predict.page_predictions import PagePrediction

Writer = Callable[[IO[Any], "Iterable[PagePrediction]", Sequence[str], int, tuple[str, str]], None]
ROWS_PER_GROUP = 50_000  # of a Parquet file, which are in memory at the same time
OUTPUT_FORMATS: Registry[Writer] = Registry("output format")


@OUTPUT_FORMATS.register("csv", suffix=".csv")
def write_csv(
    file: IO[str], predictions: Iterable[PagePrediction], names: Sequence[str], top_k: int, columns: tuple[str, str]
) -> None:
    """Comma-separated values: the runners-up in columns of their own."""
    ranks = range(2, min(top_k, len(names)) + 1)
    header = [*columns, "class", "confidence"]
    header += [f"{name}_{rank}" for rank in ranks for name in ("class", "confidence")]
    header += ["unknown", "decision", "needs_review", "status", "turn", "mirrored"]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for prediction in predictions:
        row: dict[str, Any] = {columns[0]: prediction.shown, columns[1]: prediction.page or ""}
        for rank, (index, probability) in enumerate(prediction.top, 1):
            place = "" if rank == 1 else f"_{rank}"
            row |= {f"class{place}": names[index], f"confidence{place}": f"{probability:.6f}"}
        row["unknown"] = "" if prediction.unknown is None else f"{prediction.unknown:.6f}"
        row["decision"] = prediction.decision(names)
        row["needs_review"] = "" if prediction.needs_review is None else str(prediction.needs_review).lower()
        row["status"] = prediction.status
        if (lies := prediction.orientation) is not None:
            row |= {"turn": lies.turn, "mirrored": "" if lies.mirrored is None else str(lies.mirrored).lower()}
        writer.writerow([to_cell(row.get(name, "")) for name in header])


@OUTPUT_FORMATS.register("jsonl", suffix=".jsonl")
def write_json_lines(
    file: IO[str], predictions: Iterable[PagePrediction], names: Sequence[str], top_k: int, columns: tuple[str, str]
) -> None:
    """JSON Lines: one object a row, the most probable classes as a list."""
    for prediction in predictions:
        row = _row(prediction, names, columns)
        # A byte of a name that is not UTF-8 is a lone surrogate, for which JSON has an escape.
        file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace").decode() + "\n")


@OUTPUT_FORMATS.register("parquet", suffix=".parquet", binary=True, package="pyarrow", extra="parquet")
def write_parquet(
    file: IO[bytes], predictions: Iterable[PagePrediction], names: Sequence[str], top_k: int, columns: tuple[str, str]
) -> None:
    """Parquet: the columns of JSON Lines with their types; a byte of a name that is not UTF-8 is written as an escape."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, number = pa.string(), pa.float64()
    schema = pa.schema(
        [
            (columns[0], text), (columns[1], pa.int32()), ("class", text), ("confidence", number),
            ("top", pa.list_(pa.struct([("class", text), ("confidence", number)]))),
            ("unknown", number), ("decision", text), ("needs_review", pa.bool_()), ("status", text),
            ("turn", pa.int32()), ("mirrored", pa.bool_()),
        ]
    )  # fmt: skip
    rows = (_row(prediction, names, columns) for prediction in predictions)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(itertools.islice(rows, ROWS_PER_GROUP)):
            for row in group:
                row[columns[0]] = row[columns[0]].encode("utf-8", "backslashreplace").decode()
            writer.write_table(pa.Table.from_pylist(group, schema))


def _row(prediction: PagePrediction, names: Sequence[str], columns: tuple[str, str]) -> dict[str, Any]:
    """A row of JSON Lines and Parquet."""
    top = [{"class": names[index], "confidence": round(probability, 6)} for index, probability in prediction.top]
    first = top[0] if top else {"class": None, "confidence": None}
    lies = prediction.orientation
    return {
        columns[0]: prediction.shown,
        columns[1]: prediction.page or None,
        **first,
        "top": top,
        "unknown": None if prediction.unknown is None else round(prediction.unknown, 6),
        "decision": prediction.decision(names),
        "needs_review": prediction.needs_review,
        "status": prediction.status,
        "turn": None if lies is None else lies.turn,
        "mirrored": None if lies is None else lies.mirrored,
    }


def require_format(name: str) -> Entry[Writer]:
    """A format that can be written here.

    Raises:
        InputError: There is none of this name, or its package is not installed.
    """
    if name not in OUTPUT_FORMATS.names():
        raise InputError(f"--format: '{name}' is not one of {', '.join(OUTPUT_FORMATS.names())}")
    entry = OUTPUT_FORMATS.get(name)
    package = entry.facts.get("package")
    if package is not None and importlib.util.find_spec(package) is None:
        raise InputError(
            f"--format {name} needs the package {package}", f"pip install 'docclf[{entry.facts['extra']}]'"
        )
    return entry


def format_of(path: Path) -> Entry[Writer] | None:
    """The format that the name of a file ends like; None for a folder."""
    return next((entry for entry in OUTPUT_FORMATS if entry.facts["suffix"] == path.suffix.lower()), None)
