"""Files a person reads after training: class tables and plots, made from predictions alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.engine.run_folder import write_csv
from docclf_cli.metrics import plots
from docclf_cli.metrics.class_metrics import per_sample_loss
from docclf_cli.metrics.confusion import confusion
from docclf_cli.results.figures import ClassRow, Scores
from docclf_cli.results.predictions import Predictions


def write_class_metrics(path: Path, rows: Iterable[ClassRow]) -> Path:
    """`*_class_metrics.csv`: one row per class; `accuracy` is recall, `_low` and `_high` bound 95 % intervals."""
    write_csv(path, [_class_record(row) for row in rows])
    return path


def _class_record(row: ClassRow) -> dict[str, Any]:
    record: dict[str, Any] = {"class": row.name, "support": row.support, "loss": row.loss}
    for name in ("accuracy", "precision", "f1"):
        estimate = getattr(row, name)
        record |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return record


def write_class_report(folder: Path, split: str, predictions: Predictions, scores: Scores) -> list[Path]:
    """The class table and the two plots of one split."""
    scored = predictions.scored()
    matrix = confusion(scored.labels, scored.predicted(), scored.num_classes)
    return [
        write_class_metrics(folder / f"{split}_class_metrics.csv", scores.classes),
        plots.class_performance(scores.classes, folder / f"{split}_class_performance.png", f"{split}: by class"),
        plots.confusion_matrix(matrix, scored.class_names, folder / "confusion_matrix.png"),
        _write_confusion(folder / "confusion_matrix.csv", matrix, scored.class_names),
    ]


def _write_confusion(path: Path, matrix: np.ndarray, class_names: Sequence[str]) -> Path:
    """One row for each pair of true and predicted class that has pages."""
    rows = [
        {"target": class_names[target], "prediction": class_names[predicted], "pages": matrix[target, predicted]}
        for target, predicted in np.argwhere(matrix)
    ]
    write_csv(path, rows)
    return path


def write_comparison(folder: Path, train: Scores, val: Scores) -> Path:
    """Training against held-out pages, class by class: both from the kept checkpoint, without augmentation."""
    return plots.train_val_comparison(train.classes, val.classes, folder / "train_val_comparison.png")


def write_curves(folder: Path, history: Sequence[Mapping[str, float]]) -> Path:
    """Figures over the epochs."""
    return plots.training_curves(history, folder / "training_curves.png")


def write_predictions(path: Path, predictions: Predictions, temperature: float) -> Path:
    """`predictions.csv`: one row a page in the order of the input; an unreadable page keeps its row, and says why."""
    names, chosen, probs = predictions.class_names, predictions.predicted(), predictions.probs(temperature)
    losses = per_sample_loss(predictions) if predictions.targets is not None else [math.nan] * len(predictions)
    rows = [
        {
            "ID": predictions.ids[row],
            "target": "" if predictions.targets is None else names[predictions.targets[row]],
            "prediction": names[chosen[row]] if chosen[row] >= 0 else "",
            "confidence": f"{probs[row].max():.6f}" if chosen[row] >= 0 else "",
            "loss": f"{losses[row]:.6f}" if chosen[row] >= 0 else "",
            "status": "" if predictions.status is None else predictions.status[row],
        }
        for row in range(len(predictions))
    ]
    write_csv(path, rows)
    return path
