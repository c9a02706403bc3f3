"""Writes the tables and plots that people read, from predictions alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.data.images.contact_sheet import contact_sheet
from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.loading.pages import Pages
from docclf_cli.engine.checkpoints.run_folder import write_csv
from docclf_cli.metrics.calibration import confidences, reliability_bins
from docclf_cli.metrics.class_metrics import per_sample_loss
from docclf_cli.metrics.confusion import confusion
from docclf_cli.metrics.mistakes import pages_to_show
from docclf_cli.metrics.thresholds import risk_coverage
from docclf_cli.plots import plots
from docclf_cli.results.metrics import ClassRow, Scores, Threshold
from docclf_cli.results.predictions import Predictions
from docclf_cli.text import composed, split_name

SHEET_PAGES = 24  # of a sheet of predictions
RIGHT = (59, 110, 168)
WRONG = (217, 130, 43)  # the colours of the confusion matrix


def write_class_metrics(path: Path, rows: Iterable[ClassRow]) -> Path:
    """Write one row per class; `accuracy` is recall, `_low` and `_high` bound 95 % intervals."""
    write_csv(path, [_class_record(row) for row in rows])
    return path


def _class_record(row: ClassRow) -> dict[str, Any]:
    record: dict[str, Any] = {"class": row.name, "support": row.support, "loss": row.loss}
    for name in ("accuracy", "precision", "f1"):
        estimate = getattr(row, name)
        record |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return record


def write_class_report(folder: Path, split: str, predictions: Predictions, scores: Scores) -> list[Path]:
    """Write the class table, the class plot and the confusion matrix of one split."""
    scored = predictions.scored()
    matrix = confusion(scored.labels, scored.predicted(), scored.num_classes)
    return [
        write_class_metrics(folder / f"{split}_class_metrics.csv", scores.classes),
        plots.class_performance(
            scores.classes,
            folder / f"{split}_class_performance.png",
            f"Metrics by class: {scores.support} {split_name(split)} pages",
        ),
        plots.confusion_matrix(
            matrix,
            scored.class_names,
            folder / "confusion_matrix.png",
            f"Confusion matrix: {scores.support} {split_name(split)} pages",
        ),
        _write_confusion(folder / "confusion_matrix.csv", matrix, scored.class_names),
    ]


def _write_confusion(path: Path, matrix: np.ndarray, class_names: Sequence[str]) -> Path:
    """Write one row for each pair of true and predicted class that has pages."""
    rows = [
        {"target": class_names[target], "prediction": class_names[predicted], "pages": matrix[target, predicted]}
        for target, predicted in np.argwhere(matrix)
    ]
    write_csv(path, rows)
    return path


def write_comparison(folder: Path, train: Scores, val: Scores) -> Path:
    """Plot training against held-out pages by class, both from the best checkpoint and without augmentation."""
    title = f"Training and held-out pages by class: {train.support} and {val.support} pages"
    return plots.train_val_comparison(train.classes, val.classes, folder / "train_val_comparison.png", title)


def write_curves(folder: Path, history: Sequence[Mapping[str, float]], best_epoch: int, val_pages: int) -> Path:
    """Metrics over the epochs."""
    title = f"Training: best epoch {best_epoch} of {len(history)} (dashed), {val_pages} held-out pages"
    return plots.training_curves(history, folder / "training_curves.png", title, best_epoch)


def write_predictions(path: Path, predictions: Predictions, temperature: float) -> Path:
    """Write one row per page in the order of the input; the `status` of an unreadable page is the reason."""
    names, chosen = predictions.class_names, predictions.predicted()
    probs, losses = predictions.probs(temperature), per_sample_loss(predictions, temperature)
    rows = [
        {
            "ID": predictions.ids[row],
            "target": predictions.label_name(row),
            "prediction": names[chosen[row]] if chosen[row] >= 0 else "",
            "confidence": _digits(probs[row].max()),
            "loss": _digits(losses[row]),
            "status": "" if predictions.status is None else predictions.status[row],
        }
        for row in range(len(predictions))
    ]
    write_csv(path, rows)
    return path


def write_prediction_sheet(
    folder: Path, split: str, predictions: Predictions, temperature: float, pages: Pages
) -> Path:
    """Draw pages that were predicted wrongly (the most confident first) and rightly (the least confident first).

    Args:
        folder: Where `prediction_sheet.png` is written.
        split: Which pages.
        predictions: Labelled pages.
        temperature: Divides the logits.
        pages: Their images; pages that cannot be read are left out.
    """
    scored = predictions.scored()
    confidence, correct = confidences(scored, temperature)
    predicted = scored.predicted()
    order = pages_to_show(scored, most=len(scored))
    wrong, right = order[~correct[order]], order[correct[order]]
    first = wrong[: max(SHEET_PAGES // 2, SHEET_PAGES - len(right))]
    images: list[np.ndarray] = []
    captions: list[str] = []
    frames: list[tuple[int, int, int]] = []
    for row in np.concatenate([first, right[: SHEET_PAGES - len(first)]]):
        try:
            images.append(pages[pages.index.row_of[composed(str(scored.ids[row]))]])
        except UnreadablePage:
            continue
        named = f"{confidence[row]:.2f} {scored.class_names[predicted[row]]}"  # a long name is cut at its end
        captions.append(named if correct[row] else f"{named}\nis {scored.class_names[scored.labels[row]]}")
        frames.append(RIGHT if correct[row] else WRONG)
    mistakes = frames.count(WRONG)
    title = (
        f"{len(scored)} {split_name(split)} pages, {len(wrong)} wrong: {mistakes} of these (orange, the most confident first) and "
        f"{len(frames) - mistakes} right ones (blue, the least confident first)"
    )
    return contact_sheet(images, captions, folder / "prediction_sheet.png", frames=frames, title=title)


def _digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def write_calibration_plots(folder: Path, split: str, predictions: Predictions, temperature: float) -> list[Path]:
    """Plot the calibration, and the share of mistakes among the most confident pages."""
    scored = predictions.scored()
    bins = reliability_bins(*confidences(scored, temperature), scored.groups)
    title = f"Reliability: {len(scored)} {split_name(split)} pages"
    return [
        plots.reliability(bins, folder / "reliability.png", title),
        write_risk_coverage(folder, split, predictions, temperature),
    ]


def write_risk_coverage(
    folder: Path, split: str, predictions: Predictions, temperature: float, threshold: Threshold | None = None
) -> Path:
    """What goes wrong when only the most confident pages are decided, with the chosen threshold marked."""
    scored = predictions.scored()
    coverage, risk, _ = risk_coverage(*confidences(scored, temperature))
    title = f"Risk and coverage: {len(scored)} {split_name(split)} pages"
    return plots.risk_coverage(coverage, risk, folder / "risk_coverage.png", title, threshold)
