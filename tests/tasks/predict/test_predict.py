"""`predict`: order, once per page, documents, submissions, going on after an interruption."""

import csv
import io
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from page_cases import page, write_checkpoint, write_encrypted_pdf, write_images, write_pdf, write_tiff
from scipy.special import log_softmax

from docclf_cli.data.images.corruptions import DegradedView
from docclf_cli.data.images.decode import read_page
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.loading.batch import Batch
from docclf_cli.engine.inference.ensemble_predictor import build_ensemble_predictor
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.errors import InputError, Interrupted, UnreadableImagesError
from docclf_cli.events import Event, Progress
from docclf_cli.files import sha256_of
from docclf_cli.metrics.thresholds import find_threshold
from docclf_cli.profile.schema import EnsembleConfig, RuntimeConfig
from docclf_cli.results.prediction import PredictResult
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.predict.predict import PredictOptions, predict
from docclf_cli.tasks.predict.sorting import folder_names
from docclf_cli.tasks.unreadable import require_readable

HERE = RuntimeConfig(workers=0, precision="fp32")
CLASSES = ("form", "=letter", "영수증", "bill")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "best.ckpt", CLASSES)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def predict_members(
    checkpoint: Path, *inputs: str, stdin: bytes = b"", tta: bool = False, **wishes: object
) -> PredictResult:
    question = PredictOptions(inputs=inputs, **wishes)  # type: ignore[arg-type]
    question.check()
    spec = EnsembleSpec.of_checkpoint(checkpoint, tta)
    return predict(spec, question, stdin=io.BytesIO(stdin), runtime_config=HERE)


def rows(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def expected(checkpoint: Path, path: Path) -> np.ndarray:
    """Calibrated probabilities of one page, by itself."""
    predictor = build_ensemble_predictor(EnsembleSpec.of_checkpoint(checkpoint), HERE)
    batch = Batch((_pixels(path),), torch.tensor([-1]), np.array([0]))
    return np.exp(predictor(batch)[0].astype(float))


def _pixels(path: Path) -> torch.Tensor:
    pixels = read_page(path, Preprocess(32), max_pixels=10**6)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]


def test_each_page_once_in_the_order_of_the_input(checkpoint: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 70)
    result = predict_members(checkpoint, "in/p0005.png", "in", top_k=2)
    table = rows("predictions/predictions.csv")
    others = [f"in/p{number:04d}.png" for number in range(70) if number != 5]
    assert [row["path"] for row in table] == ["in/p0005.png", *others]
    assert (result.inputs, result.pages, result.unreadable) == (70, 70, 0)
    for row in (table[0], table[69]):
        probs = expected(checkpoint, tmp_path / row["path"])
        first, second = np.argsort(-probs)[:2]
        shown = [name.replace("=", "'=") for name in CLASSES]
        assert (row["class"], row["class_2"]) == (shown[first], shown[second])
        assert float(row["confidence"]) == pytest.approx(probs[first], abs=1e-5)
        assert float(row["confidence_2"]) == pytest.approx(probs[second], abs=1e-5)
    counted = {one.name: one.pages for one in result.classes}
    assert sum(counted.values()) == 70
    assert counted["=letter"] == sum(row["class"] == "'=letter" for row in table)


def test_documents_page_by_page_and_as_a_whole(checkpoint: Path, tmp_path: Path) -> None:
    write_tiff(tmp_path / "t.tif", [3, 1, 4, 1])
    first, second = write_images(tmp_path, 2)
    predict_members(checkpoint, "t.tif", str(first), file_format="jsonl", top_k=4)
    lines = [json.loads(line) for line in Path("predictions/predictions.jsonl").read_text().splitlines()]
    assert [(line["path"], line["page"]) for line in lines] == [
        ("t.tif", 1), ("t.tif", 2), ("t.tif", 3), ("t.tif", 4), (str(first), 1),
    ]  # fmt: skip
    probs = [_alone(checkpoint, second, number) for number in (3, 1, 4, 1)]
    assert [_by_class(line) for line in lines[:4]] == [pytest.approx(page, abs=1e-5) for page in probs]
    documents = [json.loads(line) for line in Path("predictions/documents.jsonl").read_text().splitlines()]
    assert [(one["path"], one["pages"]) for one in documents] == [("t.tif", 4), (str(first), 1)]
    mean = np.exp(log_softmax(np.log(probs).mean(axis=0)))
    assert _by_class(documents[0]) == pytest.approx(mean.tolist(), abs=1e-5)


