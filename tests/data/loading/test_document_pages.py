"""Pages of PDF and TIFF files in the page cache, and photos that an installed opener reads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from page_cases import page, write_encrypted_pdf, write_pdf, write_tiff

from docclf_cli.data.images import page_files
from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import load_index
from docclf_cli.data.loading.cache import identities, open_or_build
from docclf_cli.data.loading.pages import Pages
from docclf_cli.profile.schema import DataConfig

PREPROCESS = Preprocess(24)


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    root = tmp_path / "data"
    (root / "x").mkdir(parents=True)
    (root / "y").mkdir()
    write_pdf(root / "x" / "a.pdf", range(5))
    write_tiff(root / "y" / "b.tif", range(10, 14))
    page(20).save(root / "y" / "c.png")
    write_encrypted_pdf(root / "y" / "secret.pdf")
    return DataConfig(root=str(root), cache=str(tmp_path / "cache"))


@pytest.fixture
def index(config: DataConfig) -> DocumentIndex:
    return load_index(config, "train")


class Rendered:
    """Numbers of the pages of files that were read, by this process and by those it started."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clear()

    def clear(self) -> None:
        self.path.write_text("")

    def add(self, number: int) -> None:
        with self.path.open("a") as file:
            file.write(f"{number}\n")

    def numbers(self) -> list[int]:
        return sorted(map(int, self.path.read_text().split()))


@pytest.fixture
def rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rendered:
    read, original = Rendered(tmp_path / "rendered"), PageReader.read
    monkeypatch.setattr(PageReader, "read", lambda self, *args: (read.add(args[2]), original(self, *args))[1])
    return read


@pytest.mark.parametrize("workers", [0, 3])
def test_every_page_is_cached_as_it_is_read(index: DocumentIndex, config: DataConfig, workers: int) -> None:
    assert len(set(identities(index))) == len(index) == 11
    cache, direct = open_or_build(index, PREPROCESS, config, workers=workers), Pages(index, PREPROCESS, config)
    assert cache is not None
    for row, name in enumerate(index.ids.tolist()):
        if name == "y/secret.pdf":
            assert "password" in cache.reason(row)
        else:
            assert np.array_equal(cache[row], direct[row])


def test_pages_are_rendered_once(index: DocumentIndex, config: DataConfig, rendered: Rendered) -> None:
    open_or_build(index, PREPROCESS, config)
    assert rendered.numbers() == sorted([*range(5), *range(4), 0])
    rendered.clear()
    assert open_or_build(load_index(config, "train"), PREPROCESS, config) is not None
    first = load_index(config.model_copy(update={"pages": "first"}), "train")
    assert open_or_build(first, PREPROCESS, config) is not None
    assert rendered.numbers() == []


def test_a_changed_file_is_read_again(index: DocumentIndex, config: DataConfig, rendered: Rendered) -> None:
    open_or_build(index, PREPROCESS, config)
    rendered.clear()
    write_tiff(Path(config.root) / "y" / "b.tif", range(30, 32))
    os.utime(Path(config.root) / "y" / "b.tif", (1, 1))
    changed = load_index(config, "train")
    assert len(changed) == 9
    open_or_build(changed, PREPROCESS, config)
    assert rendered.numbers() == [0, 1]


def test_another_renderer_is_another_page(
    index: DocumentIndex, config: DataConfig, rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_or_build(index, PREPROCESS, config)
    rendered.clear()
    monkeypatch.setattr("docclf_cli.data.loading.cache.pdf_renderer", lambda: "another")
    assert page_files.pdf_renderer() != "another"
    open_or_build(index, PREPROCESS, config)
    assert rendered.numbers() == [0, 0, 1, 2, 3, 4]


def test_one_bad_page_loses_only_itself(index: DocumentIndex, config: DataConfig) -> None:
    path = Path(config.root) / "y" / "b.tif"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 40])  # the directory of the last page breaks off
    torn = load_index(config, "train")
    pages, bad = Pages(torn, PREPROCESS, config), list[str]()
    for row, name in enumerate(torn.ids.tolist()):
        try:
            assert np.array_equal(pages[row], Pages(index, PREPROCESS, config)[index.row_of[name]])
        except UnreadablePage:
            bad.append(name)
    assert bad == ["y/b.tif#4", "y/secret.pdf"]


OPENER = """
import io
from PIL import Image, ImageFile
class Heif(ImageFile.ImageFile):
    format = "HEIF"
    def _open(self):
        self.fp.seek(12)
        image = Image.open(io.BytesIO(self.fp.read()))
        self._size, self._mode, self.tile, self.image = image.size, image.mode, [], image
    def load(self):
        self.im = self.image.convert("RGB").im
        return None
def register_heif_opener():
    Image.register_open("HEIF", Heif, lambda start: start[4:8] == b"ftyp")
"""


def test_photos_of_phones_are_read_where_an_opener_is_installed(tmp_path: Path) -> None:
    (tmp_path / "in" / "x").mkdir(parents=True)
    page(1).save(tmp_path / "page.png")
    (tmp_path / "in" / "x" / "p.heic").write_bytes(b"\0\0\0\x0cftypheic" + (tmp_path / "page.png").read_bytes())
    page(2).save(tmp_path / "in" / "x" / "other.png")
    script = f"""
import logging, sys
logging.basicConfig(format="%(message)s", stream=sys.stdout)
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import load_index
from docclf_cli.data.loading.pages import Pages
from docclf_cli.profile.schema import DataConfig
config = DataConfig(root={str(tmp_path / "in")!r}, cache="off")
index = load_index(config, "test")
index.left_out.warn()
print(index.ids.tolist(), [int(Pages(index, Preprocess(8), config)[row].mean()) for row in range(len(index))])
"""
    (tmp_path / "opener").mkdir()
    (tmp_path / "opener" / "pi_heif.py").write_text(OPENER)
    found = []
    for folder in ("", str(tmp_path / "opener")):
        environment = {**os.environ, "PYTHONPATH": folder}
        ran = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        found.append(ran.stdout)
    assert found[0].startswith("left out: 1 .heic (photos of phones are read after `pip install pi-heif`)")
    mean = int(np.asarray(page(1).resize((8, 8))).mean())
    ids, means = found[1].rstrip("]\n").split("] [")
    assert ids == "['x/other.png', 'x/p.heic'"
    assert abs(int(means.split(", ")[1]) - mean) <= 2
