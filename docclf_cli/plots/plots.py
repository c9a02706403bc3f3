"""Pictures of numbers that were computed elsewhere; each function writes one PNG and returns its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from docclf_cli.metrics.metrics import curve_columns, label_of
from docclf_cli.plots.panels import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    beside,
    headline,
    name_columns,
    name_rows,
    panels,
    pitch,
    save,
)
from docclf_cli.results.drift import ClassShare, DriftPeriod
from docclf_cli.results.metrics import ClassRow, Estimate

_LINES = "#dde3ec"
_ROWS = (0.28, 1.2, 120.0)  # inches of a row, and of the least and the most that all together take
_CELLS = (0.36, 2.4, 22.0)  # the same of cells in a square


def class_performance(rows: Sequence[ClassRow], path: Path, title: str) -> Path:
    """Bars of accuracy (recall), F1 and mean loss by class, with 95 % intervals where there are some."""
    row = pitch(len(rows), *_ROWS)
    recall, f1, loss = panels((3, 3, 3), row * len(rows))
    _bars(recall, [one.accuracy for one in rows], BLUE, row)
    _bars(f1, [one.f1 for one in rows], GREEN, row)
    losses = [one.loss for one in rows]
    loss.barh(np.arange(len(rows)), np.nan_to_num(losses), color=ORANGE, height=0.7)
    beside(loss, [_digits(value, 3) for value in losses], row)
    for axes, name in ((recall, "accuracy (recall)"), (f1, "F1"), (loss, "mean loss")):
        _by_class(axes, name, len(rows))
    name_rows(recall, [f"{one.name} ({one.support})" for one in rows], row)
    headline(recall, f"{title} (pages in brackets, 95 % intervals)", lift=26)
    return save(recall, path)


def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], path: Path) -> Path:
    """Counts by true class (rows) and predicted class (columns), coloured by share of the row.

    Args:
        matrix: int [num_classes, num_classes].
        class_names: Names along both axes.
        path: The PNG.
    """
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cell = pitch(len(class_names), *_CELLS)
    axes = _cells(shares, class_names, class_names, (cell, cell), "share of the true class", (0, 1))
    for row, column in np.argwhere(matrix > 0):
        _write(axes, row, column, str(matrix[row, column]), shares[row, column] > 0.55, cell)
    axes.set(xlabel="predicted", ylabel="true")
    return save(axes, path)


def train_val_comparison(train: Sequence[ClassRow], val: Sequence[ClassRow], path: Path) -> Path:
    """Accuracy and F1 on training and on held-out pages by class, joined by the gap between them."""
    row = pitch(len(val), *_ROWS)
    recall, f1 = panels((4, 4), row * len(val))
    _gaps(recall, [one.accuracy for one in train], [one.accuracy for one in val], row)
    _gaps(f1, [one.f1 for one in train], [one.f1 for one in val], row)
    _by_class(recall, "accuracy (recall)", len(val))
    _by_class(f1, "F1", len(val))
    name_rows(recall, [one.name for one in val], row)
    lowest = min(axes.get_xlim()[0] for axes in (recall, f1))
    for axes in (recall, f1):
        axes.set_xlim(lowest, 1.02)
    above = {"bbox_to_anchor": (0, 1), "borderaxespad": 3.5, "borderpad": 0}  # the title of the axes
    recall.legend(loc="lower left", ncols=3, frameon=False, fontsize=8, **above)
    return save(recall, path)


def training_curves(rows: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Losses and the other headline metrics over the epochs.

    Args:
        rows: One mapping per epoch, as in `metrics.csv`.
        path: The PNG.
    """
    pair = panels((4, 4), 2.8)
    epochs = [row["epoch"] for row in rows]
    for axes, columns in zip(pair, curve_columns(rows[0]), strict=True):
        for column, colour in zip(columns, cycle((BLUE, ORANGE, GREEN, GREY)), strict=False):
            axes.plot(epochs, [row[column] for row in rows], marker=".", color=colour, label=label_of(column))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    return save(pair[0], path)


def learning_rate(positions: Sequence[float], rates: Sequence[float], path: Path) -> Path:
    """The learning rate of a run over its epochs."""
    (axes,) = panels((7,), 2.8)
    axes.plot(positions, rates, color=BLUE)
    axes.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    axes.margins(x=0.01)
    axes.grid(alpha=0.3)
    return save(axes, path)


def reliability(confidence: Sequence[float], accuracy: Sequence[Estimate], path: Path) -> Path:
    """How often predictions of a confidence are right: on the diagonal where confidence can be taken at its word.

    Args:
        confidence: Mean confidence of each bin.
        accuracy: Accuracy of each bin.
        path: The PNG.
    """
    (axes,) = panels((4,), 4)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    values = [one.value for one in accuracy]
    axes.errorbar(confidence, values, yerr=_whiskers(accuracy), fmt="o-", color=BLUE, capsize=2, markersize=4)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    return save(axes, path)


def risk_coverage(coverage: np.ndarray, risk: np.ndarray, path: Path) -> Path:
    """The share of mistakes among the pages that are decided, against the share of pages that are decided."""
    (axes,) = panels((4.6,), 3)
    axes.plot(coverage, risk, color=BLUE)
    axes.set(xlabel="share of pages decided", ylabel="share of mistakes among them", xlim=(0, 1.01), ylim=(0, None))
    axes.grid(alpha=0.3)
    return save(axes, path)


