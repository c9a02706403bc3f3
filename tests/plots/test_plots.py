"""Plots that can be read: nothing cut, nothing overlapping, and the figures that they were given."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from docclf_cli.plots import panels, plots
from docclf_cli.results.metrics import ClassRow, Estimate, ReliabilityBin, Threshold

NAMES = (
    "receipt",
    "주민등록증",
    "a class whose name has forty characters!",
    "진료비 납입 확인서 (외래·입원 겸용 서식)",
    "costs $5 to $6",
)
HALF = Estimate(0.5, 0.4, 0.7)
NONE = Estimate(float("nan"), float("nan"), float("nan"))
EPOCH = {"epoch": 1, "lr": 1e-3, "train_loss": 2, "val_loss": 1, "f1_macro": 0.5}
BINS = (ReliabilityBin(4, 0.3, HALF), ReliabilityBin(5, 0.6, HALF))
THRESHOLD = Threshold(0.9, 0.75, HALF, Estimate(0.9, 0.8, 0.95), pages=9, decided=4)


def _names(count: int) -> list[str]:
    return [NAMES[number] if number < len(NAMES) else f"{NAMES[number % 5]} {number}" for number in range(count)]


def _row(name: str, recall: Estimate, f1: Estimate = HALF, loss: float = 0.3, support: int = 7) -> ClassRow:
    return ClassRow(name, support, recall, HALF, f1, loss)


def _rows(count: int) -> list[ClassRow]:
    return [_row(name, HALF) for name in _names(count)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that plots were saved from, in coarse pixels to be fast."""
    figures: list[Figure] = []

    def save(axes: Axes, path: Path) -> Path:
        figures.append(axes.get_figure(root=True))
        return panels.save(axes, path)

    monkeypatch.setattr(plots, "save", save)
    monkeypatch.setattr(panels, "DPI", 50)
    return figures


BY_CLASS: dict[str, Callable[[int, Path], Path]] = {
    "performance": lambda count, path: plots.class_performance(_rows(count), path, "val: by class"),
    "confusion": lambda count, path: plots.confusion_matrix(np.eye(count, dtype=int) * 5, _names(count), path, "val"),
    "comparison": lambda count, path: plots.train_val_comparison(_rows(count), _rows(count), path, "val"),
    "heat map": lambda count, path: plots.heat_map(np.ones((count, 4)), _names(count), _names(4), path, "F1"),
}
OTHERS: dict[str, Callable[[Path], Path]] = {
    "curves": lambda path: plots.training_curves([EPOCH], path, "one epoch", 1),
    "learning rate": lambda path: plots.learning_rate([0, 0.5, 1], [0, 1e-4, 1e-5], path, "cosine"),
    "reliability": lambda path: plots.reliability(BINS, path, "9 val pages"),
    "risk": lambda path: plots.risk_coverage(np.array([0.5, 1]), np.array([0.1, 0.2]), path, "9 val pages", THRESHOLD),
}


@pytest.mark.parametrize("count", [1, 3, 30, 60])
@pytest.mark.parametrize("plot", BY_CLASS.values(), ids=BY_CLASS)
def test_no_label_is_cut_or_covers_another(
    plot: Callable[[int, Path], Path], count: int, tmp_path: Path, drawn: list[Figure]
) -> None:
    _check_border(plot(count, tmp_path / "plot.png"))
    for axes in drawn[0].axes:
        _check_apart(_boxes(axes.get_xticklabels(), "x"))
        _check_apart(_boxes(axes.get_yticklabels(), "y"))
        _check_apart(_boxes(_beside(axes), "y"))


@pytest.mark.parametrize("plot", OTHERS.values(), ids=OTHERS)
def test_nothing_is_cut(plot: Callable[[Path], Path], tmp_path: Path, drawn: list[Figure]) -> None:
    _check_border(plot(tmp_path / "plot.png"))
    for axes in drawn[0].axes:
        _check_apart(_boxes(axes.get_xticklabels(), "x"))
        _check_apart(_boxes(axes.get_yticklabels(), "y"))


def _beside(axes: Axes) -> list[Text]:
    """Texts at the right of the axes, not in cells."""
    return [text for text in axes.texts if text.get_transform() == axes.get_yaxis_transform()]


def _in_cells(axes: Axes) -> list[Text]:
    """Texts in the cells of a matrix or map, not the title."""
    return [text for text in axes.texts if text.get_transform() == axes.transData]


def _texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def _check_border(path: Path) -> None:
    pixels = np.asarray(Image.open(path).convert("L"))
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edges == 255).all()
    assert (pixels < 255).any()


