"""docclf from Python: load a model and predict, train a model."""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from member_runs import make_folds, make_run, predictions_of
from PIL import Image

import docclf_cli
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import CheckpointError, InputError, ProfileError
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.tasks.export import export


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_samples(tmp_path_factory.mktemp("api") / "data", pages_per_class=4, test_pages_per_class=1)


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("api") / "run", root, seed=0, temperature=1.5)


@pytest.fixture(scope="module")
def files(root: Path) -> list[Path]:
    return sorted((root / "test").rglob("*.*"))


def test_what_is_said_is_what_evaluate_says(run: Path, files: list[Path]) -> None:
    model = docclf_cli.load(run, device="cpu", precision="fp32")
    found = model.predict(files)
    config = RuntimeConfig(device="cpu", precision="fp32", workers=0)
    expected = predictions_of(TrainedModel.load(run), "test", runtime_config=config)
    rows = [expected.ids.tolist().index(path.name) for path in files]
    probabilities = np.exp(expected.at_temperature(1.5).log_probs[rows])
    for one, row, path in zip(found, probabilities, files, strict=True):
        assert (one.path, one.page, one.error, one.review) == (str(path), 1, "", None)
        assert one.label == model.class_names[int(row.argmax())]
        assert one.confidence == pytest.approx(row.max(), abs=1e-5)
        assert [one.probabilities[name] for name in model.class_names] == pytest.approx(row.tolist(), abs=1e-5)
        assert one.top(2) == tuple(sorted(one.probabilities.items(), key=lambda item: -item[1])[:2])


def test_paths_images_and_arrays_of_a_page_say_the_same(run: Path, files: list[Path], tmp_path: Path) -> None:
    model = docclf_cli.load(str(run), device="cpu")
    image = Image.open(files[0]).convert("RGB")
    image.save(tmp_path / "page.png")
    given = [tmp_path / "page.png", str(tmp_path / "page.png"), image, np.asarray(image)]
    labels = {(one.label, round(one.confidence, 6)) for one in model.predict(given)}
    assert len(labels) == 1
    assert [one.path for one in model.predict(image)] == [None]
    assert model.predict([]) == []


def test_a_file_of_several_pages_gives_one_result_a_page(run: Path, files: list[Path], tmp_path: Path) -> None:
    first, second = (Image.open(path).convert("RGB") for path in files[:2])
    first.save(tmp_path / "two.tiff", save_all=True, append_images=[second])
    found = docclf_cli.load(run, device="cpu").predict([tmp_path / "two.tiff", first])
    assert [(one.path is None, one.page) for one in found] == [(False, 1), (False, 2), (True, 1)]
    assert found[0].probabilities == pytest.approx(found[2].probabilities, abs=1e-5)


