"""Scores the same pages under each kind and severity of corruption, and compares them with the clean pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.data.images.corruptions import CORRUPTIONS, RULES, CorruptedView, DegradedView, severity_names
from docclf_cli.engine.checkpoints.run_folder import write_csv
from docclf_cli.metrics.class_metrics import score
from docclf_cli.metrics.compare import paired_difference
from docclf_cli.plots import plots
from docclf_cli.results.evaluation import CorruptionReport, CorruptionRow
from docclf_cli.results.metrics import ClassRow, Scores
from docclf_cli.results.predictions import Predictions
from docclf_cli.text import split_name

MIXTURE = "all"  # the kind of `DegradedView`
MIRROR = "mirrored", "not mirrored"  # parts of the mixture, told apart
# Whatever split a run was trained on: its pages are drawn and damaged as those of the runs it is compared with.
SEED = 0
Corrupted = DegradedView | CorruptedView


def corrupted_views(ids: np.ndarray) -> list[tuple[str, str, Corrupted]]:
    """List kind, name of the severity, and view: first the mixture, then each corruption alone.

    The views depend on the IDs of the pages alone, not on the split, policy or settings of a run.
    """
    views: list[tuple[str, str, Corrupted]] = [(MIXTURE, "", DegradedView(ids, SEED))]
    for entry in CORRUPTIONS:
        for severity, name in severity_names(entry.name).items():
            views.append((entry.name, name, CorruptedView(ids, SEED, entry.name, severity)))
    return views


def measure_corruptions(
    clean: Predictions,
    names: Sequence[tuple[str, str]],
    corrupted: Sequence[Predictions],
    folder: Path,
    *,
    split: str,
    total_pages: int,
    temperature: float,
) -> tuple[CorruptionReport, list[Path]]:
    """Score pages under each corruption, and write the tables and the plot.

    Args:
        clean: Predictions for the pages as they are.
        names: Corruption and severity of each.
        corrupted: Predictions for the same pages under each.
        folder: Where the files go.
        split: Which pages.
        total_pages: How many pages the split has.
        temperature: Divides the logits.
    """
    parts = [(*name, clean, one) for name, one in zip(names, corrupted, strict=True)]
    parts[1:1] = _by_mirror(clean, corrupted[0])
    scores = [score(one, temperature=temperature) for *_, one in parts]
    rows = [_row(*part, found) for part, found in zip(parts, scores, strict=True)]
    by_class = [_class_record(row, one) for row, found in zip(rows, scores, strict=True) for one in found.classes]
    table, details = folder / "corruptions.csv", folder / "corruptions_by_class.csv"
    write_csv(table, [_record(row) for row in rows])
    write_csv(details, by_class)
    whole = [row for row in rows if row.severity not in MIRROR]
    picture = _heat_map(whole, score(clean, temperature=temperature), split, folder / "corruptions_by_class.png")
    return CorruptionReport(len(clean), total_pages, tuple(rows), RULES), [table, details, picture]


def _by_mirror(clean: Predictions, mixture: Predictions) -> list[tuple[str, str, Predictions, Predictions]]:
    """The mixture in two parts, where both have pages: what a mirror costs is paid only where pages arrive mirrored."""
    view = DegradedView(mixture.ids, SEED)
    mirrored = np.array([view.is_mirrored(row) for row in range(len(mixture))], dtype=bool)
    place = {name: row for row, name in enumerate(clean.ids.tolist())}
    same = clean.take([place[name] for name in mixture.ids.tolist()])
    sides = [(name, np.flatnonzero(side)) for name, side in zip(MIRROR, (mirrored, ~mirrored), strict=True)]
    if not all(_scored(mixture.take(rows)) for _, rows in sides):
        return []
    return [(MIXTURE, name, same.take(rows), mixture.take(rows)) for name, rows in sides]


def _scored(predictions: Predictions) -> bool:
    return bool(((predictions.labels >= 0) & ~np.isnan(predictions.log_probs).any(axis=1)).any())


def _row(kind: str, severity: str, clean: Predictions, corrupted: Predictions, scores: Scores) -> CorruptionRow:
    difference = paired_difference(corrupted, clean, "f1_macro")
    recalls = tuple(one.accuracy.value for one in scores.classes)
    metrics = scores.metrics["accuracy"], scores.metrics["f1_macro"]
    return CorruptionRow(kind, severity, scores.support, *metrics, difference, recalls)


def _record(row: CorruptionRow) -> dict[str, Any]:
    record: dict[str, Any] = {"corruption": row.kind, "severity": row.severity, "pages": row.pages}
    for name, one in (("accuracy", row.accuracy), ("f1_macro", row.f1_macro), ("difference", row.difference)):
        record |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return record


def _class_record(row: CorruptionRow, one: ClassRow) -> dict[str, Any]:
    return {
        "corruption": row.kind,
        "severity": row.severity,
        "class": one.name,
        "support": one.support,
        "accuracy": one.accuracy.value,
        "accuracy_low": one.accuracy.low,
        "accuracy_high": one.accuracy.high,
        "f1": one.f1.value,
    }


def _heat_map(rows: Sequence[CorruptionRow], clean: Scores, split: str, path: Path) -> Path:
    """Plot the accuracy that each class loses under each corruption; a negative loss is a gain."""
    lost = np.array([one.accuracy.value for one in clean.classes]) - np.array([row.recalls for row in rows])
    names = [_name(row.kind, row.severity) for row in rows]
    classes = [f"{one.name} ({one.support})" for one in clean.classes]
    title = (
        f"Accuracy lost under corruptions: {clean.support} {split_name(split)} pages (pages of each class in brackets)"
    )
    return plots.heat_map(lost, names, classes, path, title)


def _name(kind: str, severity: str) -> str:
    return f"{kind}, {severity}" if severity else kind
