"""The text of pages: layers as a reader sees them, and OCR."""

import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from text_cases import IMAGE, shown, write_text_pdf

from docclf_cli.data.text import ocr
from docclf_cli.data.text.page_text import LAYER, MAX_CHARACTERS, NO_TEXT, PageText, cleaned
from docclf_cli.data.text.read import page_text
from docclf_cli.errors import InputError

needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
PAGE = "Invoice number 17\nTotal amount due"


def layer(path: Path, page: int = 0) -> str:
    return page_text(path, page, "layer").text


def test_the_layer_of_each_page(tmp_path: Path) -> None:
    path = write_text_pdf(tmp_path / "a.pdf", [PAGE, "Second page of it", ""])
    assert page_text(path, 0, "layer") == PageText(PAGE, LAYER)
    assert layer(path, 1) == "Second page of it"
    assert page_text(path, 2, "layer") == NO_TEXT
    assert page_text(path, 0, "off") == NO_TEXT
    assert page_text(path, 7, "layer") == NO_TEXT  # there is no such page


def test_text_that_nobody_sees_is_left_out(tmp_path: Path) -> None:
    hidden = [
        shown("contract contract", mode=3, top=300),
        shown("contract contract", x=-900),
        shown("contract contract", top=900),
        shown("contract contract", size=0.2, top=200),
    ]
    for number, one in enumerate(hidden):
        path = write_text_pdf(tmp_path / f"{number}.pdf", [shown(PAGE) + b" " + one])
        assert layer(path) == PAGE
        assert layer(write_text_pdf(tmp_path / f"only-{number}.pdf", [one])) == ""


def test_the_invisible_text_of_a_scanner_counts(tmp_path: Path) -> None:
    scanned = IMAGE + b" " + shown(PAGE, mode=3)
    assert layer(write_text_pdf(tmp_path / "scan.pdf", [scanned])) == PAGE
    assert layer(write_text_pdf(tmp_path / "both.pdf", [scanned + b" " + shown("Visible words", top=200)])) == (
        "Visible words"
    )


def test_text_that_means_nothing_is_none() -> None:
    assert cleaned("\ue000\ue001\ue002 \ue003\ue004 abc") == ""
    assert cleaned("\ufffd" * 30 + "some letters") == ""
    assert cleaned("12 345 67,89 --- 1/2 (3)") == ""
    assert cleaned("7") == ""
    assert cleaned("Terms ........... 3\n\n  and   more \ue000words\x00") == "Terms . 3\nand more words"
    assert cleaned("ﬁnal 계약서".replace("계", "\u1100\u1168")) == "final 계약서"


def test_very_long_text_is_cut(tmp_path: Path) -> None:
    line = "word " * 20
    path = write_text_pdf(tmp_path / "long.pdf", [shown("\n".join([line] * 3000), size=2, top=499)])
    assert 0 < len(layer(path)) <= MAX_CHARACTERS
    assert len(cleaned("word " * 10**6)) <= MAX_CHARACTERS


def drawn(path: Path, text: str, turn: int = 0) -> Path:
    image = Image.new("L", (1240, 1000), 255)
    ImageDraw.Draw(image).multiline_text((90, 90), text, fill=0, font=ImageFont.load_default(36), spacing=20)
    image.rotate(turn, expand=True).save(path)
    return path


LETTER = "\n".join(
    ["Dear Sir or Madam,", "this agreement between the parties", "is governed by the laws of England"] * 4
)


@needs_tesseract
def test_ocr_reads_pages_without_a_layer_upright_or_turned(tmp_path: Path) -> None:
    for turn in (0, 90):
        found = page_text(drawn(tmp_path / f"{turn}.png", LETTER, turn), mode="ocr")
        assert found.source == ocr.TESSERACT
        assert "agreement between the parties" in found.text
    assert page_text(tmp_path / "0.png", mode="layer") == NO_TEXT
    assert page_text(tmp_path / "0.png", mode="ocr", seconds=0.001) == NO_TEXT  # given up


def test_without_an_engine_auto_has_no_text_and_ocr_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docclf_cli.data.text.read.ocr_engine", lambda: None)
    monkeypatch.setattr(ocr, "ocr_engine", lambda: None)
    path = drawn(tmp_path / "a.png", LETTER)
    assert page_text(path, mode="auto") == NO_TEXT
    with pytest.raises(InputError) as raised:
        page_text(path, mode="ocr")
    assert raised.value.hint == ocr.HINT


def test_languages_by_script() -> None:
    installed = ("eng", "kor", "osd")
    assert ocr.languages_for("Hangul", installed) == ("kor", "eng")
    assert ocr.languages_for("Latin", installed) == ("eng",)
    assert ocr.languages_for("", installed) == ("kor", "eng")  # not told
    assert ocr.languages_for("Cyrillic", installed) == ()
    assert ocr.languages_for("Hangul", ("eng", "osd")) == ()
