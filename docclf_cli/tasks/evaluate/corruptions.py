"""Scores the same pages under each kind and severity of corruption, and compares them with the clean pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.data.images.corruptions import DAMAGES, RULES, CorruptedView, DegradedView, severity_names
from docclf_cli.engine.checkpoints.run_folder import write_csv
from docclf_cli.metrics.class_metrics import score
from docclf_cli.metrics.compare import paired_difference
from docclf_cli.plots import plots
from docclf_cli.results.evaluation import CorruptionReport, CorruptionRow
from docclf_cli.results.figures import ClassRow, Scores
from docclf_cli.results.predictions import Predictions

MIXTURE = "all"  # the kind of `DegradedView`
MIRROR = "mirrored", "not mirrored"  # the two parts of the mixture
# The same for all runs, whatever their split seed, so that their pages are sampled and corrupted alike.
SEED = 0
Corrupted = DegradedView | CorruptedView


def corrupted_views(ids: np.ndarray) -> list[tuple[str, str, Corrupted]]:
    """List kind, name of the severity, and view: first the mixture, then each corruption alone.

    The views depend on the IDs of the pages alone, not on the split, policy or settings of a run.
    """
    views: list[tuple[str, str, Corrupted]] = [(MIXTURE, "", DegradedView(ids, SEED))]
    for entry in DAMAGES:
        for severity, name in severity_names(entry.name).items():
            views.append((entry.name, name, CorruptedView(ids, SEED, entry.name, severity)))
    return views


def measure_corruptions(
    clean: Predictions,
    names: Sequence[tuple[str, str]],
    corrupted: Sequence[Predictions],
    folder: Path,
    *,
    of: int,
    temperature: float,
) -> tuple[CorruptionReport, list[Path]]:
    """Score pages under each corruption, and write the tables and the heat map.

    Args:
        clean: Predictions for the clean pages.
        names: Kind and severity of each corruption.
        corrupted: Predictions for the same pages under each corruption.
        folder: Where the files are written.
        of: Number of pages of the split.
        temperature: Divides the logits.
    """
    parts = [(*name, clean, one) for name, one in zip(names, corrupted, strict=True)]
    parts[1:1] = _split_by_mirror(clean, corrupted[0])
    scores = [score(one, temperature=temperature) for *_, one in parts]
    rows = [_row(*part, found) for part, found in zip(parts, scores, strict=True)]
    by_class = [_class_record(row, one) for row, found in zip(rows, scores, strict=True) for one in found.classes]
    table, details = folder / "damage.csv", folder / "damage_by_class.csv"
    write_csv(table, [_record(row) for row in rows])
    write_csv(details, by_class)
    plotted = [row for row in rows if row.severity not in MIRROR]
    picture = _heat_map(plotted, score(clean, temperature=temperature), folder / "damage_by_class.png")
    return CorruptionReport(len(clean), of, tuple(rows), RULES), [table, details, picture]


def _split_by_mirror(clean: Predictions, mixture: Predictions) -> list[tuple[str, str, Predictions, Predictions]]:
    """Split the mixture into mirrored and other pages, if both can be scored: not every user has mirrored pages."""
    view = DegradedView(mixture.ids, SEED)
    mirrored = np.array([view.is_mirrored(row) for row in range(len(mixture))], dtype=bool)
    place = {name: row for row, name in enumerate(clean.ids.tolist())}
    same = clean.take([place[name] for name in mixture.ids.tolist()])
    scored = (mixture.labels >= 0) & ~np.isnan(mixture.log_probs).any(axis=1)
    if not (scored & mirrored).any() or not (scored & ~mirrored).any():
        return []
    return [
        (MIXTURE, name, same.take(rows), mixture.take(rows))
        for name, rows in zip(MIRROR, (np.flatnonzero(mirrored), np.flatnonzero(~mirrored)), strict=True)
    ]


def _row(kind: str, severity: str, clean: Predictions, corrupted: Predictions, scores: Scores) -> CorruptionRow:
    difference = paired_difference(corrupted, clean, "f1_macro")
    recalls = tuple(one.accuracy.value for one in scores.classes)
    accuracy = scores.figures["accuracy"]
    return CorruptionRow(kind, severity, scores.support, accuracy, scores.figures["f1_macro"], difference, recalls)


def _record(row: CorruptionRow) -> dict[str, Any]:
    record: dict[str, Any] = {"damage": row.kind, "strength": row.severity, "pages": row.pages}
    for name, one in (("accuracy", row.accuracy), ("f1_macro", row.f1_macro), ("difference", row.difference)):
        record |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return record


def _class_record(row: CorruptionRow, one: ClassRow) -> dict[str, Any]:
    return {
        "damage": row.kind,
        "strength": row.severity,
        "class": one.name,
        "support": one.support,
        "accuracy": one.accuracy.value,
        "accuracy_low": one.accuracy.low,
        "accuracy_high": one.accuracy.high,
        "f1": one.f1.value,
    }


def _heat_map(rows: Sequence[CorruptionRow], clean: Scores, path: Path) -> Path:
    """Plot the accuracy that each class loses under each corruption; a negative loss is a gain."""
    lost = np.array([one.accuracy.value for one in clean.classes]) - np.array([row.recalls for row in rows])
    names = [f"{row.kind}, {row.severity}" if row.severity else row.kind for row in rows]
    classes = [f"{one.name} ({one.support})" for one in clean.classes]
    return plots.heat_map(lost + 0.0, names, classes, path, "accuracy lost by class (pages in brackets)")
