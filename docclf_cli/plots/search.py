"""The picture of a search for settings: the loss of each trial, and how much each parameter matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from docclf_cli.plots.panels import BLUE, GREEN, GREY, headline, name_rows, panels, pitch, save

_ROWS = (0.28, 1.2, 120.0)  # inches of a row, and of the least and the most that all together take


def search_plot(losses: Sequence[tuple[int, float]], importance: Mapping[str, float], path: Path, title: str) -> Path:
    """Losses of the complete trials with the best so far, and bars of importance where it is known.

    Args:
        losses: Number and loss of each complete trial, by number.
        importance: Share of the spread by key, the largest first; may be empty.
        path: The PNG.
        title: Above.
    """
    row = pitch(max(len(importance), 1), *_ROWS)
    height = max(2.8, row * len(importance))
    drawn = panels((5, 3), height, gap=2.4) if importance else panels((5,), height)
    trials = drawn[0]
    numbers = [number for number, _ in losses]
    values = [loss for _, loss in losses]
    trials.plot(numbers, values, "o", color=GREY, label="trial")
    trials.step(numbers, np.minimum.accumulate(values), where="post", color=BLUE, label="best so far")
    trials.set(xlabel="trial (0 is the starting profile)", ylabel="log loss on held-out pages")
    trials.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    trials.grid(alpha=0.3)
    trials.legend(frameon=False, fontsize=8)
    if importance:
        bars = drawn[1]
        bars.barh(np.arange(len(importance)), list(importance.values()), color=GREEN, height=0.7)
        bars.set_title("importance", fontsize=10, loc="left")
        name_rows(bars, list(importance), row)
    headline(trials, title, lift=26)
    return save(trials, path)
