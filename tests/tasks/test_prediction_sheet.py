"""The sheet of pages that were predicted wrongly and rightly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from docclf_cli.data.images.contact_sheet import THUMBNAIL
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading.pages import Pages
from docclf_cli.profile.schema import DataConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks import result_files
from docclf_cli.tasks.result_files import RIGHT, SHEET_PAGES, WRONG, write_prediction_sheet

NAMES = ("영수증", "form")


def _case(folder: Path, confidences: list[float], targets: list[int]) -> tuple[Predictions, Pages]:
    """Pages that are all predicted as the first class, each with its confidence; the grey of a page is its number."""
    ids = np.array([f"{number}.png" for number in range(len(targets))], dtype=object)
    for number, name in enumerate(ids):
        Image.new("RGB", (30, 40), (number, 0, 0)).save(folder / name)
    probs = np.array([(value, 1 - value) for value in confidences])
    index = DocumentIndex(folder, ids, ids, np.array(targets), NAMES)
    predictions = Predictions(ids.astype(np.str_), np.log(probs).astype(np.float32), NAMES, np.array(targets))
    return predictions, Pages(index, Preprocess(THUMBNAIL), DataConfig(root=str(folder)))


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What sheets were drawn from."""
    drawn: list[dict[str, Any]] = []
    whole = result_files.contact_sheet

    def record(pages: Any, captions: Any, path: Path, frames: Any, title: str) -> Path:
        drawn.append({"pages": pages, "captions": captions, "frames": frames, "title": title})
        return whole(pages, captions, path, frames=frames, title=title)

    monkeypatch.setattr(result_files, "contact_sheet", record)
    return drawn


def test_confident_mistakes_come_first_and_then_uncertain_hits(tmp_path: Path, sheets: list[dict[str, Any]]) -> None:
    predictions, pages = _case(tmp_path, [0.6, 0.9, 0.7, 0.8], [0, 1, 1, 0])
    path = write_prediction_sheet(tmp_path, "test", predictions, 1.0, pages)
    assert path == tmp_path / "prediction_sheet.png"
    assert Image.open(path).size[0] > 4 * THUMBNAIL
    (sheet,) = sheets
    assert sheet["captions"] == ["0.90 영수증\nis form", "0.70 영수증\nis form", "0.60 영수증", "0.80 영수증"]
    assert sheet["frames"] == [WRONG, WRONG, RIGHT, RIGHT]
    assert [page[THUMBNAIL // 2, THUMBNAIL // 2, 0] for page in sheet["pages"]] == [1, 2, 0, 3]


@pytest.mark.parametrize(("wrong", "right", "shown"), [(40, 40, (12, 12)), (3, 40, (3, 21)), (40, 3, (21, 3))])
def test_both_kinds_get_half_unless_one_has_fewer(
    wrong: int, right: int, shown: tuple[int, int], tmp_path: Path, sheets: list[dict[str, Any]]
) -> None:
    predictions, pages = _case(tmp_path, [0.6] * (wrong + right), [1] * wrong + [0] * right)
    write_prediction_sheet(tmp_path, "test", predictions, 1.0, pages)
    frames = sheets[0]["frames"]
    assert (frames.count(WRONG), frames.count(RIGHT)) == shown
    assert sum(shown) == SHEET_PAGES


def test_pages_that_cannot_be_read_are_left_out(tmp_path: Path, sheets: list[dict[str, Any]]) -> None:
    predictions, pages = _case(tmp_path, [0.6, 0.9], [0, 0])
    (tmp_path / "0.png").write_bytes(b"no image")
    write_prediction_sheet(tmp_path, "test", predictions, 1.0, pages)
    assert sheets[0]["captions"] == ["0.90 영수증"]
