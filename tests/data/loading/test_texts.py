"""The texts of many pages, and their store."""

from pathlib import Path

import numpy as np
import pytest
from text_cases import write_text_pdf

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading import texts
from docclf_cli.data.loading.text_store import TextStore
from docclf_cli.data.text.page_text import PageText
from docclf_cli.errors import Interrupted
from docclf_cli.profile.schema import DataConfig
from docclf_cli.stop import StopFlag


def index_of(folder: Path, pages: int) -> DocumentIndex:
    write_text_pdf(folder / "a.pdf", [f"This is page {number}" for number in range(pages)])
    ids = np.array([f"a.pdf#{number + 1}" for number in range(pages)], dtype=object)
    return DocumentIndex(folder, ids, np.array(["a.pdf"] * pages, dtype=object), None, ("x",), numbers=np.arange(pages))


def read(index: DocumentIndex, cache: Path | str, **options: object) -> list[str]:
    found = texts.page_texts(index, DataConfig(cache=str(cache)), "layer", **options)  # type: ignore[arg-type]
    return [text.text for text in found]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_page_once_and_then_from_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    index = index_of(tmp_path / "pages", 5)
    wanted = [f"This is page {number}" for number in range(5)]
    assert read(index, tmp_path / "cache", workers=workers) == wanted
    monkeypatch.setattr(texts, "layer_text", lambda *_: PageText("read again", "layer"))
    assert read(index, tmp_path / "cache") == wanted
    write_text_pdf(tmp_path / "pages" / "a.pdf", ["Another file"] * 5)
    assert read(index, tmp_path / "cache") == ["read again"] * 5  # a file that changed is another one


def test_a_stop_keeps_what_was_read(tmp_path: Path) -> None:
    index, stop = index_of(tmp_path / "pages", 4), StopFlag()

    def after_two(event: object) -> None:
        stop.signal_number = 2 if getattr(event, "done", 0) == 2 else None

    with pytest.raises(Interrupted):
        read(index, tmp_path / "cache", emit=after_two, stop=stop)
    events: list[int] = []
    read(index, tmp_path / "cache", emit=lambda event: events.append(event.done))  # type: ignore[attr-defined]
    assert events == [3, 4]


def test_no_cache_and_a_damaged_one(tmp_path: Path) -> None:
    index = index_of(tmp_path / "pages", 2)
    wanted = ["This is page 0", "This is page 1"]
    assert read(index, "off") == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pages"]
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "texts.sqlite").write_bytes(b"no database" * 1000)
    assert read(index, tmp_path / "cache") == wanted
    assert read(index, tmp_path / "cache") == wanted


def test_the_store_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = TextStore(str(tmp_path))
    clock = iter(range(100))
    monkeypatch.setattr("docclf_cli.data.loading.text_store.time.time", lambda: next(clock))
    for number in range(4):
        store.save({str(number): PageText("text", "layer")})
    monkeypatch.setattr("docclf_cli.data.loading.text_store.MAX_BYTES", 1)
    store.save({"4": PageText("text", "layer")})
    assert sorted(store.load([str(number) for number in range(5)])) == ["2", "3", "4"]


def test_pages_that_can_hold_no_text_are_told_by_name(tmp_path: Path) -> None:
    index = index_of(tmp_path, 1)
    assert texts.has_layers(index)
    assert not texts.has_layers(DocumentIndex(tmp_path, index.ids, np.array(["a.tif"], dtype=object), None, ("x",)))
