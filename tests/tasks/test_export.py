import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from cli_process import Outcome
from member_runs import SIZE, make_run, untrained

import docclf_cli
from docclf_cli.data.index.index import load_index
from docclf_cli.data.loading.pages import Pages
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import info_of
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.onnx_backend import load_exported, load_onnx
from docclf_cli.engine.inference.predictor import normalise
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.errors import CheckpointError, InputError
from docclf_cli.profile.schema import DataConfig, InferenceConfig, Profile, RuntimeConfig
from docclf_cli.results.export import ExportResult
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.export import export

Docclf = Callable[..., Outcome]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_samples(tmp_path_factory.mktemp("export") / "pages", pages_per_class=3, test_pages_per_class=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A run with its ONNX file."""
    exactly = RuntimeConfig(inference=InferenceConfig(precision="fp32", memory_format="contiguous"))
    profile = Profile(data=DataConfig(root=str(root), image_size=SIZE), runtime=exactly).model_dump(mode="json")
    run = make_run(tmp_path_factory.mktemp("export") / "run", root, seed=1, temperature=1.5, profile=profile)
    result = export(run / "best.ckpt", "onnx")
    assert result.real_pages and result.pages == 16
    assert 0 < result.max_difference < 1e-5
    assert result.files == (run / "export" / "best.onnx",)
    return run


def pixels(checkpoint: Checkpoint, root: Path) -> torch.Tensor:
    info = checkpoint.preprocess
    pages = Pages(load_index(_data(root), "test"), info, _data(root))
    stacked = torch.from_numpy(np.stack([pages[row] for row in range(5)])).permute(0, 3, 1, 2)
    return normalise(stacked, info, Runtime(torch.device("cpu")))


def _data(root: Path) -> DataConfig:
    return DataConfig(root=str(root))


def test_an_onnx_file_says_what_it_needs_and_answers_as_the_checkpoint(exported: Path, root: Path) -> None:
    checkpoint = Checkpoint.load(exported / "best.ckpt")
    images = pixels(checkpoint, root)
    model = load_exported(info_of(exported / "best.ckpt"))
    with torch.inference_mode():
        assert torch.allclose(model(images), checkpoint.build()(images), atol=1e-4)
    about = json.loads(model.session.get_modelmeta().custom_metadata_map["docclf"])
    assert about["class_names"] == list(checkpoint.class_names)
    assert about["temperature"] == 1.5
    assert about["preprocess"] == checkpoint.preprocess.to_dict()


def test_an_export_of_other_weights_is_not_taken_for_this_one(exported: Path, root: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", root, seed=2)
    with pytest.raises(CheckpointError, match="not exported to ONNX yet"):
        load_exported(info_of(other / "best.ckpt"))
    (other / "export").mkdir()
    (other / "export" / "best.onnx").write_bytes((exported / "export" / "best.onnx").read_bytes())
    with pytest.raises(CheckpointError, match="made from another checkpoint"):
        load_exported(info_of(other / "best.ckpt"))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(CheckpointError, match=r"model\.onnx: damaged"):
        load_onnx(tmp_path / "model.onnx")


def test_timm_itself_loads_the_folder(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", root, seed=3)
    result = export(run / "best.ckpt", "safetensors", output=tmp_path / "out")
    assert result.max_difference < 1e-5  # from how docclf predicts, with batch norms folded into convolutions
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    checkpoint = Checkpoint.load(run / "best.ckpt")
    images = pixels(checkpoint, root)
    with torch.inference_mode():
        assert torch.allclose(model(images), checkpoint.build()(images), atol=1e-6)
    assert model.pretrained_cfg["label_names"] == list(checkpoint.class_names)
    assert tuple(model.pretrained_cfg["mean"]) == checkpoint.preprocess.mean


def test_nothing_of_the_users_is_replaced(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", root, seed=3)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export(run / "best.ckpt", "safetensors", output=tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"
    with pytest.raises(InputError, match="is not one of onnx, safetensors"):
        export(run / "best.ckpt", "tflite")


def test_without_its_pages_noise_is_compared_and_that_is_said(root: Path, tmp_path: Path) -> None:
    checkpoint = untrained(root, seed=4)
    profile = {**checkpoint.profile, "data": {**checkpoint.profile["data"], "root": str(tmp_path / "gone")}}
    replace(checkpoint, profile=profile).save(tmp_path / "moved.ckpt")
    result = export(tmp_path / "moved.ckpt", "safetensors")
    assert not result.real_pages
    assert result.files[-1] == tmp_path / "export" / "moved" / "config.json"


@pytest.mark.slow
def test_predict_with_onnx_says_the_same(docclf: Docclf, exported: Path, root: Path, tmp_path: Path) -> None:
    rows = {}
    for backend in ("torch", "onnx"):
        outcome = docclf(
            "predict", root / "test", "--checkpoint", exported, "--backend", backend, "-o", tmp_path / f"{backend}.csv"
        )
        assert outcome.code == 0, outcome.stderr
        rows[backend] = [line.split(",") for line in (tmp_path / f"{backend}.csv").read_text().splitlines()]
    head = rows["torch"][0]
    assert rows["onnx"][0] == head
    name, confidence = head.index("class"), head.index("confidence")
    assert [row[name] for row in rows["onnx"]] == [row[name] for row in rows["torch"]]
    pairs = zip(rows["onnx"][1:], rows["torch"][1:], strict=True)
    differences = [abs(float(a[confidence]) - float(b[confidence])) for a, b in pairs]
    assert max(differences) < 1e-4


@pytest.fixture(scope="module")
def quantized(exported: Path) -> tuple[Path, ExportResult]:
    """The run with its int8 file, and what the export found."""
    return exported, export(exported / "best.ckpt", "onnx", int8=True, tolerance=1)


@pytest.mark.slow
def test_int8_is_compared_with_its_checkpoint_on_held_out_pages(quantized: tuple[Path, ExportResult]) -> None:
    run, result = quantized
    assert result.files == (run / "export" / "best.int8.onnx",)
    found = result.quantization
    assert found is not None
    split = (run / "split.csv").read_text()
    assert found.difference.pages == split.count(",val") > 0
    assert found.calibration_pages == split.count(",train") > 0
    assert found.difference.value == pytest.approx(found.f1_macro - found.checkpoint_f1_macro)
    assert found.difference.low <= found.difference.value <= found.difference.high
    assert found.difference.low < found.difference.high
    assert found.fp32_ms > 0
    # Rounding to int8 moves probabilities further than fp32 does.
    assert 1e-5 < result.max_difference < 0.5


def test_an_int8_file_has_the_metadata_of_its_checkpoint_and_integer_weights(
    quantized: tuple[Path, ExportResult], root: Path
) -> None:
    run, result = quantized
    checkpoint = Checkpoint.load(run / "best.ckpt")
    plain = load_onnx(run / "export" / "best.onnx")
    (path,) = result.files
    model = load_onnx(path)
    assert model.about == {**plain.about, "precision": "int8"}
    assert (plain.precision, model.precision) == ("fp32", "int8")
    graph = onnx.load(path).graph
    assert sum(node.op_type == "DequantizeLinear" for node in graph.node) > 2
    scales = {node.input[1] for node in graph.node if node.op_type == "DequantizeLinear"}
    assert any(one.name in scales and list(one.dims) and one.dims[0] > 1 for one in graph.initializer)  # per channel
    images = pixels(checkpoint, root)
    with torch.inference_mode():
        assert torch.equal(load_exported(info_of(run / "best.ckpt"), "int8")(images), model(images))


@pytest.mark.slow
def test_int8_that_loses_too_much_is_refused_and_nothing_is_written(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def labelled_by_the_checkpoint(requests: list[PredictionRequest], **options: Any) -> list[Predictions]:
        in_int8, of_checkpoint = get_predictions(requests, **options)
        truth = of_checkpoint.predicted()
        return [replace(in_int8, targets=truth), replace(of_checkpoint, targets=truth)]

    # The checkpoint is right everywhere, and int8 that is calibrated on nothing but white pages is not.
    monkeypatch.setattr("docclf_cli.tasks.export.get_predictions", labelled_by_the_checkpoint)
    monkeypatch.setattr(
        "docclf_cli.tasks.export._readable", lambda pages, rows: np.full((8, SIZE, SIZE, 3), 255, np.uint8)
    )
    output = tmp_path / "out" / "small.int8.onnx"
    with pytest.raises(CheckpointError, match=r"int8 changes macro-F1 by -0\.\d+ \(95 %.* held-out pages.*nothing"):
        export(exported / "best.ckpt", "onnx", int8=True, output=output)
    assert not output.parent.exists()
    accepted = export(exported / "best.ckpt", "onnx", int8=True, tolerance=1, output=output)
    assert accepted.quantization is not None
    assert accepted.quantization.checkpoint_f1_macro == 1
    assert accepted.quantization.difference.value < -0.01
    assert output.exists()


@pytest.mark.slow
def test_int8_is_compared_with_what_the_checkpoint_sees_not_with_what_it_reads(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def also_read(requests: list[PredictionRequest], **options: Any) -> list[Predictions]:
        in_int8, seen = get_predictions(requests, **options)
        right = np.where(np.eye(seen.log_probs.shape[1], dtype=bool)[seen.labels], 0.0, -50.0)
        return [in_int8, replace(seen, image=seen.log_probs, text=right, log_probs=right)]

    monkeypatch.setattr("docclf_cli.tasks.export.get_predictions", also_read)
    result = export(exported / "best.ckpt", "onnx", int8=True, tolerance=0.5, output=tmp_path / "small.int8.onnx")
    assert result.quantization is not None
    assert result.quantization.checkpoint_f1_macro < 1


def test_int8_needs_onnx_and_held_out_pages(exported: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--int8: safetensors files are not quantised"):
        export(exported / "best.ckpt", "safetensors", int8=True)
    untrained(root, seed=4).save(tmp_path / "alone.ckpt")
    with pytest.raises(InputError, match=r"without its training and held-out pages .*no split\.csv"):
        export(tmp_path / "alone.ckpt", "onnx", int8=True)
    assert not (tmp_path / "export").exists()


def test_the_int8_backend_is_taken_by_name_and_by_file(
    quantized: tuple[Path, ExportResult], root: Path, tmp_path: Path
) -> None:
    run, result = quantized
    (file,) = result.files
    files = sorted((root / "test").rglob("*.*"))[:3]
    by_name = docclf_cli.load(run, device="cpu", backend="int8").predict(files)
    by_file = docclf_cli.load(file).predict(files)
    plain = docclf_cli.load(run, device="cpu").predict(files)
    assert [one.probabilities for one in by_name] == [one.probabilities for one in by_file]
    assert by_name[0].confidence != plain[0].confidence
    assert by_name[0].confidence == pytest.approx(plain[0].confidence, abs=0.3)
    assert TrainedModel.load(file).predictor().precision == "int8"
    assert TrainedModel.load(run).predictor(backend="int8").precision == "int8"
    other = make_run(tmp_path / "other", root, seed=2)
    with pytest.raises(CheckpointError, match="not exported to ONNX in int8 yet") as caught:
        docclf_cli.load(other, backend="int8").predict(files)
    assert str(caught.value.hint).endswith("--int8` first")


@pytest.mark.slow
def test_predict_takes_an_int8_file_for_a_model(
    docclf: Docclf, quantized: tuple[Path, ExportResult], root: Path, tmp_path: Path
) -> None:
    run, result = quantized
    tables = []
    for number, model in enumerate(((result.files[0],), (run, "--backend", "int8"))):
        outcome = docclf("predict", *model, root / "test", "--json", "-o", tmp_path / f"{number}.csv")
        assert outcome.code == 0, outcome.stderr
        assert json.loads(outcome.stdout)["precision"] == "int8"
        tables.append((tmp_path / f"{number}.csv").read_text())
    assert tables[0] == tables[1]
