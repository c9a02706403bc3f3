"""`text: auto`: whether pages without a text layer are read by OCR, as a trial on some of them says."""

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from page_cases import page
from text_cases import SAID, words_of, write_documents

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import load_training_index
from docclf_cli.data.text.ocr import OcrEngine
from docclf_cli.data.text.page_text import PageText
from docclf_cli.engine.training import text as text_module
from docclf_cli.engine.training.text import run_texts
from docclf_cli.models.text_features import TextPage
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile

pytest.importorskip("pypdfium2", reason="extra pdf")
EACH = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PDF files with text, and as many scans, which have none."""
    place = write_documents(tmp_path_factory.mktemp("mixed"), each=EACH, second_pages=False)
    for label, kind in enumerate(SAID):
        for number in range(EACH):
            page(100 * label + number).save(place / kind / f"scan-{number:02}.png")
    return place


class Trial:
    """A stand-in for the engine: what it reads, how long it takes, and which pages were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, told: bool = True, seconds: float = 0.1) -> None:
        self.asked: list[str] = []
        self.whole = 0
        self._told, self._seconds, self._now = told, seconds, 0.0
        self._layers = text_module.text_pages
        engine = OcrEngine("tesseract", "0", ("eng",))
        monkeypatch.setattr(text_module, "ocr_engine", lambda: engine)
        monkeypatch.setattr(text_module, "page_texts", self._page_texts)
        monkeypatch.setattr(text_module, "text_pages", self._text_pages)
        monkeypatch.setattr(text_module, "time", SimpleNamespace(monotonic=lambda: self._now))

    def _page_texts(self, index: DocumentIndex, *_: Any, **__: Any) -> list[PageText]:
        self._now += self._seconds * len(index)
        self.asked += index.ids.tolist()
        rng = np.random.default_rng(len(self.asked))
        kinds = [index.class_names[label] if self._told else rng.choice([*SAID]) for label in index.labels]
        return [
            PageText(words_of(str(kind), zlib.crc32(name.encode())), "tesseract")
            for kind, name in zip(kinds, index.ids, strict=True)
        ]

    def _text_pages(self, index: DocumentIndex, config: Any, source: str, *rest: Any) -> Sequence[TextPage]:
        if source == "ocr":
            self.whole += 1
            return [TextPage("by OCR")] * len(index)
        return self._layers(index, config, source, *rest)


def texts_of(folder: Path, **options: object) -> str | None:
    """Where the texts of a run come from."""
    profile: Profile = load_profile("config", options={"data.root": str(folder), **options}).profile
    prepared: Any = SimpleNamespace(index=load_training_index(profile.data)[0], unreadable={})
    found = run_texts(profile, prepared, workers=0)
    return None if found is None else found.source


def test_ocr_that_tells_classes_reads_all_pages(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trial = Trial(monkeypatch)
    assert texts_of(folder) == "ocr"
    assert trial.whole == 1
    assert {name.rpartition("/")[2][:4] for name in trial.asked} == {"scan"}  # pages with a layer are not asked about
    assert len(trial.asked) == len(set(trial.asked)) == 3 * EACH
    assert "tells classes: OCR is used" in caplog.text


@pytest.mark.parametrize(
    ("how", "options", "said"),
    [
        ({"told": False}, {}, "does not show that it tells classes"),
        (
            {"seconds": 61.0},
            {},
            "not used (text: ocr uses it all the same)",
        ),  # 30 pages would take more than half an hour
        ({}, {"train.minutes": 2}, "are not read by OCR in so short a run"),
    ],
)
def test_ocr_that_does_not_pay_is_left_out_and_that_is_said(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: dict[str, Any],
    options: dict[str, object],
    said: str,
) -> None:
    caplog.set_level(logging.INFO)
    trial = Trial(monkeypatch, **how)
    assert texts_of(folder, **options) == "layer"
    assert trial.whole == 0
    assert said in caplog.text
    if how.get("seconds"):
        assert len(trial.asked) < 3 * EACH  # a trial ends after its time


def test_there_is_no_trial_without_an_engine_or_a_question(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trial = Trial(monkeypatch)
    assert texts_of(write_documents(tmp_path / "layers", each=4, second_pages=False)) == "layer"
    assert texts_of(folder, text="layer") == "layer"
    assert texts_of(folder, text="off") is None
    monkeypatch.setattr(text_module, "ocr_engine", lambda: None)
    assert texts_of(folder) == "layer"
    assert trial.asked == []


def test_a_model_that_only_reads_takes_ocr_where_nothing_else_is_to_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for kind in SAID:
        (tmp_path / "scans" / kind).mkdir(parents=True)
        for number in range(4):
            page(number).save(tmp_path / "scans" / kind / f"{number}.png")
    trial = Trial(monkeypatch)
    assert texts_of(tmp_path / "scans", **{"model.model_name": "text"}) == "ocr"
    assert (trial.whole, trial.asked) == (1, [])
    assert texts_of(tmp_path / "scans") is None  # an image model: without any PDF nothing is tried