def test_what_cannot_be_read_is_said_and_goes_to_a_person(run: Path, files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.tif").write_bytes(b"nothing")
    (tmp_path / "broken.jpg").write_bytes(b"<html>")
    given = [tmp_path / "broken.tif", files[0], tmp_path / "broken.jpg", tmp_path / "absent.png"]
    found = docclf_cli.load(run, device="cpu", min_confidence=0.0).predict(given)
    assert [one.label is None for one in found] == [True, False, True, True]
    assert [one.review for one in found] == [True, False, True, True]
    assert "HTML" in found[2].error and "no such file" in found[3].error
    assert docclf_cli.load(run, device="cpu", min_confidence=1.0).predict(files[0])[0].review is True


def test_a_model_can_be_sent_to_another_process(run: Path, files: list[Path]) -> None:
    model = docclf_cli.load(run, device="cpu")
    before = model.predict(files[:2])
    text = pickle.dumps(model)
    assert len(text) < 50_000  # not the weights
    assert pickle.loads(text).predict(files[:2]) == before


def test_a_batch_of_columns(run: Path, files: list[Path], tmp_path: Path) -> None:
    """As Ray Data (arrays), Spark (a data frame) and Daft (lists) give it."""
    model = pickle.loads(pickle.dumps(docclf_cli.load(run, device="cpu", min_confidence=0.5)))
    first, second = (Image.open(path).convert("RGB") for path in files[:2])
    first.save(tmp_path / "two.tiff", save_all=True, append_images=[second])
    (tmp_path / "broken.jpg").write_bytes(b"<html>")
    paths = [tmp_path / "two.tiff", files[0], tmp_path / "broken.jpg"]
    alone = model.predict(paths)
    content = {"bytes": np.array([path.read_bytes() for path in paths], object), "id": np.array([7, 8, 9])}
    found = model(content)
    assert "bytes" not in found
    assert found["id"].tolist() == [7, 7, 8, 9]
    assert found["page"].tolist() == [one.page for one in alone] == [1, 2, 1, 1]
    assert found["label"].tolist() == [one.label for one in alone]
    assert found["confidence"] == pytest.approx([one.confidence for one in alone], abs=1e-5)
    assert found["decision"].tolist() == [one.decision for one in alone]
    assert found["decision"][3] == "unreadable" and "HTML" in found["error"][3]
    by_path = model({"path": list(map(str, paths))})
    assert by_path["path"].tolist() == [str(paths[place]) for place in (0, 0, 1, 2)]
    assert by_path["label"].tolist() == found["label"].tolist()
    frame = model(pd.DataFrame({"path": list(map(str, paths)), "id": [7, 8, 9]}))
    assert isinstance(frame, pd.DataFrame)
    assert [None if pd.isna(label) else label for label in frame["label"]] == found["label"].tolist()
    empty = model({"path": np.array([], object)})
    assert {name: column.dtype for name, column in empty.items() if name != "path"} == {
        name: found[name].dtype for name in empty if name != "path"
    }
    with pytest.raises(InputError, match="no column bytes or path"):
        model({"pages": []})
    with pytest.raises(InputError, match="different lengths"):
        model({"path": ["a"], "id": [1, 2]})


@pytest.mark.slow
def test_ray_runs_a_model_unchanged(run: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="needs ray: pip install 'ray[data]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    model = docclf_cli.load(run, device="cpu", precision="fp32")
    with tempfile.TemporaryDirectory(prefix="ray") as place:  # the paths of its sockets must be short
        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=10**8, _temp_dir=place)
        try:
            pages = ray.data.read_binary_files(list(map(str, files)), include_paths=True)
            rows = {
                row["path"]: (row["label"], row["confidence"])
                for row in pages.map_batches(model, batch_size=3).take_all()
            }
        finally:
            ray.shutdown()
    assert len(rows) == len(files)
    for one in model.predict(files):
        label, confidence = rows[str(one.path)]
        assert label == one.label
        assert confidence == pytest.approx(one.confidence, abs=1e-5)


@pytest.mark.slow
def test_folds_views_and_an_exported_file(run: Path, root: Path, files: list[Path], tmp_path: Path) -> None:
    folds = docclf_cli.load(make_folds(tmp_path / "folds", root, 3, seed=5), device="cpu")
    assert len(folds.trained.checkpoints) == 3
    assert sum(folds.predict(files[0])[0].probabilities.values()) == pytest.approx(1, abs=1e-5)
    plain, viewed = (docclf_cli.load(run, device="cpu", tta=tta).predict(files[:3]) for tta in (False, True))
    assert [one.confidence for one in plain] != [one.confidence for one in viewed]
    (file,) = export(run / "best.ckpt", "onnx", output=tmp_path / "model.onnx").files
    for one, other in zip(plain, docclf_cli.load(file).predict(files[:3]), strict=True):
        assert other.probabilities == pytest.approx(one.probabilities, abs=1e-4)


def test_wrong_input_is_named(run: Path, tmp_path: Path) -> None:
    model = docclf_cli.load(run, device="cpu")
    with pytest.raises(InputError, match=r"pages\[1\]: an array of float64"):
        model.predict([np.zeros((4, 4), np.uint8), np.zeros((4, 4))])
    with pytest.raises(InputError, match=r"pages\[0\]: a int"):
        model.predict([3])  # type: ignore[list-item]
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        docclf_cli.load(tmp_path / "absent")
    with pytest.raises(InputError, match="either"):
        docclf_cli.load(run, min_confidence=0.5, target_precision=0.9)


def test_training_from_python(root: Path, tmp_path: Path) -> None:
    keys = {
        "data": {"root": str(root), "image_size": 32, "degraded_validation": False},
        "model": {"name": "test_resnet", "pretrained": False},
        "train": {"epochs": 1, "batch_size": 8},
        "runtime": {
            "device": "cpu",
            "workers": 0,
            "precision": "fp32",
            "compile": "off",
            "memory_format": "contiguous",
        },
        "tracking": {"backend": "none"},
    }
    result = docclf_cli.train(keys, {"output": str(tmp_path), "name": "r"})
    assert result.run == tmp_path / "r"
    assert docclf_cli.load(result.run).class_names
    with pytest.raises(ProfileError, match="epochs"):
        docclf_cli.train({"train": {"epochs": -1}})


def test_importing_the_package_is_light() -> None:
    code = "import sys, docclf_cli; print([name for name in ('torch', 'numpy', 'pydantic') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
