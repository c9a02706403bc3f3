"""Of a PDF whose end is missing, the whole pages are read."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from page_cases import write_encrypted_pdf, write_pdf

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.images.pdf_repair import repair_pdf
from docclf_cli.data.images.preprocess import Preprocess

INPUT = Preprocess(32)
LOST = "breaks off before the end"


@pytest.fixture
def reader() -> PageReader:
    return PageReader(max_pixels=10**6)


def cut(path: Path, share: float) -> Path:
    """A copy of a file that ends early."""
    short = path.with_name(f"short-{share}.pdf")
    content = path.read_bytes()
    short.write_bytes(content[: int(len(content) * share)])
    return short


@pytest.mark.parametrize(("share", "fewest"), [(0.98, 10), (0.6, 4)])
def test_pages_before_the_break_are_those_of_the_whole_file(
    reader: PageReader, tmp_path: Path, share: float, fewest: int
) -> None:
    whole = write_pdf(tmp_path / "whole.pdf", range(10))
    drawn = [reader.read(whole, None, number, INPUT) for number in range(10)]
    short = cut(whole, share)
    read, lost = [], []
    for number in range(reader.count(short)):
        try:
            read.append(reader.read(short, None, number, INPUT))
        except UnreadablePage as error:
            assert LOST in error.reason
            lost.append(number)
    assert len(read) >= fewest
    assert [*range(len(read)), *lost] == list(range(reader.count(short)))
    for mine, wanted in zip(read, drawn, strict=False):
        assert np.array_equal(mine, wanted)


def test_a_page_without_its_content_is_lost_and_never_blank(reader: PageReader, tmp_path: Path) -> None:
    path = _pdf(tmp_path / "a.pdf", cut_at=b"% second")
    assert reader.count(path) == 2
    assert (reader.read(path, None, 0, INPUT) == 0).any()
    with pytest.raises(UnreadablePage, match=LOST):
        reader.read(path, None, 1, INPUT)


def test_objects_in_compressed_streams_are_found(reader: PageReader, tmp_path: Path) -> None:
    inside = {
        5: b"<< /Type /Pages /Kids [6 0 R] /Count 1 /MediaBox [0 0 100 100] >>",
        6: b"<< /Type /Page /Parent 5 0 R /Resources << >> /Contents 7 0 R >>",
    }
    first = " ".join(
        f"{number} {place}" for number, place in zip(inside, (0, len(inside[5]) + 1), strict=True)
    ).encode()
    data = zlib.compress(first + b" " + b" ".join(inside.values()))
    path = tmp_path / "compressed.pdf"
    path.write_bytes(
        b"%%PDF-1.5\n7 0 obj\n<< /Length 19 >>\nstream\n0 g 20 20 60 60 re f\nendstream\nendobj\n"
        b"8 0 obj\n<< /Type /ObjStm /N 2 /First %d /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream\nendobj\n"
        % (len(first) + 1, len(data), data)
    )
    assert reader.count(path) == 1
    assert (reader.read(path, None, 0, INPUT)[8:24, 8:24] == 0).any()


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4\n", b"%PDF-1.4\n1 0 obj\n<< /Type /Page", b"\0" * 5000])
def test_what_has_no_page_is_not_repaired(reader: PageReader, tmp_path: Path, content: bytes) -> None:
    assert repair_pdf(content) is None
    (tmp_path / "bad.pdf").write_bytes(content)
    with pytest.raises(UnreadablePage, match="damaged, or not a PDF"):
        reader.count(tmp_path / "bad.pdf")


def test_an_encrypted_file_is_not_repaired(tmp_path: Path) -> None:
    assert repair_pdf(write_encrypted_pdf(tmp_path / "e.pdf").read_bytes()) is None


def _pdf(path: Path, *, cut_at: bytes) -> Path:
    square = b"<< /Length 19 >>\nstream\n0 g 20 20 60 60 re f\nendstream"
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Resources << >> /Contents %d 0 R >>"
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, io.SEEK_END)
    for number, text in (
        (1, b"<< /Type /Catalog /Pages 2 0 R >>"), (2, b"<< /Type /Pages /Kids [3 0 R 5 0 R] /Count 2 >>"),
        (3, page % 4), (4, square), (5, page % 6), (6, b"% second" + square),
    ):  # fmt: skip
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, text))
    content = out.getvalue()
    path.write_bytes(content[: content.index(cut_at)])
    return path