def _alone(checkpoint: Path, path: Path, number: int) -> list[float]:
    page(number).save(path)
    return expected(checkpoint, path).tolist()


def _by_class(line: dict[str, Any]) -> list[float]:
    return [entry["confidence"] for entry in sorted(line["top"], key=lambda entry: CLASSES.index(entry["class"]))]


def test_a_bad_page_stops_nothing_and_is_listed(checkpoint: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 3)
    (tmp_path / "in" / "p0001.png").write_text("<html>not found</html>")
    write_encrypted_pdf(tmp_path / "in" / "secret.pdf")
    whole = write_pdf(tmp_path / "whole.pdf", [1, 2]).read_bytes()
    (tmp_path / "in" / "torn.pdf").write_bytes(whole[: len(whole) // 2])  # its first page is whole
    question = PredictOptions(inputs=("in",), min_confidence=0.0)
    result = predict(EnsembleSpec.of_checkpoint(checkpoint), question, stdin=io.BytesIO(), runtime_config=HERE)
    table = {row["path"]: row for row in rows("predictions/predictions.csv")}
    assert list(table) == [f"in/{name}" for name in ("p0000.png", "p0001.png", "p0002.png", "secret.pdf", "torn.pdf")]
    reasons = {name: row["status"] for name, row in table.items() if row["status"]}
    assert reasons == {
        "in/p0001.png": "is HTML, SVG or XML, not an image",
        "in/secret.pdf": "an encrypted PDF: it opens only with a password",
        "in/torn.pdf": "damaged: the PDF breaks off before the end of this page",
    }
    assert {name for name, row in table.items() if row["needs_review"] == "true"} == set(reasons)
    assert {row["path"]: row["reason"] for row in rows("predictions/quarantine.csv")} == reasons
    assert (result.unreadable, result.needs_review) == (3, 3)
    with pytest.raises(UnreadableImagesError, match="3 of 6 pages"):
        require_readable(result.unreadable, result.pages, result.max_unreadable, "")
    require_readable(result.unreadable, result.pages, 0.6, "")


def test_one_bad_page_of_a_document_sends_it_to_a_person(checkpoint: Path, tmp_path: Path) -> None:
    content = bytearray(write_tiff(tmp_path / "t.tif", [1, 2, 3]).read_bytes())
    from PIL import Image

    with Image.open(tmp_path / "t.tif") as image:
        image.seek(1)
        (offset,) = image.tag_v2[273]
    content[offset : offset + 20] = b"\xff" * 20
    (tmp_path / "t.tif").write_bytes(content)
    predict_members(checkpoint, "t.tif", min_confidence=0.0)
    assert [bool(row["status"]) for row in rows("predictions/predictions.csv")] == [False, True, False]
    (document,) = rows("predictions/documents.csv")
    assert (document["pages"], document["status"]) == ("3", "1 of 3 pages cannot be read")
    assert document["needs_review"] == "true"
    assert document["class"]


def test_review_is_what_is_less_certain_than_asked(checkpoint: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 40)
    result = predict_members(checkpoint, "in", min_confidence=0.9)
    table = rows("predictions/predictions.csv")
    unsure = [row for row in table if float(row["confidence"]) < 0.9]
    assert [row for row in table if row["needs_review"] == "true"] == unsure
    assert 0 < len(unsure) == result.needs_review < 40


def test_results_that_are_there_are_not_replaced(checkpoint: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 2)
    predict_members(checkpoint, "in", output=Path("out/x.csv"))
    before = Path("out/x.csv").read_bytes()
    with pytest.raises(InputError, match=r"x\.csv exists"):
        predict_members(checkpoint, "in/p0000.png", output=Path("out/x.csv"))
    assert Path("out/x.csv").read_bytes() == before
    predict_members(checkpoint, "in/p0000.png", output=Path("out/x.csv"), overwrite=True)
    assert len(rows("out/x.csv")) == 1
    assert sorted(path.name for path in Path("out").iterdir()) == ["x.csv", "x.summary.json"]


class _StopAfter:
    """Sets a flag once so many pages are done."""

    def __init__(self, pages: int) -> None:
        self.pages, self.flag, self.seen = pages, StopFlag(), list[int]()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress) and event.task == "predicting":
            self.seen.append(event.done)
            if event.done >= self.pages:
                self.flag.signal_number = 2


def test_an_interrupted_prediction_goes_on_to_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 560)
    write_tiff(tmp_path / "in" / "m.tif", range(80))
    question = PredictOptions(inputs=("in",), output=Path("whole"))
    predict(EnsembleSpec.of_checkpoint(checkpoint), question, stdin=io.BytesIO(), runtime_config=HERE)
    # The first block is the TIFF with 56 images: 64, 64 and 8 pages. A shard has eight batches.
    for first_stop, kept in ((64, 0), (576, 64 + 64 + 8 + 5 * 64)):
        question = replace(question, output=Path(f"broken-{first_stop}"))
        stopped, watching = _StopAfter(first_stop), _StopAfter(10**9)
        with pytest.raises(Interrupted):
            predict(
                EnsembleSpec.of_checkpoint(checkpoint),
                question,
                stdin=io.BytesIO(),
                runtime_config=HERE,
                emit=stopped,
                stop=stopped.flag,
            )
        assert not [path for path in question.output.iterdir() if not path.name.startswith(".")]
        result = predict(
            EnsembleSpec.of_checkpoint(checkpoint), question, stdin=io.BytesIO(), runtime_config=HERE, emit=watching
        )
        assert result.resumed_pages == kept
        assert watching.seen[0] == result.resumed_pages + 64
        for name in ("predictions.csv", "documents.csv", "summary.json"):
            assert (question.output / name).read_bytes() == Path("whole", name).read_bytes()
        written = sorted(path.name for path in question.output.iterdir())
        assert written == ["documents.csv", "predictions.csv", "summary.json"]


