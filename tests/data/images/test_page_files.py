"""Pages of PDF and TIFF files."""

import multiprocessing
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from page_cases import page, write_encrypted_pdf, write_pdf, write_tiff
from PIL import Image

from docclf_cli.data.images import page_files
from docclf_cli.data.images.decode import UnreadablePage, read_page
from docclf_cli.data.images.page_files import MAX_PAGES, PageReader
from docclf_cli.data.images.preprocess import Preprocess

INPUT = Preprocess(32)


@pytest.fixture
def reader() -> PageReader:
    return PageReader(max_pixels=10**6)


def alone(tmp_path: Path, number: int) -> np.ndarray:
    page(number).save(tmp_path / "alone.png")
    return read_page(tmp_path / "alone.png", INPUT, max_pixels=10**6)


def test_pages_of_a_tiff_in_any_order_and_size(reader: PageReader, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "t.tif", [5, 6, 7])
    assert reader.count(path) == 3
    for number in (2, 0, 1, 1):
        assert np.array_equal(reader.read(path, None, number, INPUT), alone(tmp_path, 5 + number))
        assert reader.read(path, None, number, Preprocess(16)).shape == (16, 16, 3)


def test_every_page_of_a_tiff_is_turned_by_its_own_orientation(reader: PageReader, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 3
    second = page(2)
    second.encoderinfo = {"exif": turned}
    page(1).save(tmp_path / "t.tif", save_all=True, append_images=[second])
    assert np.array_equal(reader.read(tmp_path / "t.tif", None, 0, INPUT), alone(tmp_path, 1))
    half = reader.read(tmp_path / "t.tif", None, 1, INPUT)
    assert np.array_equal(half, np.rot90(alone(tmp_path, 2), 2))


def test_a_jpeg_is_one_page_in_every_size(reader: PageReader, tmp_path: Path) -> None:
    page(3).resize((800, 600)).save(tmp_path / "a.jpg")
    assert reader.count(tmp_path / "a.jpg") == 1
    for size in (16, 200, 32):
        wanted = read_page(tmp_path / "a.jpg", Preprocess(size), max_pixels=10**6)
        assert np.array_equal(reader.read(tmp_path / "a.jpg", None, 0, Preprocess(size)), wanted)


def test_a_document_of_300_pages(reader: PageReader, tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "long.pdf", range(300))
    assert reader.count(path) == 300
    for number in (299, 0, 150):
        # By the mean colour: inside is a JPEG, which blurs the lines of these pages.
        colour = reader.read(path, None, number, INPUT).mean(axis=(0, 1))
        assert colour == pytest.approx(alone(tmp_path, number).mean(axis=(0, 1)), abs=4)


def test_a_pdf_is_opened_again_after_some_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pdfium keeps what it has read; where the file cannot be opened again, the open one is read on."""
    path, how = write_pdf(tmp_path / "long.pdf", range(9)), Preprocess(32)
    expected = [PageReader(10**7).read(path, None, number, how) for number in range(9)]
    monkeypatch.setattr(page_files, "PAGES_UNTIL_OPENED_AGAIN", 3)
    reader = PageReader(10**7)
    opened = set[int]()
    for number in range(9):
        assert np.array_equal(reader.read(path, None, number, how), expected[number])
        assert reader._open is not None
        opened.add(id(reader._open[1]._pdf.raw))  # type: ignore[attr-defined]
    assert len(opened) > 1
    import pypdfium2

    def gone(content: object) -> None:
        raise pypdfium2.PdfiumError("gone")

    monkeypatch.setattr(pypdfium2, "PdfDocument", gone)
    for number in range(9):
        assert np.array_equal(reader.read(path, None, number, how), expected[number])


def test_a_filled_form_is_drawn_with_what_was_filled_in(reader: PageReader, tmp_path: Path) -> None:
    empty, filled = (reader.read(_form(tmp_path / f"{on}.pdf", on), None, 0, INPUT) for on in (False, True))
    assert (empty == 255).all()
    assert (filled[8:24, 8:24] == 0).any()


def _form(path: Path, filled: bool) -> Path:
    """A form with one field, whose appearance is a black square."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [%s] >> >>" % (b"4 0 R" if filled else b""),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Annots [%s] >>" % (b"4 0 R" if filled else b""),
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (a) /V (x) /Rect [20 20 80 80] /P 3 0 R /AP << /N 5 0 R >> >>",
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 60 60] /Length 18 >>\nstream\n0 g 0 0 60 60 re f\nendstream",
    ]
    path.write_bytes(pdf_of(objects))
    return path


