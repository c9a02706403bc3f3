"""What can be reviewed, from what the other commands really write; and what a whole round gives."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import TONES, draw_pages, no_plots, tiny_profile

from docclf_cli.data.index.index import load_index
from docclf_cli.data.index.tables import read_table
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.stop import NEVER
from docclf_cli.tasks.audit.audit import audit
from docclf_cli.tasks.evaluate.evaluate import EvaluateOptions, evaluate
from docclf_cli.tasks.review.queue import BY_FILE, DUPLICATES, ISSUES
from docclf_cli.tasks.review.session import ReviewSession
from docclf_cli.tasks.review.sources import PagesOfData, open_queue
from docclf_cli.tasks.review.suggestions import with_suggestions
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]
CPU = RuntimeConfig(device="cpu", workers=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with a page of each class that has a copy under another class, and one wrong label."""
    folder = draw_pages(tmp_path_factory.mktemp("pages") / "data", 12)
    rng = np.random.default_rng(3)
    for label, other in zip(TONES, [*list(TONES)[1:], next(iter(TONES))], strict=True):
        page = Image.fromarray(rng.integers(0, 256, (90, 70, 3), dtype=np.uint8)).resize((350, 450))
        page.save(folder / label / "original.png")
        page.save(folder / other / f"copy-of-{label}.png")
    return folder


@pytest.fixture(scope="module")
def folds(data: Path, tmp_path_factory: pytest.TempPathFactory, no_plots: None) -> Path:
    options = {"train__folds": 2, "data__degraded_validation": False, "train__epochs": 6}
    return train(tiny_profile(data, tmp_path_factory.mktemp("runs"), name="folds", **options)).run


@pytest.mark.slow
def test_an_audit_becomes_labels_and_groups(data: Path, folds: Path, tmp_path: Path) -> None:
    result = audit(tiny_profile(data, tmp_path), run=folds, output=tmp_path, name="look")
    queue = open_queue(result.folder)
    sets = [item for item in queue.items if item.kind == DUPLICATES]
    assert len(sets) == 3
    assert {len(item.pages) for item in sets} == {2}
    assert queue.class_names == tuple(TONES)
    assert queue.model == folds
    issues = [item for item in queue.items if item.kind == ISSUES]
    assert result.labels is not None
    assert [item.pages[0].id for item in issues] == [issue.id for issue in result.labels.issues]
    session = ReviewSession(queue, tmp_path / "review")
    for number, item in enumerate(session.next_items("tab", 3, BY_FILE)):
        session.decide("tab", str(number), item.key, "label", label="form", same=True)
    labels, groups = session.write_results()
    ids = {page.id for item in sets for page in item.pages}
    # Both are taken as they are by the keys of `data` that they are meant for.
    index = load_index(DataConfig(root=str(data), relabel=str(labels), groups=str(groups)), "train")
    assert {index.class_names[label] for name, label in zip(index.ids, index.labels, strict=True) if name in ids} == {"form"}  # fmt: skip
    group_of = dict(zip(index.ids, index.groups, strict=True))  # type: ignore[arg-type]
    for item in sets:
        assert len({group_of[page.id] for page in item.pages}) == 1


def test_the_review_queue_of_a_run(
    data: Path, tmp_path: Path, no_plots: None, caplog: pytest.LogCaptureFixture
) -> None:
    run = train(tiny_profile(data, tmp_path / "runs", name="one", train__epochs=2)).run
    with pytest.raises(InputError, match=r"has no review_queue\.csv"):
        open_queue(run)
    evaluate(run, options=EvaluateOptions(target_precision=0.99), runtime_config=CPU)
    queue = open_queue(run)
    table = read_table(next(run.glob("evaluate/*/review_queue.csv")))
    assert [item.pages[0].id for item in queue.items] == table["ID"].tolist()
    assert all(item.pages[0].path.is_file() for item in queue.items)
    assert all(item.pages[0].label for item in queue.items)
    assert [item.confidence for item in queue.items] == [float(text) for text in table["confidence"]]
    logging.getLogger("docclf").propagate = True
    os.utime(run / "best.ckpt")  # trained again
    with caplog.at_level(logging.WARNING, logger="docclf"):
        open_queue(run)
    assert "is older than the model" in caplog.text


def test_a_run_suggests_classes_for_a_folder_and_is_asked_once(
    data: Path, tmp_path: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(tiny_profile(data, tmp_path / "runs", name="one", train__epochs=2)).run
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(3):
        Image.new("RGB", (30, 40), (70 * number, 70, 70)).save(scans / f"{number}.png")
    Image.new("RGB", (30, 40)).save(scans / "two.tif", save_all=True, append_images=[Image.new("RGB", (30, 40), "red")])
    queue = open_queue(scans, run)
    suggested = with_suggestions(queue, run, tmp_path / "review", CPU, lambda event: None, NEVER)
    assert [item.pages[0].id for item in suggested.items] == ["0.png", "1.png", "2.png", "two.tif#1", "two.tif#2"]
    assert all(item.suggested in TONES and 0 < item.margin < 1 for item in suggested.items)

    def must_not(*args: object, **options: object) -> None:
        raise AssertionError("predicted again")

    monkeypatch.setattr("docclf_cli.tasks.review.suggestions.predict", must_not)
    assert with_suggestions(queue, run, tmp_path / "review", CPU, lambda event: None, NEVER) == suggested
    Image.new("RGB", (20, 20), "blue").save(scans / "0.png")  # another page now
    with pytest.raises(AssertionError, match="predicted again"):
        with_suggestions(queue, run, tmp_path / "review", CPU, lambda event: None, NEVER)


def test_a_page_of_a_document_of_the_data_is_that_page(tmp_path: Path) -> None:
    root = draw_pages(tmp_path / "data", 2)
    label = next(iter(TONES))
    first, second = (Image.new("RGB", (20, 30), colour) for colour in ("black", "white"))
    first.save(root / label / "two.tif", save_all=True, append_images=[second])
    found = PagesOfData(DataConfig(root=str(root))).find(f"{label}/two.tif#2", "train", label)
    assert (found.path, found.number) == (root / label / "two.tif", 1)


def test_what_predict_wrote_is_its_table_and_no_audit(tmp_path: Path) -> None:
    """Both write a `summary.json`."""
    Image.new("RGB", (30, 40)).save(tmp_path / "a.png")
    out = tmp_path / "predictions"
    out.mkdir()
    (out / "predictions.csv").write_text(
        f"path,page,class,confidence,needs_review,status\n{tmp_path / 'a.png'},1,form,0.4,true,\n"
    )
    (out / "summary.json").write_text("{}")
    (item,) = open_queue(out).items
    assert item.suggested == "form"