def _boxes(texts: Sequence[Text], along: str) -> list[tuple[float, float]]:
    boxes = [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]
    return sorted((box.x0, box.x1) if along == "x" else (box.y0, box.y1) for box in boxes)


def _check_apart(spans: Sequence[tuple[float, float]]) -> None:
    assert all(first[1] <= second[0] + 0.5 for first, second in pairwise(spans))


@pytest.mark.parametrize(("count", "named"), [(60, 60), (150, 150), (300, 150), (1000, 143)])
def test_where_rows_are_too_low_every_second_or_third_is_named(count: int, named: int) -> None:
    """A label takes 10 points: 22 inches hold 158 of them."""
    row = panels.pitch(count, roomy=0.36, shortest=2.4, longest=22)
    (axes,) = panels.panels((3,), row * count)
    panels.name_rows(axes, [str(number) for number in range(count)], row)
    labels = axes.get_yticklabels()
    assert len(labels) == named
    assert [label.get_text() for label in labels] == [str(number) for number in range(0, count, round(count / named))]
    _check_apart(_boxes(labels, "y"))


@pytest.mark.parametrize(("count", "inches"), [(1, 2.0), (4, 2.0), (10, 3.0), (100, 9.0)])
def test_rows_are_roomy_unless_all_would_be_too_short_or_too_long(count: int, inches: float) -> None:
    assert count * panels.pitch(count, roomy=0.3, shortest=2, longest=9) == pytest.approx(inches)


def test_bars_and_whiskers_are_the_figures(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [_row("a", Estimate(0.8, 0.5, 0.9), Estimate(0.25, 0.1, 0.5), 1.5), _row("b", NONE, NONE, float("nan"), 0)]
    plots.class_performance(rows, tmp_path / "plot.png", "val: by class")
    recall, f1, loss = drawn[0].axes
    assert [bar.get_width() for bar in recall.patches] == [0.8, 0.0]
    assert [bar.get_width() for bar in f1.patches] == [0.25, 0.0]
    assert [bar.get_width() for bar in loss.patches] == [1.5, 0.0]
    whisker = recall.containers[1].lines[2][0].get_segments()[0]
    assert whisker[:, 0] == pytest.approx([0.5, 0.9])
    assert [text.get_text() for text in f1.texts] == ["0.25", "–"]
    assert [label.get_text() for label in recall.get_yticklabels()] == ["a (7)", "b (0)"]


def test_cells_are_counts_coloured_by_share_of_the_true_class(tmp_path: Path, drawn: list[Figure]) -> None:
    matrix = np.array([[3, 1, 0], [0, 0, 0], [0, 2, 6]])
    plots.confusion_matrix(matrix, ["a", "b", "c"], tmp_path / "plot.png", "Confusion matrix: 12 val pages")
    axes = drawn[0].axes[0]
    cells = {text.get_position()[::-1]: text.get_text() for text in _in_cells(axes)}
    assert cells == {(0, 0): "3", (0, 1): "1", (2, 1): "2", (2, 2): "6"}
    right, wrong = (image.get_array() for image in axes.images)
    assert np.ma.filled(right, 0).tolist() == [[0.75, 0, 0], [0, 0, 0], [0, 0, 0.75]]
    assert np.ma.filled(wrong, 0).tolist() == [[0, 0.25, 0], [0, 0, 0], [0, 0.25, 0]]
    blue, orange = (image.get_cmap()(0.75) for image in axes.images)
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    assert "Confusion matrix: 12 val pages" in _texts(axes)
    assert [axes.get_ylabel(), axes.get_xlabel()] == ["true", "predicted"]


def test_counts_that_do_not_fit_their_cells_are_left_out(tmp_path: Path, drawn: list[Figure]) -> None:
    """Seven digits at 4 points take more than a cell of 22/100 inches."""
    for pages in (9, 1_234_567):
        plots.confusion_matrix(np.diag([pages] + [0] * 99), ["a"] * 100, tmp_path / "plot.png", "val")
    assert [len(_in_cells(figure.axes[0])) for figure in drawn] == [1, 0]


def test_the_gap_is_training_minus_held_out(tmp_path: Path, drawn: list[Figure]) -> None:
    train = [_row("a", Estimate(1.0, 0.9, 1.0)), _row("b", HALF), _row("c", HALF)]
    val = [_row("a", Estimate(0.75, 0.6, 0.9)), _row("b", Estimate(0.6, 0.35, 0.8)), _row("c", NONE, NONE, support=0)]
    plots.train_val_comparison(train, val, tmp_path / "plot.png", "val")
    recall, f1 = drawn[0].axes
    assert [text.get_text() for text in _beside(recall)] == ["+0.25", "-0.10", "–"]
    assert recall.get_xlim() == f1.get_xlim()
    assert recall.get_xlim()[0] < 0.35


def test_a_heat_map_is_white_at_zero_and_red_where_something_is_lost(tmp_path: Path, drawn: list[Figure]) -> None:
    values = np.array([[0.5, np.nan], [-0.25, 0.004]])
    plots.heat_map(values, ["x", "y"], ["left", "right"], tmp_path / "plot.png", "lost")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in _in_cells(axes)] == ["0.50", "–", "-0.25"]
    (image,) = axes.images
    assert image.get_clim() == (-0.5, 0.5)
    (lost, _), (gained, unchanged) = image.cmap(image.norm(image.get_array()))
    assert lost[0] > lost[2]
    assert gained[2] > gained[0]
    assert unchanged[3] == 0  # nothing is drawn


