"""Writes the files of `predict` row by row: tables as CSV or JSON Lines, and the competition's submission."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docclf_cli.data.index.cells import to_cell
from docclf_cli.files import atomic_write
from docclf_cli.tasks.predict.page_predictions import PagePrediction

FORMATS = ("csv", "jsonl")
WORK = ".docclf-predict"


@dataclass(frozen=True)
class OutputFiles:
    """Paths of the results.

    Attributes:
        pages: Table with one row per page.
        documents: Table with one row per file; written if a file has several pages.
        quarantine: Table of the pages that could not be read; written if there are any.
        submission: The competition's file; written if the user asks for it.
        shards: Folder of intermediate results, removed at the end.
    """

    pages: Path
    documents: Path
    quarantine: Path
    submission: Path
    shards: Path

    @classmethod
    def at(cls, output: Path, file_format: str) -> OutputFiles:
        """Name the files in a folder, or beside `output` if it is itself the name of a table."""
        if output.suffix.lower() in (".csv", ".jsonl"):
            stem, suffix = output.with_suffix(""), output.suffix
            siblings = [stem.with_name(f"{stem.name}.{name}") for name in ("documents", "quarantine", "submission")]
            work = output.with_name(f"{WORK}-{output.name}")
            pages, documents = output, siblings[0].with_name(siblings[0].name + suffix)
            others = [path.with_name(f"{path.name}.csv") for path in siblings[1:]]
            return cls(pages, documents, others[0], others[1], work)
        names = (f"predictions.{file_format}", f"documents.{file_format}", "quarantine.csv", "submission.csv", WORK)
        return cls(*(output / name for name in names))

    @property
    def results(self) -> tuple[Path, ...]:
        """All files that stay."""
        return self.pages, self.documents, self.quarantine, self.submission


def write_page_predictions(
    path: Path, predictions: Iterable[PagePrediction], names: Sequence[str], top_k: int, *, columns: tuple[str, str]
) -> Path:
    """Write a table of predictions.

    Args:
        path: `.jsonl` for JSON Lines, otherwise CSV.
        predictions: The rows.
        names: Class names.
        top_k: Number of classes in a row (fewer if there are fewer classes).
        columns: Names of the columns of the ID and of the page number.
    """
    if path.suffix.lower() == ".jsonl":
        with atomic_write(path, "w") as file:
            for prediction in predictions:
                line = json.dumps(_json_row(prediction, names, columns), ensure_ascii=False)
                # A byte of a name that is not UTF-8 is a lone surrogate, for which JSON has an escape.
                file.write(line.encode("utf-8", "backslashreplace").decode() + "\n")
        return path
    ranks = range(2, min(top_k, len(names)) + 1)
    further = [f"{name}_{rank}" for rank in ranks for name in ("class", "confidence")]
    header = (*columns, "class", "confidence", *further, "review", "status")
    return _write_csv(path, header, (_csv_row(prediction, names, columns) for prediction in predictions))


def write_quarantine(path: Path, unreadable: Iterable[PagePrediction], columns: tuple[str, str]) -> Path:
    """Write the pages that could not be read, with the reason."""
    rows = ({columns[0]: one.label, columns[1]: one.page or "", "reason": one.status} for one in unreadable)
    return _write_csv(path, (*columns, "reason"), rows)


def write_submission(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    """Write the competition's `ID,target`, with IDs exactly as the competition spells them."""
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("ID", "target"))
        writer.writerows(rows)
    return path


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([to_cell(row.get(name, "")) for name in header] for row in rows)
    return path


def _csv_row(prediction: PagePrediction, names: Sequence[str], columns: tuple[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {columns[0]: prediction.label, columns[1]: prediction.page or ""}
    for rank, (index, probability) in enumerate(prediction.top, 1):
        place = "" if rank == 1 else f"_{rank}"
        row |= {f"class{place}": names[index], f"confidence{place}": f"{probability:.6f}"}
    review = "" if prediction.review is None else str(prediction.review).lower()
    return row | {"review": review, "status": prediction.status}


def _json_row(prediction: PagePrediction, names: Sequence[str], columns: tuple[str, str]) -> dict[str, Any]:
    top = [{"class": names[index], "confidence": round(probability, 6)} for index, probability in prediction.top]
    first = top[0] if top else {"class": None, "confidence": None}
    return {
        columns[0]: prediction.label,
        columns[1]: prediction.page or None,
        **first,
        "top": top,
        "review": prediction.review,
        "status": prediction.status,
    }
