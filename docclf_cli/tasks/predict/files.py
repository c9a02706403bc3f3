"""The files of `predict`: tables of pages and documents, and the competition's submission. Written row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docclf_cli.data.index.cells import to_cell
from docclf_cli.files import atomic_write
from docclf_cli.tasks.predict.output_formats import OUTPUT_FORMATS, format_of
from docclf_cli.tasks.predict.page_predictions import PagePrediction

WORK = ".docclf-predict"
SUMMARY = "summary.json"


@dataclass(frozen=True)
class OutputFiles:
    """Paths of the results.

    Attributes:
        pages: Table with one row per page.
        documents: Table with one row per file; written if a file has several pages.
        quarantine: Table of the pages that could not be read; written if there are any.
        submission: The competition's file; written if the user asks for it.
        summary: Numbers about all pages together, for `docclf drift`.
        shards: Folder of intermediate results, removed at the end.
    """

    pages: Path
    documents: Path
    quarantine: Path
    submission: Path
    summary: Path
    shards: Path

    @classmethod
    def at(cls, output: Path, file_format: str) -> OutputFiles:
        """Name the files in a folder, or beside `output` if it is itself the name of a table."""
        if format_of(output) is not None:
            stem, suffix = output.with_suffix(""), output.suffix
            siblings = [stem.with_name(f"{stem.name}.{name}") for name in ("documents", "quarantine", "submission")]
            work = output.with_name(f"{WORK}-{output.name}")
            pages, documents = output, siblings[0].with_name(siblings[0].name + suffix)
            others = [path.with_name(f"{path.name}.csv") for path in siblings[1:]]
            summary = stem.with_name(f"{stem.name}.{SUMMARY}")
            return cls(pages, documents, others[0], others[1], summary, work)
        suffix = OUTPUT_FORMATS.get(file_format).facts["suffix"]
        names = (f"predictions{suffix}", f"documents{suffix}", "quarantine.csv", "submission.csv", SUMMARY, WORK)
        return cls(*(output / name for name in names))

    @property
    def results(self) -> tuple[Path, ...]:
        """All files that stay."""
        return self.pages, self.documents, self.quarantine, self.submission, self.summary


def write_page_predictions(
    path: Path, predictions: Iterable[PagePrediction], names: Sequence[str], top_k: int, *, columns: tuple[str, str]
) -> Path:
    """A table of predictions, whole or not at all.

    Args:
        path: Its suffix names the format.
        predictions: Its rows.
        names: Class names.
        top_k: How many classes a row names (fewer where there are fewer classes).
        columns: What the ID and the page number are called.
    """
    file_format = format_of(path)
    assert file_format is not None
    with atomic_write(path, "wb" if file_format.facts.get("binary") else "w") as file:
        file_format.build(file, predictions, names, top_k, columns)
    return path


def write_quarantine(path: Path, unreadable: Iterable[PagePrediction], columns: tuple[str, str]) -> Path:
    """Write the pages that could not be read, with the reason."""
    rows = ([to_cell(cell) for cell in (one.shown, one.page or "", one.status)] for one in unreadable)
    return _write_csv(path, (*columns, "reason"), rows)


def write_submission(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    """Write the competition's `ID,target`, with IDs exactly as the competition spells them."""
    return _write_csv(path, ("ID", "target"), rows)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path
