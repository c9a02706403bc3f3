"""Copies turned upright: whichever way a page lies, its copy is read as the upright page, and nothing is lost."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docclf_cli.data.images import upright_copies
from docclf_cli.data.images.decode import TRANSPOSES, UnreadablePage, read_page
from docclf_cli.data.images.orientation import ORIENTATIONS, Orientation
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.images.upright_copies import require_pikepdf, upright_copy
from docclf_cli.errors import InputError

LYING = [Orientation.numbered(number) for number in range(1, ORIENTATIONS)]


def page(height: int = 48, width: int = 32) -> np.ndarray:
    """White with a dark corner and a grey bar below it: no turn or mirror image of it looks like another."""
    found = np.full((height, width, 3), 255, np.uint8)
    found[4:20, 4:12] = (200, 0, 0)
    found[24:28, 4:28] = 128
    return found


def copied(path: Path, orientation: Orientation, *, reencode: bool = False) -> bytes | None:
    with path.open("rb") as file:
        return upright_copy(file, {0: orientation}, is_pdf=path.suffix == ".pdf", max_pixels=10**6, reencode=reencode)


def pixels(content: bytes, folder: Path, suffix: str) -> np.ndarray:
    """A file as docclf reads it."""
    path = folder / f"copy{suffix}"
    path.write_bytes(content)
    if suffix == ".pdf":
        return PageReader(10**6).read(path, None, 0, Preprocess(48))
    return read_page(path, preprocess=Preprocess(48), max_pixels=10**6)


@pytest.mark.parametrize("number", range(ORIENTATIONS))
def test_what_was_turned_is_turned_back(number: int) -> None:
    orientation = Orientation.numbered(number)
    assert np.array_equal(orientation.undone(orientation.of(page())), page())
    assert np.array_equal(orientation.of(page()), page()) == orientation.upright
    if orientation == Orientation(90, False):  # clockwise, as people see it
        assert np.array_equal(orientation.of(page()), np.rot90(page(), -1))


@pytest.mark.parametrize("lying", LYING, ids=str)
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_pixels_are_turned_without_loss(tmp_path: Path, lying: Orientation, suffix: str) -> None:
    Image.fromarray(lying.of(page())).save(path := tmp_path / f"page{suffix}")
    content = copied(path, lying)
    assert content is not None
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), page())


@pytest.mark.parametrize("lying", LYING, ids=str)
@pytest.mark.parametrize("before", [None, *range(1, 9)])
def test_a_jpeg_gets_an_orientation_tag_and_keeps_every_byte_of_its_picture(
    tmp_path: Path, lying: Orientation, before: int | None
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    if before is not None:
        exif[0x0112] = before
    stored = next(
        candidate
        for candidate in (Orientation.numbered(number).of(page()) for number in range(ORIENTATIONS))
        if np.array_equal(_shown(candidate, before), lying.of(page()))
    )
    Image.fromarray(stored).save(path := tmp_path / "page.jpg", quality=90, exif=exif)
    content = copied(path, lying)
    assert content is not None
    picture = path.read_bytes()[path.read_bytes().index(b"\xff\xdb") :]
    assert content.endswith(picture)
    assert Image.open(io.BytesIO(content)).getexif()[0x010F] == "a camera"
    difference = pixels(content, tmp_path, ".jpg").astype(int) - _fitted(page(), tmp_path)
    assert np.abs(difference).mean() < 8


def _shown(stored: np.ndarray, tag: int | None) -> np.ndarray:
    return np.asarray(Image.fromarray(stored).transpose(TRANSPOSES[tag])) if tag in TRANSPOSES else stored


def _fitted(upright: np.ndarray, folder: Path) -> np.ndarray:
    Image.fromarray(upright).save(folder / "upright.png")
    return read_page(folder / "upright.png", preprocess=Preprocess(48), max_pixels=10**6).astype(int)


def test_a_jpeg_without_exif_is_turned_as_well_and_only_on_request_encoded_again(tmp_path: Path) -> None:
    lying = Orientation(90, False)
    Image.fromarray(lying.of(page())).save(path := tmp_path / "page.jpg", quality=95)
    content, again = copied(path, lying), copied(path, lying, reencode=True)
    assert content is not None
    assert again is not None
    start = content.index(b"\xff\xe1")  # after the JFIF segment, which has to be the first
    end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    assert content[2:4] == b"\xff\xe0"
    assert content[:start] + content[end:] == path.read_bytes()
    assert 0x0112 not in Image.open(io.BytesIO(again)).getexif()
    for found in (content, again):
        assert np.abs(pixels(found, tmp_path, ".jpg").astype(int) - _fitted(page(), tmp_path)).mean() < 8


def test_what_png_and_tiff_say_besides_pixels_stays(tmp_path: Path) -> None:
    lying = Orientation(90, False)
    Image.fromarray(lying.of(page())).convert("P").save(path := tmp_path / "page.png", dpi=(100, 200))
    content = copied(path, lying)
    assert content is not None
    found = Image.open(io.BytesIO(content))
    assert found.mode == "P"
    assert np.round(found.info["dpi"]).tolist() == [200, 100]
    frames = [Image.fromarray(one[..., 1] > 100) for one in (lying.of(page()), page())]
    frames[0].save(path := tmp_path / "page.tif", save_all=True, append_images=frames[1:], compression="group4")
    content = copied(path, lying)
    assert content is not None
    with Image.open(io.BytesIO(content)) as found:
        assert (found.n_frames, found.info["compression"]) == (2, "group4")
        for number in range(2):
            found.seek(number)
            assert np.array_equal(np.asarray(found), np.asarray(frames[1]))


def test_what_cannot_be_turned_without_loss_stays(tmp_path: Path) -> None:
    lying = Orientation(180, False)
    image = Image.fromarray(lying.of(page()))
    image.save(tmp_path / "page.webp")
    assert copied(tmp_path / "page.webp", lying) is None
    assert copied(tmp_path / "page.webp", lying, reencode=True) is not None
    image.save(tmp_path / "page.tif", compression="jpeg")
    assert copied(tmp_path / "page.tif", lying) is None
    image.save(tmp_path / "page.gif", save_all=True, append_images=[image.transpose(Image.Transpose.ROTATE_90)])
    assert copied(tmp_path / "page.gif", lying, reencode=True) is None
    (tmp_path / "page.png").write_bytes(b"no image")
    with pytest.raises(UnreadablePage):
        copied(tmp_path / "page.png", lying)


def pdf(path: Path, lying: Orientation, rotation: int = 0, **entries: object) -> Path:
    """A PDF whose page shows `page()` as it lies; `rotation` is its entry, for which the content makes up."""
    pikepdf = pytest.importorskip("pikepdf")
    pytest.importorskip("pypdfium2")
    shown = np.rot90(lying.of(page()), rotation // 90)
    Image.fromarray(np.ascontiguousarray(shown)).save(path, resolution=72)
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        document.pages[0].obj.Rotate = rotation
        for name, value in entries.items():
            document.Root[f"/{name}"] = pikepdf.Object.parse(str(value).encode())
        document.save(path)
    return path


@pytest.mark.parametrize("lying", LYING, ids=str)
@pytest.mark.parametrize("rotation", [0, 90])
def test_a_pdf_is_turned_by_its_rotation_entry(tmp_path: Path, lying: Orientation, rotation: int) -> None:
    path = pdf(tmp_path / "page.pdf", lying, rotation)
    content = copied(path, lying)
    assert content is not None
    assert content == copied(path, lying)  # the same bytes each time, so that sorting twice copies once
    expected = pixels(pdf(tmp_path / "upright.pdf", Orientation(0, False)).read_bytes(), tmp_path, ".pdf")
    assert np.abs(pixels(content, tmp_path, ".pdf").astype(int) - expected).mean() < 3


def test_a_signed_pdf_stays_as_it_is(tmp_path: Path) -> None:
    lying = Orientation(180, False)
    assert copied(pdf(tmp_path / "page.pdf", lying, AcroForm="<< /Fields [] /SigFlags 3 >>"), lying) is None


def test_pdfs_need_pikepdf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upright_copies.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package pikepdf") as error:
        require_pikepdf("letter.pdf")
    assert "docclf[" in error.value.hint