def _marked(path: Path, size: tuple[int, int], rotate: int) -> Path:
    """A page whose lower left corner is black, with a rotation entry."""
    ink = b"0 g 0 0 50 50 re f"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Rotate %d /Contents 4 0 R >>" % (*size, rotate),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(ink), ink),
    ]
    path.write_bytes(pdf_of(objects))
    return path


@pytest.mark.parametrize("rotate", [90, 180, 270])
def test_the_rotation_entry_of_a_pdf_is_applied(reader: PageReader, tmp_path: Path, rotate: int) -> None:
    for size in ((100, 100), (100, 200)):
        plain = reader.read(_marked(tmp_path / "plain.pdf", size, 0), None, 0, INPUT)
        turned = reader.read(_marked(tmp_path / f"{rotate}.pdf", size, rotate), None, 0, INPUT)
        assert (plain < 128).any()
        assert np.array_equal(turned < 128, np.rot90(plain, -rotate // 90) < 128)
        reader.close()


def test_a_form_in_two_languages_is_read_in_silence(
    reader: PageReader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a form that is also in XFA, its AcroForm is drawn."""
    form = _form(tmp_path / "xfa.pdf", True)
    form.write_bytes(form.read_bytes().replace(b"/Fields [4 0 R]", b"/Fields[4 0 R]/XFA 5 0 R"))
    assert (reader.read(form, None, 0, INPUT)[8:24, 8:24] == 0).any()
    assert caplog.records == []


def test_forked_processes_open_files_of_their_own(reader: PageReader, tmp_path: Path) -> None:
    """They would move the position in the file under one another's feet."""
    paths = [write_pdf(tmp_path / "a.pdf", range(60)), write_tiff(tmp_path / "a.tif", range(60))]
    wanted = {path: [reader.read(path, None, number, INPUT) for number in range(60)] for path in paths}
    for path in paths:
        reader.read(path, None, 0, INPUT)

        def same(path: Path = path) -> None:
            numbers = np.random.default_rng(os.getpid()).permutation(60).tolist() * 3
            right = all(np.array_equal(reader.read(path, None, one, INPUT), wanted[path][one]) for one in numbers)
            os._exit(0 if right else 1)

        processes = [multiprocessing.get_context("fork").Process(target=same) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0]


def test_a_tiff_with_a_bad_page_loses_that_page_alone(reader: PageReader, tmp_path: Path) -> None:
    whole = write_tiff(tmp_path / "t.tif", [5, 6, 7, 8]).read_bytes()
    for tag, value, reason in (
        (262, 999, "unknown pixel mode"),
        (259, 4242, "4242"),
        (256, 0, "damaged"),
        (256, 10**7, "max_pixels"),
    ):
        (tmp_path / "t.tif").write_bytes(_with_tag(whole, 1, tag, value))
        assert reader.count(tmp_path / "t.tif") == 4
        for number in (0, 2, 3, 0):
            assert np.array_equal(reader.read(tmp_path / "t.tif", None, number, INPUT), alone(tmp_path, 5 + number))
            with pytest.raises(UnreadablePage, match=reason):
                reader.read(tmp_path / "t.tif", None, 1, INPUT)
        reader.close()


def test_a_first_page_that_is_too_large_is_lost_alone(tmp_path: Path) -> None:
    page(1).resize((300, 300)).save(tmp_path / "t.tif", save_all=True, append_images=[page(2)])
    small = PageReader(max_pixels=10_000)
    assert small.count(tmp_path / "t.tif") == 2
    with pytest.raises(UnreadablePage, match=r"has 300 x 300 pixels; data\.max_pixels is 10,000"):
        small.read(tmp_path / "t.tif", None, 0, INPUT)
    assert np.array_equal(small.read(tmp_path / "t.tif", None, 1, INPUT), alone(tmp_path, 2))


def test_a_tiff_that_breaks_off_keeps_the_pages_before(reader: PageReader, tmp_path: Path) -> None:
    whole = write_tiff(tmp_path / "t.tif", [5, 6, 7, 8]).read_bytes()
    third = _directories(whole)[2]
    (tmp_path / "t.tif").write_bytes(whole[: third + 20])
    assert reader.count(tmp_path / "t.tif") == 3
    with pytest.raises(UnreadablePage, match="damaged"):
        reader.read(tmp_path / "t.tif", None, 2, INPUT)
    for number in (0, 1):
        assert np.array_equal(reader.read(tmp_path / "t.tif", None, number, INPUT), alone(tmp_path, 5 + number))


def _directories(tiff: bytes) -> list[int]:
    """Where the directory of each page of a little-endian TIFF starts (TIFF 6.0, section 2)."""
    places, place = [], struct.unpack_from("<I", tiff, 4)[0]
    while place:
        places.append(place)
        (entries,) = struct.unpack_from("<H", tiff, place)
        (place,) = struct.unpack_from("<I", tiff, place + 2 + 12 * entries)
    return places


def _with_tag(tiff: bytes, number: int, tag: int, value: int) -> bytes:
    changed, place = bytearray(tiff), _directories(tiff)[number]
    for entry in range(place + 2, place + 2 + 12 * struct.unpack_from("<H", tiff, place)[0], 12):
        if struct.unpack_from("<H", tiff, entry)[0] == tag:
            struct.pack_into("<HII", changed, entry + 2, 4, 1, value)
    return bytes(changed)


def test_what_is_wrong_with_a_file_is_said(reader: PageReader, tmp_path: Path) -> None:
    whole = write_pdf(tmp_path / "whole.pdf", [1]).read_bytes()
    (tmp_path / "torn.pdf").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pdf").write_bytes(b"")
    (tmp_path / "html.tif").write_bytes(b"<html>")
    (tmp_path / "folder.pdf").mkdir()
    write_encrypted_pdf(tmp_path / "secret.pdf")
    cases = {
        "secret.pdf": "encrypted PDF", "torn.pdf": "damaged, or not a PDF", "empty.pdf": "damaged, or not a PDF",
        "html.tif": "is HTML", "folder.pdf": "not a regular file", "gone.pdf": "no such file",
    }  # fmt: skip
    for name, reason in cases.items():
        with pytest.raises(UnreadablePage, match=reason):
            reader.count(tmp_path / name)


def test_a_page_that_would_be_too_large_is_refused(tmp_path: Path) -> None:
    strip = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 3 14000] >>",
    ]
    (tmp_path / "strip.pdf").write_bytes(pdf_of(strip))
    with pytest.raises(UnreadablePage, match=r"pixels; data\.max_pixels is 10,000"):
        PageReader(10_000).read(tmp_path / "strip.pdf", None, 0, Preprocess(32, "crop"))


def test_a_file_with_too_many_pages_is_refused(
    reader: PageReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiff(tmp_path / "t.tif", [1, 2, 3])
    monkeypatch.setattr("docclf_cli.data.images.page_files.MAX_PAGES", 2)
    with pytest.raises(UnreadablePage, match="has more than"):
        reader.count(path)
    assert MAX_PAGES == 10_000


def test_no_page_leaves_its_root(reader: PageReader, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_tiff(tmp_path / "t.tif", [1])
    (tmp_path / "in" / "t.tif").symlink_to(tmp_path / "t.tif")
    with pytest.raises(UnreadablePage, match="leaves the data root"):
        reader.count(tmp_path / "in" / "t.tif", tmp_path / "in")


def pdf_of(objects: list[bytes]) -> bytes:
    content, places = b"%PDF-1.7\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, text)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    trailer = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return content + trailer % (size, table, size, len(content))