def drift(periods: Sequence[DriftPeriod], classes: Sequence[ClassShare], path: Path) -> Path:
    """Shares over the periods, and the mix of classes of the newest beside that of the held-out pages."""
    row = pitch(len(classes), *_ROWS)
    over_time, mix = panels((4, 4), max(2.8, row * len(classes)), gap=2.4)
    places = np.arange(len(periods))
    for name, shares, colour in (
        ("confidence of .95 or more", [one.confident for one in periods], BLUE),
        ("needs review", [one.needs_review for one in periods], ORANGE),
        ("unknown", [one.unknown for one in periods], GREEN),
    ):
        known = [(place, share) for place, share in zip(places, shares, strict=True) if share is not None]
        if known:
            values = [share.value for _, share in known]
            whiskers = _whiskers([share for _, share in known])
            over_time.errorbar([place for place, _ in known], values, whiskers, marker="o", color=colour, label=name)
    over_time.set(ylim=(-0.02, 1.02), title="share of the pages")
    name_columns(over_time, [one.name for one in periods], 4 / len(periods))
    over_time.legend(frameon=False, fontsize=8)
    rows = np.arange(len(classes))
    estimated = [one.estimated or Estimate(np.nan, np.nan, np.nan) for one in classes]
    mix.barh(rows - 0.2, [one.held_out for one in classes], color=GREY, height=0.35, label="held-out")
    widths = np.nan_to_num([one.value for one in estimated])
    mix.barh(rows + 0.2, widths, color=BLUE, height=0.35, xerr=_whiskers(estimated), label="newest, estimated")
    mix.set_title("mix of classes")
    mix.legend(frameon=False, fontsize=8)
    name_rows(mix, [one.name for one in classes], row)
    return save(over_time, path)


def heat_map(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], path: Path, title: str) -> Path:
    """Values by row and column, each written into its cell; a missing one (NaN) leaves its cell empty.

    Args:
        values: float [rows, columns].
        rows: Names down the left side.
        columns: Names below.
        path: The PNG.
        title: Above the map.
    """
    width, height = pitch(len(columns), 0.5, 1.0, 22), pitch(len(rows), 0.3, 0.6, 22)
    low, high = (float(bound(values)) for bound in (np.nanmin, np.nanmax))
    axes = _cells(values, rows, columns, (width, height), "", (low, high))
    for row, column in np.argwhere(~np.isnan(values)):
        value = values[row, column]
        _write(axes, row, column, f"{value:.2f}", value - low > 0.55 * (high - low), min(width, 2 * height))
    headline(axes, title, lift=8)
    return save(axes, path)


def _bars(axes: Axes, estimates: Sequence[Estimate], colour: str, row: float) -> None:
    values = [one.value for one in estimates]
    at = np.arange(len(values))
    axes.barh(at, np.nan_to_num(values), color=colour, height=0.7)
    axes.errorbar(values, at, xerr=_whiskers(estimates), fmt="none", ecolor=INK, capsize=2, elinewidth=0.8)
    axes.set_xlim(0, 1.02)
    beside(axes, [_digits(value, 2) for value in values], row)


def _gaps(axes: Axes, train: Sequence[Estimate], val: Sequence[Estimate], row: float) -> None:
    at = np.arange(len(val))
    seen, held_out = (np.array([one.value for one in side]) for side in (train, val))
    axes.hlines(at, held_out, seen, color=GREY, linewidth=4, alpha=0.5, label="gap")
    axes.plot(seen, at, "o", color=ORANGE, label="training pages", markersize=6)
    axes.errorbar(
        held_out,
        at,
        xerr=_whiskers(val),
        fmt="s",
        color=BLUE,
        label="held-out pages (95 % interval)",
        markersize=4,
        elinewidth=0.8,
    )
    beside(axes, [_digits(gap, 2, "+") for gap in seen - held_out], row)
    lowest = np.nanmin([0.9, *(one.low for one in val), *seen])
    axes.set_xlim(max(-0.02, np.floor(lowest * 10) / 10 - 0.02), 1.02)


def _whiskers(estimates: Sequence[Estimate]) -> np.ndarray:
    sides = [(one.value - one.low, one.high - one.value) for one in estimates]
    return np.clip(np.nan_to_num(np.array(sides, dtype=float)), 0, None).T


def _by_class(axes: Axes, title: str, count: int) -> None:
    """What the axes of one metric by class share."""
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_yticks([])
    axes.set_ylim(count - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _digits(value: float, digits: int, sign: str = "") -> str:
    return "–" if np.isnan(value) else f"{value:{sign}.{digits}f}"


def _cells(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    cell: tuple[float, float],
    meaning: str,
    bounds: tuple[float, float],
) -> Axes:
    """A coloured field for each value (`cell`: width and height in inches), names, and the scale at the right."""
    width, height = cell[0] * len(columns), cell[1] * len(rows)
    axes, scale = panels((width, 0.16), height, gap=0.2)
    image = axes.imshow(values, cmap="Blues", vmin=bounds[0], vmax=bounds[1], aspect="auto", interpolation="nearest")
    name_rows(axes, rows, cell[1])
    name_columns(axes, columns, cell[0])
    axes.hlines(np.arange(1, len(rows)) - 0.5, -0.5, len(columns) - 0.5, color=_LINES, linewidth=0.5)
    axes.vlines(np.arange(1, len(columns)) - 0.5, -0.5, len(rows) - 0.5, color=_LINES, linewidth=0.5)
    scale.figure.colorbar(image, cax=scale, label=meaning)
    scale.tick_params(labelsize=8)
    return axes


def _write(axes: Axes, row: int, column: int, text: str, dark: bool, room: float) -> None:
    """Text in a cell, in the size that `room` inches allow; none where it could not be read."""
    size = min(7.5, 0.85 * room * 72 / (0.64 * len(text)))
    if size >= 4:
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color="white" if dark else INK)
