import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from cli_process import Outcome
from member_runs import SIZE, make_run, untrained

from docclf_cli.data.index.index import load_index
from docclf_cli.data.loading.pages import Pages
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import info_of
from docclf_cli.engine.inference.onnx_backend import load_exported, load_onnx
from docclf_cli.engine.inference.predictor import normalise
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.errors import CheckpointError, InputError
from docclf_cli.profile.schema import DataConfig, InferenceConfig, Profile, RuntimeConfig
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
    assert result.max_difference < 1e-6
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
