"""Pages that were saved anew are told from other pages of the same form."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading import resaved
from docclf_cli.data.loading.resaved import resaved_pages
from docclf_cli.profile.schema import DataConfig

CONFIG = DataConfig(cache="off")


def form(seed: int, size: tuple[int, int] = (240, 320)) -> Image.Image:
    """A form with the same lines each time, filled in differently."""
    rng = np.random.default_rng(seed)
    page = Image.new("RGB", size, (246, 244, 240))
    pen = ImageDraw.Draw(page)
    for y in range(20, size[1] - 10, 20):
        pen.line((10, y, size[0] - 10, y), fill=(90, 90, 90))
        for x in rng.choice(np.arange(15, size[0] - 25, 9), 9, replace=False).tolist():
            pen.rectangle((x, y - 11, x + 6, y - 3), fill=(20, 20, 60))
    return page


def index_of(folder: Path) -> DocumentIndex:
    names = np.array(sorted(path.name for path in folder.iterdir()), dtype=object)
    return DocumentIndex(folder, names, names, None, ())


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("known", "new"):
        (tmp_path / name).mkdir()
    for seed in range(5):
        form(seed).save(tmp_path / "known" / f"{seed}.png")
    return tmp_path / "known", tmp_path / "new"


def test_a_picture_in_another_file_is_found(folders: tuple[Path, Path]) -> None:
    known, new = folders
    form(3).save(new / "a.jpg", quality=50)
    form(1).save(new / "b.webp")
    form(7).save(new / "c.png")  # the same form, filled in otherwise
    Image.new("RGB", (240, 320), "white").save(new / "d.png")
    (new / "e.png").write_bytes(b"")
    form(3, (250, 320)).save(new / "f.png")
    assert resaved_pages(index_of(new), index_of(known), CONFIG).tolist() == [3, 1, -1, -1, -1, -1]


def test_very_many_pages_are_left_to_the_audit(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    known, new = folders
    form(3).save(new / "a.jpg", quality=50)
    monkeypatch.setattr(resaved, "MOST_PAGES", 5)
    assert resaved_pages(index_of(new), index_of(known), CONFIG).tolist() == [-1]
