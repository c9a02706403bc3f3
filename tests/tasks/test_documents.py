"""PDF and TIFF documents from training to prediction."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import TONES, tiny_profile

from docclf_cli.data.index.index import load_index
from docclf_cli.data.index.splits import Split
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.page_ids import document_of
from docclf_cli.profile.schema import DataConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.results.training import TrainResult
from docclf_cli.tasks.class_report.thumbnails import thumbnails
from docclf_cli.tasks.document_scores import score_documents
from docclf_cli.tasks.evaluate.evaluate import evaluate
from docclf_cli.tasks.train import train


def write_documents(folder: Path, per_class: int) -> Path:
    """Class folders of TIFFs and PDFs with one to three noisy pages, each class of another tone."""
    rng = np.random.default_rng(0)
    for name, tone in TONES.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            noise = rng.normal(tone, 30, (1 + number % 3, 40, 30, 3))
            first, *others = [Image.fromarray(np.clip(page, 0, 255).astype(np.uint8)) for page in noise]
            path = folder / name / f"{number}.{'pdf' if number % 2 else 'tif'}"
            first.save(path, save_all=True, append_images=others)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainResult]:
    folder = tmp_path_factory.mktemp("documents")
    pages = write_documents(folder / "pages", 6)
    # One page of one document is damaged, and one document is.
    (pages / "form" / "broken.pdf").write_bytes(b"%PDF-1.7 nothing else")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("docclf_cli.tasks.train.write_curves", lambda path, *_: path / "none")
        yield train(tiny_profile(pages, folder / "runs", train__epochs=1, data__max_unreadable=0.1))


def held_out(result: TrainResult) -> Predictions:
    (path,) = (result.run / "predictions").glob("val-*.npz")
    return Predictions.load(path)


def test_documents_are_trained_on_and_scored(run: TrainResult) -> None:
    split = Split.load(RunFolder(run.run).split)
    sides = [{document_of(name) for name in split.ids[split.parts == part].tolist()} for part in ("train", "val")]
    assert not sides[0] & sides[1]
    assert len(split.ids) == 6 * 2 * 3 + 1
    assert run.documents is not None
    readable = {document_of(name) for name in held_out(run).scored().ids.tolist()}
    assert run.documents.support == len(readable)
    assert run.val.support == len(held_out(run).scored()) > len(readable)


def test_a_broken_file_is_set_aside_alone(run: TrainResult) -> None:
    lines = RunFolder(run.run).quarantine.read_text().splitlines()
    assert lines[1:] == ['form/broken.pdf,"damaged, or not a PDF"']


def test_evaluate_scores_documents(run: TrainResult) -> None:
    result = evaluate(run.run, "val")
    assert result.documents == run.documents
    uncalibrated = score_documents(held_out(run))
    assert uncalibrated is not None
    assert result.documents is not None
    assert result.documents.metrics["accuracy"] == uncalibrated.metrics["accuracy"]


def test_predict_tells_documents(run: TrainResult, tmp_path: Path, docclf: Any) -> None:
    pages = run.run.parents[1] / "pages"
    printed = docclf("predict", run.run, pages / "letter", "--output", tmp_path / "out", "--json", cwd=tmp_path)
    result = json.loads(printed.stdout)
    assert (result["inputs"], result["pages"]) == (6, 12)
    assert [(Path(row["path"]).name, row["pages"]) for row in result["documents"]] == [
        ("0.tif", 1), ("1.pdf", 2), ("2.tif", 3), ("3.pdf", 1), ("4.tif", 2), ("5.pdf", 3),
    ]  # fmt: skip
    assert Path(result["documents_file"]).name == "documents.csv"
    shown = docclf("predict", run.run, pages / "letter", "--output", tmp_path / "out", "--overwrite", cwd=tmp_path)
    assert "Documents of several pages" in shown.stdout
    first = docclf(
        "predict", run.run, pages / "letter", "--set", "data.pages=first", "--json", "-o", "one", cwd=tmp_path
    )
    assert json.loads(first.stdout)["pages"] == 6


def test_a_report_shows_the_page_that_is_named(run: TrainResult) -> None:
    data = DataConfig(root=str(run.run.parents[1] / "pages"), cache="off")
    names = ["letter/2.tif#1", "letter/2.tif#3", "letter/5.pdf#2"]
    assert len(set(thumbnails(names, "train", data).values())) == 3


def test_a_test_split_of_documents_is_submitted_by_document(run: TrainResult, tmp_path: Path, docclf: Any) -> None:
    root = tmp_path / "competition"
    write_documents(tmp_path / "new", 3)
    (root / "train").mkdir(parents=True)
    (root / "test").mkdir()
    for path in (tmp_path / "new" / "letter").iterdir():
        path.rename(root / "test" / path.name)
    (root / "train.csv").write_text("ID,target\n")
    (root / "sample_submission.csv").write_text("ID,target\n2.tif,0\n1,0\n0.tif,0\n")
    index = load_index(DataConfig(root=str(root), cache="off"), "test", ("form", "letter", "receipt"))
    assert index.ids.tolist() == ["2.tif#1", "2.tif#2", "2.tif#3", "1.pdf#1", "1.pdf#2", "0.tif"]
    out = tmp_path / "out"
    printed = docclf(
        "predict", run.run, "--split", "test", "--data", root, "--submission", "-o", out, "--json", cwd=tmp_path
    )
    result = json.loads(printed.stdout)
    assert [(row["path"], row["page"]) for row in result["predictions"]] == [
        ("2.tif", 1), ("2.tif", 2), ("2.tif", 3), ("1.pdf", 1), ("1.pdf", 2), ("0.tif", 1),
    ]  # fmt: skip
    submitted = [line.split(",") for line in (out / "submission.csv").read_text().splitlines()[1:]]
    assert submitted == [
        [name, row["predicted"]] for name, row in zip(("2.tif", "1", "0.tif"), result["documents"], strict=True)
    ]
