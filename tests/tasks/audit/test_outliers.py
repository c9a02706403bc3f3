"""What files say of themselves, and which of them are unlike the others."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docclf_cli.data.images.decode import Header, UnreadablePage, read_header
from docclf_cli.tasks.audit.outliers import find_outliers


def test_header_is_of_the_page_as_it_is_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    assert read_header(tmp_path / "turned.jpg") == Header(20, 30, 6)
    assert read_header(tmp_path / "huge.png") == Header(20_000, 20_000, 1)


def test_what_is_no_image_has_no_header(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(UnreadablePage):
        read_header(tmp_path / "a.jpg")
    with pytest.raises(UnreadablePage, match="leaves the data root"):
        read_header(tmp_path / "a.jpg", root=tmp_path / "below")


def test_odd_pages_are_odd_within_their_class() -> None:
    upright, lying = Header(200, 280, 1), Header(280, 200, 1)
    receipts = [Header(100, height, 1) for height in (200, 300, 450, 620, 250)]  # all shapes are usual here
    headers = [upright] * 6 + [lying] + receipts + [None, Header(40, 56, 1), Header(200, 280, 8)]
    kinds = np.array([0] * 7 + [1] * 5 + [0] * 3)
    outliers = [(row, kind) for row, kind, _ in find_outliers(headers, kinds, image_size=224)]
    assert sorted(outliers) == [(6, "shape"), (13, "small"), (14, "rotated")]


def test_details_name_the_metrics() -> None:
    headers = [Header(100, 141, 1)] * 5 + [Header(141, 100, 1)]
    ((row, kind, detail),) = find_outliers(headers, np.zeros(6, dtype=np.int64), image_size=64)
    assert (row, kind) == (5, "shape")
    assert detail == "141 x 100 pixels: height / width is 0.71, in its class 1.41"
