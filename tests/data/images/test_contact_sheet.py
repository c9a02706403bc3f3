"""Contact sheets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docclf_cli.data.images import contact_sheet as module
from docclf_cli.data.images.contact_sheet import CAPTION, GAP, THUMBNAIL, contact_sheet

CELL_W, CELL_H = THUMBNAIL + GAP, THUMBNAIL + CAPTION + GAP


def _pages(*values: int) -> list[np.ndarray]:
    return [np.full((THUMBNAIL, THUMBNAIL, 3), value, np.uint8) for value in values]


def _ink(sheet: np.ndarray, number: int, columns: int) -> np.ndarray:
    """The strip above a page where its caption is, as brighter than the background."""
    top, left = GAP + number // columns * CELL_H, GAP + number % columns * CELL_W
    return sheet[top : top + CAPTION, left : left + THUMBNAIL, 0] > 121


def test_a_frame_shows_its_colour_around_the_page(tmp_path: Path) -> None:
    path = contact_sheet(
        _pages(0, 50), ["a", "b"], tmp_path / "sheet.png", columns=2, frames=[(255, 0, 0), (0, 0, 255)]
    )
    sheet = np.asarray(Image.open(path))
    top = GAP + CAPTION + THUMBNAIL // 2
    assert sheet[top, GAP - 1].tolist() == [255, 0, 0]
    assert sheet[top, GAP + CELL_W - 1].tolist() == [0, 0, 255]


def test_pages_stand_in_rows_in_their_order(tmp_path: Path) -> None:
    path = contact_sheet(_pages(0, 50, 100), ["a", "b", "c"], tmp_path / "sheet.png", columns=2)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * CELL_H + GAP, 2 * CELL_W + GAP, 3)
    for number, value in enumerate((0, 50, 100)):
        top, left = GAP + number // 2 * CELL_H + CAPTION, GAP + number % 2 * CELL_W
        assert (sheet[top : top + THUMBNAIL, left : left + THUMBNAIL] == value).all()
        assert _ink(sheet, number, 2).any()


def test_large_pages_are_shrunk_and_keep_their_shape(tmp_path: Path) -> None:
    page = np.zeros((800, 400, 3), np.uint8)
    sheet = np.asarray(Image.open(contact_sheet([page], ["tall"], tmp_path / "sheet.png", columns=1)))
    rows, columns = np.nonzero((sheet == 0).all(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (THUMBNAIL, THUMBNAIL // 2)


def test_a_long_caption_ends_before_the_next_page(tmp_path: Path) -> None:
    path = contact_sheet(_pages(0, 0), ["a very long name of a class " * 4, ""], tmp_path / "sheet.png", columns=2)
    sheet = np.asarray(Image.open(path))
    assert _ink(sheet, 0, 2).any()
    assert not _ink(sheet, 1, 2).any()
    assert not (sheet[GAP : GAP + CAPTION, GAP + THUMBNAIL : GAP + CELL_W, 0] > 121).any()


def test_hangul_leaves_a_caption_with_or_without_a_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "hangul", lambda size: None)
    path = contact_sheet(_pages(0), ["영수증"], tmp_path / "sheet.png")
    assert _ink(np.asarray(Image.open(path)), 0, 6).any()


def test_nothing_to_show_is_an_empty_sheet(tmp_path: Path) -> None:
    assert Image.open(contact_sheet([], [], tmp_path / "sheet.png", columns=1)).size == (CELL_W + GAP, GAP)
