"""Writes the files of an audit: tables, contact sheets, and the two overlays that a profile's data section accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.data.images.contact_sheet import THUMBNAIL, contact_sheet
from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.loading.pages import Pages
from docclf_cli.engine.checkpoints.run_folder import write_csv
from docclf_cli.files import write_json
from docclf_cli.results.audit import SUMMARY, AuditClass, AuditResult, LabelIssue, NearDuplicatePair
from docclf_cli.tasks.audit.pages import Collection

_PAIRS, _LABELS = 40, 60  # on the pictures; the tables have all


def write_audit(
    folder: Path, collection: Collection, groups: np.ndarray, result: AuditResult, relabelled: Mapping[str, str]
) -> list[Path]:
    """Write everything into a new folder, and return what is there, most useful first.

    Args:
        folder: Where to.
        collection: The pages.
        groups: Group of each page to train and validate on, text [n].
        result: What was found.
        relabelled: Labels of the profile's relabel file by ID, which stay as they are.
    """
    issues = () if result.labels is None else result.labels.issues
    sheets = _Sheets(folder, collection)
    files = []
    if result.near_duplicates:
        write_csv(folder / "near_duplicates.csv", [_pair_record(pair) for pair in result.near_duplicates])
        files += [sheets.near_duplicates(result.near_duplicates[:_PAIRS]), folder / "near_duplicates.csv"]
    if issues:
        write_csv(folder / "label_issues.csv", [asdict(one) for one in issues])
        files += [sheets.labels(issues[:_LABELS]), folder / "label_issues.csv"]
    if result.outliers:
        write_csv(folder / "outliers.csv", [asdict(one) for one in result.outliers])
        files.append(folder / "outliers.csv")
    write_csv(folder / "classes.csv", [_class_record(one) for one in result.classes])
    files += [folder / "classes.csv", _write_overlay(folder / "groups.csv", "group", collection.training.ids, groups)]
    corrected = {one.id: one.suggested_label for one in issues} | dict(relabelled)
    if corrected:
        files.append(_write_overlay(folder / "relabel.csv", "target", list(corrected), list(corrected.values())))
    write_json(folder / SUMMARY, _summary(result, collection))
    return files


def _write_overlay(path: Path, column: str, ids: Iterable[str], values: Iterable[str]) -> Path:
    write_csv(path, [{"ID": name, column: value} for name, value in zip(ids, values, strict=True)])
    return path


def _pair_record(pair: NearDuplicatePair) -> dict[str, Any]:
    sides = {"first": asdict(pair.first), "second": asdict(pair.second)}
    pages = {f"{side}_{key}": value for side, page in sides.items() for key, value in page.items()}
    return {
        **pages,
        "similarity": f"{pair.similarity:.4f}",
        "labels_differ": pair.labels_differ,
        "across_splits": pair.across_splits,
    }


def _class_record(one: AuditClass) -> dict[str, Any]:
    return {"class": one.name, **one.pages, "groups": one.groups}


def _summary(result: AuditResult, collection: Collection) -> dict[str, Any]:
    labels = result.labels
    return {
        "data": result.data,
        "data_section": collection.config.model_dump(mode="json"),
        "pages": dict(result.pages),
        "near_duplicate_pairs": len(result.near_duplicates),
        "pairs_with_different_labels": sum(pair.labels_differ for pair in result.near_duplicates),
        "pairs_across_splits": sum(pair.across_splits for pair in result.near_duplicates),
        "run": None if labels is None else str(labels.run.absolute()),
        "label_issues": None if labels is None or labels.skipped_reason is not None else len(labels.issues),
        "outliers": len(result.outliers),
    }


class _Sheets:
    """Draws contact sheets of near duplicates and label issues.

    Args:
        folder: Where they are written.
        collection: The pages.
    """

    def __init__(self, folder: Path, collection: Collection) -> None:
        self.folder, self.collection = folder, collection
        places = zip(collection.splits.tolist(), collection.ids.tolist(), strict=True)
        self._row_of = {place: row for row, place in enumerate(places)}
        self._training_row_of = {name: row for row, name in enumerate(collection.training.ids.tolist())}
        self._sides = [Pages(side, Preprocess(THUMBNAIL), collection.config) for side in collection.sides]

    def near_duplicates(self, pairs: Sequence[NearDuplicatePair]) -> Path:
        """Draw the pages of each pair side by side, two pairs per row."""
        pages = [page for pair in pairs for page in (pair.first, pair.second)]
        likeness = [pair.similarity for pair in pairs for _ in range(2)]
        captions = [
            f"{page.split} {page.label or ''} {alike:.2f}\n{page.id}"
            for page, alike in zip(pages, likeness, strict=True)
        ]
        rows = [self._row_of[page.split, page.id] for page in pages]
        return contact_sheet(
            [self._page(row) for row in rows], captions, self.folder / "near_duplicates.png", columns=4
        )

    def labels(self, issues: Sequence[LabelIssue]) -> Path:
        """Draw pages with their ID, their given class and the class they seem to have."""
        captions = [f"{one.id}\ngiven {one.given_label}\nsuggested {one.suggested_label}" for one in issues]
        pages = [self._page(self._training_row_of[one.id]) for one in issues]
        return contact_sheet(pages, captions, self.folder / "label_issues.png")

    def _page(self, row: int) -> np.ndarray:
        side, own = self.collection.place(row)
        try:
            return self._sides[side][own]
        except UnreadablePage:  # it was readable a moment ago
            return np.full((THUMBNAIL, THUMBNAIL, 3), 255, dtype=np.uint8)
