"""Axes of a chosen size with labels of any length around them: what the plots are drawn on.

Axes are placed by inches and fill the figure; titles and labels lie outside of it, and saving widens the picture
to hold them. So a long name costs space and never squeezes, cuts or covers anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from docclf_cli.files import save_with
from docclf_cli.plots.fonts import drawable, font_families

BLUE, ORANGE, GREEN, GREY, INK = "#3b6ea8", "#d9822b", "#4c9a6a", "#8a8f98", "#2b2d33"
DPI = 120
LABEL = 8  # points
LONGEST_LABEL = 60  # characters
_LINE = 1.25 * LABEL / 72  # inches that a line of labels needs


def panels(widths: Sequence[float], height: float, gap: float = 0.9) -> tuple[Axes, ...]:
    """Axes side by side in one figure.

    Args:
        widths: Width of each, in inches.
        height: Their height, in inches.
        gap: Inches between them, for what is written beside the left ones.
    """
    total = sum(widths) + gap * (len(widths) - 1)
    figure = Figure(figsize=(total, height))
    FigureCanvasAgg(figure)
    lefts = np.cumsum([0, *(width + gap for width in widths[:-1])])
    placed = zip(lefts, widths, strict=True)
    return tuple(figure.add_axes((left / total, 0, width / total, 1)) for left, width in placed)


def beneath(axes: Axes, height: float, gap: float) -> Axes:
    """More axes of the same width below `axes`, `height` inches high and `gap` inches away, with the same x axis."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    left, _, width, _ = axes.get_position().bounds
    inches = figure.get_figheight()
    return figure.add_axes((left, -(gap + height) / inches, width, height / inches), sharex=axes)


def pitch(count: int, roomy: float, shortest: float, longest: float) -> float:
    """Inches from one of `count` rows to the next: `roomy`, unless together they are shorter or longer than wanted."""
    return min(max(roomy, shortest / count), longest / count)


def name_rows(axes: Axes, names: Sequence[str], row: float) -> None:
    """Names down the left side; where `row` (inches) is too low for each, every second, third, … is written."""
    every = _stride(row)
    axes.set_yticks(np.arange(len(names))[::every], shown(names)[::every], fontsize=LABEL)
    axes.set_ylim(len(names) - 0.5, -0.5)


def name_columns(axes: Axes, names: Sequence[str], column: float) -> None:
    """Names below, upright; as `name_rows`."""
    every = _stride(column)
    axes.set_xticks(np.arange(len(names))[::every], shown(names)[::every], fontsize=LABEL, rotation=90)
    axes.set_xlim(-0.5, len(names) - 0.5)


def shown(names: Sequence[str]) -> list[str]:
    """Names as they are written: drawable, and shortened in the middle where they are very long."""
    return [_shortened(name) for name in drawable(names)]


def headline(axes: Axes, title: str, lift: float) -> None:
    """A title `lift` points above the left corner of `axes`."""
    axes.annotate(title, (0, 1), (0, lift), "axes fraction", "offset points", fontsize=12, color=INK)


def beside(axes: Axes, texts: Sequence[str], row: float) -> None:
    """A short text at the right of each row, where rows are high enough to read them."""
    if _stride(row) > 1:
        return
    for at, text in enumerate(texts):
        axes.text(1.02, at, text, transform=axes.get_yaxis_transform(), va="center", fontsize=LABEL - 1, color=INK)


def save(axes: Axes, path: Path) -> Path:
    """Write the figure of `axes` as PNG, whole or not at all, and return its path."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    texts = figure.findobj(Text)
    families = font_families(text.get_text() for text in texts)
    for text in texts:
        text.set_fontfamily(families)
        text.set_parse_math(False)  # a name may hold dollar signs
    save_with(path, lambda file: figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.15))
    return path


def _stride(size: float) -> int:
    return int(np.ceil(_LINE / size - 1e-9))


def _shortened(name: str) -> str:
    half = LONGEST_LABEL // 2
    return name if len(name) <= LONGEST_LABEL else f"{name[: half - 1]}…{name[-half:]}"