def test_a_heat_map_without_any_loss_is_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.heat_map(np.zeros((2, 2)), ["x", "y"], ["left", "right"], tmp_path / "plot.png", "lost")
    assert _in_cells(drawn[0].axes[0]) == []


def test_curves_skip_what_was_not_measured(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [EPOCH | {"epoch": epoch, "lr": 0.1 / epoch, "val_loss": 2 / epoch} for epoch in (1, 2)]
    plots.training_curves(rows, tmp_path / "plot.png", "two epochs", best_epoch=2)
    losses, metrics, rate = drawn[0].axes
    *curves, best = losses.lines
    assert [line.get_label() for line in curves] == ["training loss", "validation loss"]
    assert list(curves[1].get_ydata()) == [2.0, 1.0]
    assert [line.get_label() for line in metrics.lines[:-1]] == ["macro-F1"]
    assert list(rate.lines[0].get_ydata()) == [0.1, 0.05]
    assert list(best.get_xdata()) == [2, 2]
    assert best.get_linestyle() == "--"


def test_reliability_is_points_with_their_pages_below(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.reliability(BINS, tmp_path / "plot.png", "Reliability: 9 val pages")
    points, counts = drawn[0].axes
    line = points.containers[0].lines[0]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0.3, 0.6], [0.5, 0.5])
    assert line.get_linestyle() == "None"
    (stems,) = counts.collections
    assert [segment[1].tolist() for segment in stems.get_segments()] == [[0.3, 4], [0.6, 5]]
    assert "Reliability: 9 val pages" in _texts(points)


def test_the_threshold_is_marked_on_the_curve_where_it_decides_a_page(tmp_path: Path, drawn: list[Figure]) -> None:
    for threshold in (THRESHOLD, None, replace(THRESHOLD, decided=0), replace(THRESHOLD, value=None)):
        plots.risk_coverage(np.array([0.5, 1]), np.array([0.1, 0.2]), tmp_path / "plot.png", "val", threshold)
    marked, *others = (figure.axes[0] for figure in drawn)
    assert all(len(axes.lines) == 1 for axes in others)
    point = marked.lines[-1]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == pytest.approx((0.5, 0.1))
    assert point.get_label() == "confidence ≥ 0.7500: 50.0% decided, 10.0% of them wrong"


def test_very_long_names_keep_both_ends() -> None:
    first, second = panels.shown(["x" * 80 + " one", "x" * 80 + " two"])
    assert len(first) == len(second) == panels.LONGEST_LABEL
    assert (first[-4:], second[-4:]) == (" one", " two")
    assert panels.shown(["forty characters are all written, always"]) == ["forty characters are all written, always"]


def test_dollar_signs_are_letters(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.confusion_matrix(np.eye(1, dtype=int), ["$x^$"], tmp_path / "plot.png", "val")
    (label,) = drawn[0].axes[0].get_xticklabels()
    assert label.get_text() == "$x^$"
    assert not label.get_parse_math()


def test_the_same_figures_make_the_same_file(tmp_path: Path) -> None:
    paths = [plots.class_performance(_rows(3), tmp_path / f"{name}.png", "val") for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_pyplot_is_left_alone(tmp_path: Path) -> None:
    """It keeps figures and a backend for the whole process."""
    code = """
import sys
from pathlib import Path
from docclf_cli.plots import plots
plots.learning_rate([0, 1], [1, 0], Path("plot.png"), "cosine")
print("matplotlib.pyplot" in sys.modules)
"""
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