def test_other_inputs_start_anew_and_say_so(checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / "in", 640)
    stopped, question = _StopAfter(576), PredictOptions(inputs=("in",))
    with pytest.raises(Interrupted):
        predict(
            EnsembleSpec.of_checkpoint(checkpoint),
            question,
            stdin=io.BytesIO(),
            runtime_config=HERE,
            emit=stopped,
            stop=stopped.flag,
        )
    page(7).save(tmp_path / "in" / "p0000.png")
    with caplog.at_level("WARNING", logger="docclf"):
        result = predict(EnsembleSpec.of_checkpoint(checkpoint), question, stdin=io.BytesIO(), runtime_config=HERE)
    assert result.resumed_pages == 0
    assert "it was started with other inputs: starting again" in caplog.text


def test_what_is_in_a_batch_is_the_same_with_loader_processes(checkpoint: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 130)
    (tmp_path / "in" / "p0040.png").write_bytes(b"")
    question = PredictOptions(inputs=("in",), output=Path("alone"))
    predict(EnsembleSpec.of_checkpoint(checkpoint), question, stdin=io.BytesIO(), runtime_config=HERE)
    question = replace(question, output=Path("together"))
    predict(
        EnsembleSpec.of_checkpoint(checkpoint),
        question,
        stdin=io.BytesIO(),
        runtime_config=RuntimeConfig(workers=2, precision="fp32"),
    )
    assert Path("alone/predictions.csv").read_bytes() == Path("together/predictions.csv").read_bytes()


