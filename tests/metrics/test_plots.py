"""Plots are written, for few and many classes, and with names in Hangul."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docclf_cli.metrics import plots
from docclf_cli.metrics.fonts import romanised
from docclf_cli.results import ClassRow, Estimate


def _rows(count: int) -> list[ClassRow]:
    half = Estimate(0.5, 0.4, 0.6)
    return [ClassRow(f"영수증 class_{number} " + "long " * 8, 7, half, half, half, 0.3) for number in range(count)]


@pytest.mark.parametrize("count", [3, 30])
def test_height_grows_with_the_classes(count: int, tmp_path: Path) -> None:
    rows = _rows(count)
    paths = [
        plots.class_performance(rows, tmp_path / "a.png", "val"),
        plots.train_val_comparison(rows, rows, tmp_path / "b.png"),
        plots.confusion_matrix(np.eye(count, dtype=int) * 5, [row.name for row in rows], tmp_path / "c.png"),
    ]
    for path in paths:
        width, height = Image.open(path).size
        assert height > 30 * count
        assert width > 300


def test_hangul_in_latin_letters() -> None:
    assert romanised("영수증 ok") == "yeongsujeung ok"
    assert romanised("여권") == "yeogwon"
