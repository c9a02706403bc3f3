"""Line charts as coordinates, which the template draws as SVG in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from docclf_cli.metrics.calibration import confidences, reliability_bins
from docclf_cli.metrics.metrics import curve_columns, label_of
from docclf_cli.metrics.thresholds import risk_coverage
from docclf_cli.results.predictions import Predictions

WIDTH, HEIGHT = 340, 200  # of the plotting area, in the units of the SVG
MOST_POINTS = 400
FEWEST_DECIDED = 10  # a share of fewer pages is noise that would set the scale of the whole curve
Ticks = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Line:
    """One curve, or points alone: name, points as SVG writes them, dots with a tip each, whiskers (x, y above, y below)."""

    name: str
    points: str
    dots: tuple[tuple[float, float, str], ...] = ()
    whiskers: tuple[tuple[float, float, float], ...] = ()
    joined: bool = True


@dataclass(frozen=True)
class Chart:
    """One pair of axes with its lines, and a mark at one x, everything in units of the SVG."""

    title: str
    x_label: str
    y_label: str
    x_ticks: Ticks
    y_ticks: Ticks
    lines: tuple[Line, ...]
    diagonal: bool = False
    note: str = ""
    mark: float | None = None
    width: int = field(default=WIDTH, init=False)
    height: int = field(default=HEIGHT, init=False)


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    length: int
    whole: bool = False

    def at(self, value: float) -> float:
        return round((value - self.low) / (self.high - self.low) * self.length, 1)

    def ticks(self) -> Ticks:
        values = MaxNLocator(5, integer=self.whole).tick_values(self.low, self.high)
        inside = [value for value in values if self.low - 1e-9 <= value <= self.high + 1e-9]
        return tuple((self.at(value), f"{value:.4g}") for value in inside)


def reliability_chart(scored: Predictions, temperature: float) -> Chart:
    """Confidence against accuracy in bins of about equally many pages, with 95 % intervals."""
    bins = reliability_bins(*confidences(scored, temperature), scored.groups)
    x, y = _Axis(0, 1, WIDTH), _Axis(0, 1, HEIGHT)
    dots = [
        (
            x.at(one.confidence),
            y.at(one.accuracy.value),
            f"{one.pages} pages: confidence {one.confidence:.3f}, accuracy {one.accuracy.value:.3f}",
        )
        for one in bins
    ]
    whiskers = [(x.at(one.confidence), y.at(one.accuracy.high), y.at(one.accuracy.low)) for one in bins]
    line = Line("accuracy, with 95 % interval", _path([dot[:2] for dot in dots]), tuple(dots), tuple(whiskers), False)
    return Chart(
        "Reliability", "confidence", "accuracy", x.ticks(), y.ticks(), (line,), diagonal=True,
        note="On the diagonal, confidence equals accuracy. Below it, the model is over-confident. Each point is a bin of "
        "about equally many pages, with its 95 % interval.",
    )  # fmt: skip


def risk_coverage_chart(scored: Predictions, temperature: float) -> Chart:
    """The share of mistakes among the pages that are decided, against the share of pages that are decided."""
    coverage, risk, thresholds = risk_coverage(*confidences(scored, temperature))
    solid = np.flatnonzero(coverage * len(scored) >= min(FEWEST_DECIDED, len(scored)))
    rows = solid[np.unique(np.linspace(0, len(solid) - 1, MOST_POINTS).round().astype(int))]
    x, y = _Axis(0, 1, WIDTH), _Axis(0, max(float(risk[rows].max()) * 1.05, 0.01), HEIGHT)
    points = [(x.at(coverage[row]), y.at(risk[row])) for row in rows]
    marked = rows[np.unique(np.linspace(0, len(rows) - 1, 11).round().astype(int))]
    dots = [
        (
            x.at(coverage[row]),
            y.at(risk[row]),
            f"confidence of at least {thresholds[row]:.3f}: {coverage[row]:.1%} of the pages, {risk[row]:.2%} of them wrong",
        )
        for row in marked
    ]
    return Chart(
        "Risk and coverage", "coverage: share of pages above the threshold", "error rate on these pages",
        x.ticks(), y.ticks(), (Line("error rate", _path(points), tuple(dots)),),
    )  # fmt: skip


def training_charts(history: Sequence[Mapping[str, float]], best_epoch: int | None = None) -> tuple[Chart, ...]:
    """Losses, the other headline metrics and the learning rate over the epochs; none without a history."""
    if not history:
        return ()
    losses, others = curve_columns(history[0])
    drawn = (("Loss", losses), ("Validation metrics", others), ("Learning rate", ("lr",)))
    return tuple(_training_chart(title, columns, history, best_epoch) for title, columns in drawn)


def _training_chart(
    title: str, columns: Sequence[str], history: Sequence[Mapping[str, float]], best_epoch: int | None
) -> Chart:
    epochs = [row["epoch"] for row in history]
    values = [row[column] for row in history for column in columns if math.isfinite(row[column])]
    x = _Axis(min(epochs), max(max(epochs), min(epochs) + 1), WIDTH, whole=True)
    low, high = min(values, default=0.0), max(values, default=1.0)
    if title == "Validation metrics":
        y = _Axis(max(min(0.0, low), low - 0.05), high + max(0.02, 0.05 * (high - low)), HEIGHT)
    else:
        y = _Axis(0, 1.05 * high or 1.0, HEIGHT)
    lines = []
    for column in columns:
        known = [(row["epoch"], row[column]) for row in history if math.isfinite(row[column])]
        dots = [(x.at(epoch), y.at(value), f"epoch {epoch:.0f}: {value:.4g}") for epoch, value in known]
        lines.append(Line(label_of(column), _path([dot[:2] for dot in dots]), tuple(dots)))
    mark = None if best_epoch is None else x.at(best_epoch)
    note = "" if best_epoch is None else f"Dashed: the best epoch, {best_epoch}."
    return Chart(title, "epoch", "", x.ticks(), y.ticks(), tuple(lines), note=note, mark=mark)


def _path(points: Sequence[tuple[Any, ...]]) -> str:
    # SVG counts y downwards.
    return " ".join(f"{x:g},{HEIGHT - y:g}" for x, y in points)