def _competition(root: Path) -> Path:
    write_images(root / "test", 5)
    names = [f"p{number:04d}.png" for number in (3, 0, 4, 1, 2)]
    (root / "sample_submission.csv").write_text("ID,target\n" + "".join(f"{name},0\n" for name in names))
    meta = [("영수증", 0), ("bill", 1), ("=letter", 2), ("form", 3)]
    (root / "meta.csv").write_text("target,class_name\n" + "".join(f"{index},{name}\n" for name, index in meta))
    return root


def test_submission_in_the_order_of_the_sample_with_the_numbers_of_meta(checkpoint: Path, tmp_path: Path) -> None:
    root = _competition(tmp_path / "data")
    predict_members(checkpoint, split="test", data=str(root), submission=True)
    folder = checkpoint.parent / "predict" / "test"
    table, submitted = rows(folder / "predictions.csv"), rows(folder / "submission.csv")
    assert [row["ID"] for row in submitted] == ["p0003.png", "p0000.png", "p0004.png", "p0001.png", "p0002.png"]
    number = {"영수증": "0", "bill": "1", "'=letter": "2", "form": "3"}
    assert {row["ID"]: number[row["class"]] for row in table} == {row["ID"]: row["target"] for row in submitted}


def test_a_submission_needs_a_class_for_what_cannot_be_read(checkpoint: Path, tmp_path: Path) -> None:
    root = _competition(tmp_path / "data")
    (root / "test" / "p0004.png").write_bytes(b"")
    asked = {"split": "test", "data": str(root), "submission": True, "output": Path("out")}
    with pytest.raises(InputError, match="1 page of the submission cannot be read"):
        predict_members(checkpoint, **asked)
    assert {row["ID"]: row["class"] for row in rows("out/predictions.csv")}["p0004.png"] == ""
    assert not Path("out/submission.csv").exists()
    with pytest.raises(InputError, match="'bil' is no class, did you mean 'bill'"):
        predict_members(checkpoint, **asked, fill="bil")
    result = predict_members(checkpoint, **asked, fill="bill")
    assert result.resumed_pages == 5
    assert {row["ID"]: row["target"] for row in rows("out/submission.csv")}["p0004.png"] == "1"


@pytest.mark.slow
def test_a_page_that_kills_its_loader_process_is_named(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "in", 80)
    write_pdf(tmp_path / "in" / "doc.pdf", [1, 2])
    question = PredictOptions(inputs=("in",), output=Path("whole"))
    predict(EnsembleSpec.of_checkpoint(checkpoint), question, stdin=io.BytesIO(), runtime_config=HERE)
    read, count = PageReader.read, PageReader.count

    def deadly_read(self: PageReader, path: Path, *args: Any) -> np.ndarray:
        if path.name == "p0070.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, path, *args)

    def deadly_count(self: PageReader, path: Path, *args: Any) -> int:
        if path.name == "bomb.pdf":
            os.kill(os.getpid(), signal.SIGKILL)
        return count(self, path, *args)

    monkeypatch.setattr(PageReader, "read", deadly_read)
    monkeypatch.setattr(PageReader, "count", deadly_count)
    write_pdf(tmp_path / "in" / "bomb.pdf", [1])
    question = replace(question, output=Path("hurt"))
    predict(
        EnsembleSpec.of_checkpoint(checkpoint),
        question,
        stdin=io.BytesIO(),
        runtime_config=RuntimeConfig(workers=2, precision="fp32"),
    )
    reasons = {row["path"]: row["reason"] for row in rows("hurt/quarantine.csv")}
    assert reasons == dict.fromkeys(
        ("in/bomb.pdf", "in/p0070.png"), "makes its decoder crash, or needs too much memory"
    )
    whole = {(row["path"], row["page"]): row["class"] for row in rows("whole/predictions.csv")}
    hurt = {(row["path"], row["page"]): row["class"] for row in rows("hurt/predictions.csv") if not row["status"]}
    assert whole == {**hurt, ("in/p0070.png", "1"): whole["in/p0070.png", "1"]}


