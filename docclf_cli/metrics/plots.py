"""Pictures of figures that were computed elsewhere; each function writes one PNG and returns its path.

Sizes grow with the number of classes, so that labels neither overlap nor are cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from docclf_cli.files import save_with
from docclf_cli.metrics.fonts import drawable, font_family
from docclf_cli.results import ClassRow, Estimate

BLUE, ORANGE, GREY, GREEN = "#3b6ea8", "#d9822b", "#8a8f98", "#4c9a6a"
DPI, LONGEST_LABEL = 120, 42


def class_performance(rows: Sequence[ClassRow], path: Path, title: str) -> Path:
    """Bars of accuracy (recall), F1 and loss by class, with 95 % intervals."""
    names = [row.name for row in rows]
    figure = _figure(12, 1.6 + 0.34 * len(rows))
    axes = figure.subplots(1, 3, sharey=True)
    _bars(axes[0], [row.accuracy for row in rows], BLUE, "accuracy (recall)")
    _bars(axes[1], [row.f1 for row in rows], GREEN, "F1")
    axes[2].barh(np.arange(len(rows)), [row.loss for row in rows], color=ORANGE, height=0.7)
    axes[2].set_title("mean loss")
    _name_rows(axes[0], [f"{_label(row.name)}  ({row.support})" for row in rows])
    figure.suptitle(f"{title} (pages in brackets, 95 % intervals)", fontsize=11)
    return _save(figure, path, names)


def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], path: Path) -> Path:
    """Counts by true class (rows) and predicted class (columns), coloured by share of the row.

    Args:
        matrix: int [num_classes, num_classes].
        class_names: Names along both axes.
        path: The PNG.
    """
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 4.6 + 0.36 * len(class_names)
    figure = _figure(side + 0.8, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize=7)
    _name_both(axes, class_names, class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    return _save(figure, path, class_names)


def train_val_comparison(train: Sequence[ClassRow], val: Sequence[ClassRow], path: Path) -> Path:
    """Accuracy and F1 on training and on held-out pages by class, joined by the gap between them."""
    names = [row.name for row in val]
    figure = _figure(11, 1.8 + 0.34 * len(val))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, key, title in ((axes[0], "accuracy", "accuracy (recall)"), (axes[1], "f1", "F1")):
        _gaps(axis, [getattr(row, key) for row in train], [getattr(row, key) for row in val])
        axis.set_title(title)
    _name_rows(axes[0], [_label(name) for name in names])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return _save(figure, path, names)


def training_curves(rows: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Losses and macro-F1 over the epochs."""
    figure = _figure(9, 3.4)
    axes = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    wanted = (("train_loss", "val_loss"), ("f1_macro", "f1_macro_degraded", "accuracy"))
    for axis, keys in zip(axes, wanted, strict=True):
        for key, colour in zip(keys, (BLUE, ORANGE, GREY), strict=False):
            if key in rows[0]:
                axis.plot(epochs, [row[key] for row in rows], marker=".", color=colour, label=key.replace("_", " "))
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=8)
    return _save(figure, path, ())


def learning_rate(positions: Sequence[float], rates: Sequence[float], path: Path) -> Path:
    """The learning rate of a run over its epochs."""
    figure = _figure(8, 3.2)
    axes = figure.subplots()
    axes.plot(positions, rates, color=BLUE)
    axes.set_xlabel("epoch")
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    return _save(figure, path, ())


def reliability(confidence: Sequence[float], accuracy: Sequence[Estimate], path: Path) -> Path:
    """How often predictions of a confidence are right: on the diagonal where confidence can be taken at its word.

    Args:
        confidence: Mean confidence of each bin.
        accuracy: Accuracy of each bin.
        path: The PNG.
    """
    figure = _figure(4.6, 4.4)
    axes = figure.subplots()
    values = np.array([estimate.value for estimate in accuracy])
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    axes.errorbar(confidence, values, yerr=_whiskers(accuracy), fmt="o-", color=BLUE, capsize=2, markersize=4)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    return _save(figure, path, ())


def risk_coverage(coverage: np.ndarray, risk: np.ndarray, path: Path) -> Path:
    """The share of mistakes among the pages that are decided, against the share of pages that are decided."""
    figure = _figure(5.2, 3.6)
    axes = figure.subplots()
    axes.plot(coverage, risk, color=BLUE)
    axes.set(xlabel="share of pages decided", ylabel="share of mistakes among them", xlim=(0, 1), ylim=(0, None))
    axes.grid(alpha=0.3)
    return _save(figure, path, ())


def heat_map(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], path: Path, title: str) -> Path:
    """Figures between 0 and 1 by row and column, each written into its cell."""
    figure = _figure(3.4 + 0.62 * len(columns), 2.0 + 0.34 * len(rows))
    axes = figure.subplots()
    axes.imshow(values, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(values.shape):
        axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=7)
    _name_both(axes, rows, columns)
    axes.set_title(title, fontsize=11)
    return _save(figure, path, (*rows, *columns))


def _bars(axes: Axes, estimates: Sequence[Estimate], colour: str, title: str) -> None:
    values = np.nan_to_num([estimate.value for estimate in estimates])
    axes.barh(
        np.arange(len(values)), values, xerr=_whiskers(estimates), color=colour, height=0.7, ecolor="#333333", capsize=2
    )
    axes.set_xlim(0, 1.02)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(title)


def _gaps(axes: Axes, train: Sequence[Estimate], val: Sequence[Estimate]) -> None:
    at = np.arange(len(val))
    high, low = (np.array([estimate.value for estimate in side]) for side in (train, val))
    axes.hlines(at, np.fmin(low, high), np.fmax(low, high), color=GREY, linewidth=3, alpha=0.5)
    axes.plot(high, at, "o", color=ORANGE, label="training pages", markersize=6)
    axes.errorbar(
        low, at, xerr=_whiskers(val), fmt="s", color=BLUE, label="held-out pages", markersize=5, elinewidth=0.8
    )
    axes.set_xlim(0, 1.03)
    axes.grid(axis="x", alpha=0.3)


def _whiskers(estimates: Sequence[Estimate]) -> np.ndarray:
    sides = [(estimate.value - estimate.low, estimate.high - estimate.value) for estimate in estimates]
    return np.clip(np.nan_to_num(np.array(sides, dtype=float)), 0, None).T


def _name_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)


def _name_both(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(rows)), [_label(name) for name in rows], fontsize=8)
    axes.set_xticks(np.arange(len(columns)), [_label(name) for name in columns], fontsize=8, rotation=90)


def _label(name: str) -> str:
    shown = drawable(name)
    short = shown if len(shown) <= LONGEST_LABEL else f"{shown[: LONGEST_LABEL - 1]}…"
    return short.replace("$", r"\$")  # which would start a formula


def _figure(width: float, height: float) -> Any:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path, texts: Sequence[str]) -> Path:
    families = font_family(texts)
    for text in figure.findobj(Text):
        text.set_fontfamily(families)
    save_with(path, lambda file: figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight"))
    return path
