"""The files of `predict`: tables as CSV or JSON Lines, and the competition's submission. Written row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from docclf_cli.data.index.cells import to_cell
from docclf_cli.files import atomic_write
from docclf_cli.tasks.predict.page_predictions import PagePrediction

FORMATS = ("csv", "jsonl")
WORK = ".docclf-predict"


@dataclass(frozen=True)
class OutputFiles:
    """Where the results go.

    Attributes:
        pages: One row a page.
        documents: One row a file, where some file has several pages.
        quarantine: Pages that could not be read, where there are any.
        submission: The competition's file, where it is asked for.
        shards: docclf's own folder, there while the work lasts.
    """

    pages: Path
    documents: Path
    quarantine: Path
    submission: Path
    shards: Path

    @classmethod
    def at(cls, output: Path, file_format: str) -> OutputFiles:
        """Inside a folder; or, for a name that ends like a table, that file and its siblings."""
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
        """All but the parts."""
        return self.pages, self.documents, self.quarantine, self.submission


def write_page_predictions(
    path: Path, predictions: Iterable[PagePrediction], names: Sequence[str], top_k: int, *, columns: tuple[str, str]
) -> Path:
    """A table of predictions, whole or not at all.

    Args:
        path: `.jsonl` for JSON Lines, otherwise CSV.
        predictions: Its rows.
        names: Class names.
        top_k: How many classes a row names (fewer where there are fewer classes).
        columns: What the ID and the page number are called.
    """
    if path.suffix.lower() == ".jsonl":
        return _write(path, _json_lines, (_json_row(prediction, names, columns) for prediction in predictions), ())
    ranks = range(2, min(top_k, len(names)) + 1)
    further = [f"{name}_{rank}" for rank in ranks for name in ("class", "confidence")]
    header = (*columns, "class", "confidence", *further, "needs_review", "status")
    return _write(path, _csv, (_csv_row(prediction, names, columns) for prediction in predictions), header)


def write_quarantine(path: Path, unreadable: Iterable[PagePrediction], columns: tuple[str, str]) -> Path:
    """Pages that could not be read, with the reason."""
    rows = ({columns[0]: one.shown, columns[1]: one.page or "", "reason": one.status} for one in unreadable)
    return _write(path, _csv, rows, (*columns, "reason"))


def write_submission(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    """The competition's `ID,target`; IDs stay exactly as the competition wrote them."""
    return _write(
        path, lambda file, rows, header: csv.writer(file, lineterminator="\n").writerows([header, *rows]), rows,
        ("ID", "target"),
    )  # fmt: skip


def _write(path: Path, put: Callable[[IO[str], Any, Any], None], rows: Any, header: Any) -> Path:
    with atomic_write(path, "w") as file:
        put(file, rows, header)
    return path


def _csv(file: IO[str], rows: Iterable[Mapping[str, Any]], header: Sequence[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([to_cell(row.get(name, "")) for name in header] for row in rows)


def _json_lines(file: IO[str], rows: Iterable[Mapping[str, Any]], header: Sequence[str]) -> None:
    for row in rows:
        # A byte of a name that is not UTF-8 is a lone surrogate, for which JSON has an escape.
        file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace").decode() + "\n")


def _csv_row(prediction: PagePrediction, names: Sequence[str], columns: tuple[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {columns[0]: prediction.shown, columns[1]: prediction.page or ""}
    for rank, (index, probability) in enumerate(prediction.top, 1):
        place = "" if rank == 1 else f"_{rank}"
        row |= {f"class{place}": names[index], f"confidence{place}": f"{probability:.6f}"}
    needs_review = "" if prediction.needs_review is None else str(prediction.needs_review).lower()
    return row | {"needs_review": needs_review, "status": prediction.status}


def _json_row(prediction: PagePrediction, names: Sequence[str], columns: tuple[str, str]) -> dict[str, Any]:
    top = [{"class": names[index], "confidence": round(probability, 6)} for index, probability in prediction.top]
    first = top[0] if top else {"class": None, "confidence": None}
    return {
        columns[0]: prediction.shown, columns[1]: prediction.page or None, **first, "top": top, "needs_review": prediction.needs_review,
        "status": prediction.status,
    }  # fmt: skip
