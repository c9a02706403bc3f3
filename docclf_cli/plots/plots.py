"""Pictures of numbers that were computed elsewhere; each function writes one PNG and returns its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from docclf_cli.metrics.metrics import curve_columns, label_of
from docclf_cli.plots.panels import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LABEL,
    ORANGE,
    beneath,
    beside,
    headline,
    name_columns,
    name_rows,
    panels,
    pitch,
    save,
)
from docclf_cli.results.drift import ClassShare, DriftPeriod
from docclf_cli.results.metrics import ClassRow, Estimate, ReliabilityBin, Threshold

_LINES = "#dde3ec"
_ROWS = (0.28, 1.2, 120.0)  # inches of a row, and of the least and the most that all together take
_CELLS = (0.36, 2.4, 22.0)  # the same of cells in a square
_PALE = 0.1  # a loss that is drawn in full colour where none is larger


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
    headline(recall, f"{title} (pages of each class in brackets, 95 % intervals)", lift=26)
    return save(recall, path)


def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], path: Path, title: str) -> Path:
    """Counts by true class (rows) and predicted class (columns), coloured by share of the row.

    Pages on the diagonal are right and blue; all others are errors and orange.

    Args:
        matrix: int [num_classes, num_classes].
        class_names: Names along both axes.
        path: The PNG.
        title: Above the matrix.
    """
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cell = pitch(len(class_names), *_CELLS)
    axes, right_scale, wrong_scale = panels((cell * len(class_names), 0.14, 0.14), cell * len(class_names), gap=0.2)
    is_right = np.eye(len(class_names), dtype=bool)
    right = _draw_cells(axes, np.ma.masked_where(~is_right | (matrix == 0), shares), _tones("Blues"), (0, 1))
    wrong = _draw_cells(axes, np.ma.masked_where(is_right | (matrix == 0), shares), _tones("Oranges"), (0, 1))
    _name_cells(axes, class_names, class_names, (cell, cell))
    _scale(right, right_scale, "")
    right_scale.set_yticks([])
    _scale(wrong, wrong_scale, "share of the true class\n(blue: right, orange: wrong)")
    for row, column in np.argwhere(matrix > 0):
        _write(axes, row, column, str(matrix[row, column]), shares[row, column] > 0.55, cell)
    axes.set(xlabel="predicted", ylabel="true")
    headline(axes, title, lift=8)
    return save(axes, path)


def train_val_comparison(train: Sequence[ClassRow], val: Sequence[ClassRow], path: Path, title: str) -> Path:
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
    headline(recall, title, lift=46)
    return save(recall, path)


def training_curves(rows: Sequence[Mapping[str, float]], path: Path, title: str, best_epoch: int | None) -> Path:
    """Losses, the other headline metrics and the learning rate over the epochs.

    Args:
        rows: One mapping per epoch, as in `metrics.csv`.
        path: The PNG.
        title: Above the curves.
        best_epoch: Marked by a dashed line.
    """
    losses, metrics, rate = panels((4, 4, 2.6), 2.8)
    epochs = [row["epoch"] for row in rows]
    for axes, columns in zip((losses, metrics), curve_columns(rows[0]), strict=True):
        for column, colour in zip(columns, cycle((BLUE, ORANGE, GREEN, GREY)), strict=False):
            axes.plot(epochs, [row[column] for row in rows], marker=".", color=colour, label=label_of(column))
        axes.legend(frameon=False, fontsize=8)
    rate.plot(epochs, [row["lr"] for row in rows], marker=".", color=GREY)
    rate.set_ylim(0, None)
    rate.yaxis.set_major_formatter("{x:g}")  # a common factor would stand in the way of the title
    for axes, name in ((losses, "loss"), (metrics, "held-out pages"), (rate, "learning rate at the end of the epoch")):
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        if best_epoch is not None:
            axes.axvline(best_epoch, color=INK, linestyle="--", linewidth=1, zorder=0)
    headline(losses, title, lift=26)
    return save(losses, path)


def learning_rate(positions: Sequence[float], rates: Sequence[float], path: Path, title: str) -> Path:
    """The learning rate of a run over its epochs."""
    (axes,) = panels((7,), 2.8)
    axes.plot(positions, rates, color=BLUE)
    axes.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    axes.margins(x=0.01)
    axes.grid(alpha=0.3)
    headline(axes, title, lift=8)
    return save(axes, path)


def reliability(bins: Sequence[ReliabilityBin], path: Path, title: str) -> Path:
    """How often predictions of a confidence are right: on the diagonal where confidence equals accuracy.

    Points are bins of about equally many pages, with their 95 % intervals; how many pages each stands for is drawn below.
    """
    (axes,) = panels((4,), 4)
    confidence = [one.confidence for one in bins]
    accuracy = [one.accuracy for one in bins]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    axes.errorbar(
        confidence,
        [one.value for one in accuracy],
        yerr=_whiskers(accuracy),
        fmt="o",
        color=BLUE,
        capsize=2,
        markersize=5,
        elinewidth=0.8,
    )
    axes.set(ylabel="accuracy", xlim=(0, 1.02), ylim=(-0.02, 1.02))
    axes.tick_params(labelbottom=False)
    axes.text(0.03, 0.96, "above the line: too cautious", fontsize=LABEL, color=GREY, va="top")
    axes.text(0.99, 0.04, "below the line: over-confident", fontsize=LABEL, color=GREY, ha="right")
    counts = beneath(axes, height=0.8, gap=0.15)
    counts.vlines(confidence, 0, [one.pages for one in bins], color=BLUE, linewidth=3)
    counts.set(xlabel="confidence", ylabel="pages", ylim=(0, None))
    counts.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for each in (axes, counts):
        each.grid(alpha=0.3)
        each.set_axisbelow(True)
    headline(axes, title, lift=8)
    return save(axes, path)


def risk_coverage(
    coverage: np.ndarray, risk: np.ndarray, path: Path, title: str, threshold: Threshold | None = None
) -> Path:
    """The share of mistakes among the pages that are decided, against the share of pages that are decided.

    Args:
        coverage: float [m].
        risk: float [m].
        path: The PNG.
        title: Above the curve.
        threshold: Marked on the curve, where it is known and decides a page.
    """
    (axes,) = panels((4.6,), 3)
    axes.plot(coverage, risk, color=BLUE)
    if threshold is not None and threshold.value is not None and threshold.decided:
        at = (threshold.coverage.value, 1 - threshold.precision.value)
        name = f"confidence ≥ {threshold.value:.4f}: {at[0]:.1%} decided, {at[1]:.1%} of them wrong"
        axes.axvline(at[0], color=ORANGE, linestyle="--", linewidth=1)
        axes.plot(*at, "o", color=ORANGE, markersize=7, label=name, clip_on=False)
        above = {"bbox_to_anchor": (0, 1), "borderaxespad": 0.3, "borderpad": 0}
        axes.legend(loc="lower left", frameon=False, fontsize=8, **above)
    axes.set(xlabel="share of pages decided", ylabel="share of mistakes among them", xlim=(0, 1.01), ylim=(0, None))
    axes.grid(alpha=0.3)
    headline(axes, title, lift=24)
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
    """What is lost (red) and gained (blue), by row and column; no loss leaves its cell white, and `–` stands for NaN.

    Args:
        values: float [rows, columns]; losses are positive.
        rows: Names down the left side.
        columns: Names below.
        path: The PNG.
        title: Above the map.
    """
    width, height = pitch(len(columns), 0.5, 1.0, 22), pitch(len(rows), 0.3, 0.6, 22)
    axes, scale = panels((width * len(columns), 0.16), height * len(rows), gap=0.2)
    largest = float(np.nanmax(np.abs(values), initial=_PALE))
    seen = np.abs(values) >= 0.005  # smaller ones round to zero
    image = _draw_cells(axes, np.ma.masked_where(~seen, values), colormaps["RdBu_r"], (-largest, largest))
    _name_cells(axes, rows, columns, (width, height))
    _scale(image, scale, "gained (blue), lost (red)")
    for row, column in np.ndindex(values.shape):
        value = float(values[row, column])
        if seen[row, column] or np.isnan(value):
            _write(axes, row, column, _digits(value, 2), abs(value) > 0.6 * largest, min(width, 2 * height))
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


def _draw_cells(axes: Axes, values: np.ndarray, colours: Colormap, bounds: tuple[float, float]) -> AxesImage:
    """A coloured field for each value that is not masked."""
    low, high = bounds
    return axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")


def _tones(name: str) -> Colormap:
    """A colour map without its palest tones, so that a small share can be told from none."""
    return ListedColormap(colormaps[name](np.linspace(0.15, 1, 256)))


def _name_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str], cell: tuple[float, float]) -> None:
    """Names along both sides and lines between the cells (`cell`: width and height in inches)."""
    name_rows(axes, rows, cell[1])
    name_columns(axes, columns, cell[0])
    axes.hlines(np.arange(1, len(rows)) - 0.5, -0.5, len(columns) - 0.5, color=_LINES, linewidth=0.5)
    axes.vlines(np.arange(1, len(columns)) - 0.5, -0.5, len(rows) - 0.5, color=_LINES, linewidth=0.5)


def _scale(image: AxesImage, scale: Axes, meaning: str) -> None:
    scale.figure.colorbar(image, cax=scale).set_label(meaning, fontsize=LABEL)
    scale.tick_params(labelsize=8)


def _write(axes: Axes, row: int, column: int, text: str, dark: bool, room: float) -> None:
    """Text in a cell, in the size that `room` inches allow; none where it could not be read."""
    size = min(7.5, 0.85 * room * 72 / (0.64 * len(text)))
    if size >= 4:
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color="white" if dark else INK)