def test_copies_go_into_class_folders_and_overwrite_nothing(checkpoint: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in" / "sub", 12)
    write_tiff(tmp_path / "in" / "t.tif", [1, 2])
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    asked = {"min_confidence": 0.9, "max_unreadable": 1.0, "copy_to": Path("sorted"), "overwrite": True}
    first = predict_members(checkpoint, "in", **asked)
    documents = {row["path"]: row for row in rows("predictions/documents.csv")}
    folder = {"form": "form", "'=letter": "=letter", "영수증": "영수증", "bill": "bill"}
    places = {
        path: f"{'_review/' if row['needs_review'] == 'true' else ''}{folder[row['class']]}"
        if row["class"]
        else "_unreadable"
        for path, row in documents.items()
    }
    assert places["in/bad.png"] == "_unreadable"
    assert any(place.startswith("_review/") for place in places.values())
    wanted = {f"{place}/{Path(path).relative_to('in')}": path for path, place in places.items()}
    assert _contents(Path("sorted")) == {place: Path(path).read_bytes() for place, path in wanted.items()}
    assert first.copied == 14 == len(wanted)
    assert predict_members(checkpoint, "in", **asked).copied == 0
    (changed, source), *_ = wanted.items()
    Path("sorted", changed).write_bytes(b"mine")
    assert predict_members(checkpoint, "in", **asked).copied == 1
    beside = Path("sorted", changed).with_stem(f"{Path(changed).stem}-2")
    assert Path("sorted", changed).read_bytes() == b"mine"
    assert beside.read_bytes() == Path(source).read_bytes()


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_class_names_become_folder_names_that_every_system_takes() -> None:
    names = ["a/b", "a:b", "A_b", "con", "..", "", "_review", "x. ", "영수증", "한" * 200, "_Unreadable"]
    made = folder_names(names)
    assert made[:9] == ["a_b", "a_b-2", "A_b-3", "_con", "_", "_-2", "_review-2", "x", "영수증"]
    assert len({name.casefold() for name in [*made, "_review", "_unreadable"]}) == len(names) + 2
    assert all(name and not set(name) & set('/\\:*?"<>|') and not name.startswith(".") for name in made)
    assert len(made[9].encode()) <= 255


def test_views_are_merged(tmp_path: Path) -> None:
    """A page and its half turn get the same answer where both are looked at, and only then."""
    checkpoint = write_checkpoint(tmp_path / "best.ckpt", CLASSES, augmentation="rough")
    page(3).save(tmp_path / "a.png")
    page(3).rotate(180).save(tmp_path / "b.png")
    predict_members(checkpoint, "a.png", "b.png", output=Path("plain"))
    predict_members(checkpoint, "a.png", "b.png", output=Path("views"), tta=True)
    plain, views = [[row["confidence"] for row in rows(f"{name}/predictions.csv")] for name in ("plain", "views")]
    assert plain[0] != plain[1]
    assert float(views[0]) == pytest.approx(float(views[1]), abs=1e-4)


def test_a_run_of_folds_answers_with_their_mean(tmp_path: Path) -> None:
    paths = [write_checkpoint(tmp_path / "run" / f"fold-{fold}" / "best.ckpt", CLASSES, seed=fold) for fold in (0, 1)]
    page(3).save(tmp_path / "a.png")
    predict_members(tmp_path / "run", "a.png", top_k=4, file_format="jsonl")
    (line,) = Path("predictions/predictions.jsonl").read_text().splitlines()
    own = [np.log(expected(path, tmp_path / "a.png")) for path in paths]
    # Both folds have the temperature 1.5, which divides the logarithm of the mean of the uncalibrated probabilities.
    mean = np.log(np.mean([np.exp(log_softmax(one * 1.5)) for one in own], axis=0))
    assert _by_class(json.loads(line)) == pytest.approx(np.exp(log_softmax(mean / 1.5)).tolist(), abs=1e-5)


def test_the_threshold_is_from_clean_and_degraded_held_out_pages_as_stored(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run" / "best.ckpt", CLASSES, data_root="gone")
    write_images(tmp_path / "in", 30)
    with pytest.raises(InputError, match="the confidence threshold cannot be computed: the data is 'gone'"):
        predict_members(checkpoint, "in", target_precision=0.9)
    clean, degraded = (
        _said(checkpoint, view, seed) for seed, view in enumerate(("plain", DegradedView(np.empty(0), 0).name))
    )
    clean.save(checkpoint.parent / "predictions" / "val-a.npz")
    degraded.save(checkpoint.parent / "predictions" / "viewed-val-b.npz")
    both = replace(
        clean,
        ids=np.concatenate([clean.ids, degraded.ids]),
        log_probs=np.concatenate([clean.log_probs, degraded.log_probs]),
        targets=np.concatenate([clean.labels, degraded.labels]),
        groups=np.concatenate([clean.ids, clean.ids]),  # a page and its degraded copy are one trial
    )
    wanted = find_threshold(both, 0.9, temperature=1.5).value
    assert wanted is not None
    assert wanted != find_threshold(clean, 0.9, temperature=1.5).value
    assert predict_members(checkpoint, "in", target_precision=0.9).threshold == wanted
    with pytest.raises(InputError, match=r"no confidence threshold with a precision of 0\.9999"):
        predict_members(checkpoint, "in", target_precision=0.9999, overwrite=True)


def _said(checkpoint: Path, view: str, seed: int) -> Predictions:
    """Held-out pages of which the confident ones are right."""
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.normal(0, 4, (400, len(CLASSES))), axis=1).astype(np.float32)
    sure = np.exp(log_probs.max(axis=1)) > rng.uniform(0, 0.9, 400)
    targets = np.where(sure, log_probs.argmax(axis=1), (log_probs.argmax(axis=1) + 1) % len(CLASSES))
    made_by = {"checkpoint": sha256_of(checkpoint), "view": view, "data": "x", "precision": "fp32"}
    ids = np.array([f"{seed}-{number}" for number in range(400)])
    return Predictions(ids, log_probs, CLASSES, targets, fingerprint=made_by)


def test_an_ensemble_answers_with_the_mean_of_its_members(tmp_path: Path) -> None:
    """Members know the same classes in another order."""
    first = write_checkpoint(tmp_path / "a" / "best.ckpt", CLASSES)
    second = write_checkpoint(tmp_path / "b" / "best.ckpt", CLASSES[::-1], seed=1)
    members = [{"run": str(first.parent), "weight": 1.0}, {"checkpoint_path": str(second), "weight": 3.0}]
    config = EnsembleConfig.model_validate({"method": "weighted", "models": members})
    page(5).save(tmp_path / "a.png")
    question = PredictOptions(inputs=("a.png",), top_k=4, file_format="jsonl")
    result = predict(EnsembleSpec.of_ensemble("both", config), question, stdin=io.BytesIO(), runtime_config=HERE)
    (line,) = Path("predictions/predictions.jsonl").read_text().splitlines()
    alone = [expected(first, tmp_path / "a.png"), expected(second, tmp_path / "a.png")[::-1]]
    assert _by_class(json.loads(line)) == pytest.approx((alone[0] / 4 + alone[1] * 3 / 4).tolist(), abs=1e-5)
    assert (result.model, result.temperature) == ("both", None)
    with pytest.raises(InputError, match="needs one method"):
        EnsembleSpec.of_ensemble("both", config.model_copy(update={"method": "all"}))
