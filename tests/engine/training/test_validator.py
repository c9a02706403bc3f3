"""Validation gives the metrics of separate predictions, and keeps its loader processes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from docclf_cli.data.images import corruptions as degrade_module
from docclf_cli.data.images.corruptions import DegradedView, degrade
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import load_index
from docclf_cli.data.loading import cache as cache_module
from docclf_cli.data.loading.cache import usage
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput
from docclf_cli.data.loading.pages import AS_IT_IS
from docclf_cli.data.loading.prepared_pages import PreparedPages, prepare
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.engine.inference.predictor import Network, Predictor
from docclf_cli.engine.inference.run_inference import predict
from docclf_cli.engine.runtime.device import Runtime, resolve_runtime
from docclf_cli.engine.runtime.folded_norms import inference_model
from docclf_cli.engine.training.validator import Validator, placed
from docclf_cli.events import Event, Progress
from docclf_cli.metrics.class_metrics import compute_metrics
from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import DataConfig, ModelConfig, RuntimeConfig
from docclf_cli.stop import NEVER

MODEL = ModelConfig(name="test_resnet", model_name="test_resnet", pretrained=False)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedPages:
    """Pages without a cache."""
    root = render_samples(tmp_path_factory.mktemp("pages") / "data", pages_per_class=3, test_pages_per_class=1)
    config = DataConfig(root=str(root), cache="off")
    runtime = resolve_runtime(RuntimeConfig(device="cpu", workers=0, threads=1))
    return prepare(load_index(config, "train"), Preprocess(48), config, runtime.workers)


def runtime(workers: int) -> Runtime:
    return resolve_runtime(RuntimeConfig(device="cpu", precision="fp32", workers=workers, threads=1))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model(MODEL, 10, weights=False)


@pytest.fixture(scope="module")
def cached(prepared: PreparedPages, tmp_path_factory: pytest.TempPathFactory) -> PreparedPages:
    """The same pages with a cache."""
    config = prepared.pages.config.model_copy(update={"cache": str(tmp_path_factory.mktemp("cache"))})
    return prepare(prepared.index, prepared.preprocess, config, 0)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("caching", [False, True])
def test_metrics_are_those_of_separate_predictions(
    prepared: PreparedPages, cached: PreparedPages, model: torch.nn.Module, workers: int, caching: bool
) -> None:
    rows, corruption = np.arange(3, 24), DegradedView(prepared.index.ids, 7)
    events: list[Event] = []
    shown = cached if caching else prepared
    degraded = shown.view_dataset(corruption, rows, workers, NEVER)
    assert degraded.quick == caching
    validate = Validator(shown, rows, degraded, runtime(workers), 8, events.append, NEVER)
    measured = validate(model)
    as_it_predicts = inference_model(model, prepared.preprocess.size, runtime(0))
    predictor = Predictor((Network(as_it_predicts, prepared.preprocess, runtime(0)),), prepared.index.class_names)
    clean, corrupted = (
        compute_metrics(predict(predictor, dataset, prepared.index, rows, batch_size=8))
        for dataset in (
            InferenceDataset((ModelInput(prepared.pages, (view,)),), prepared.index.targets)
            for view in (AS_IT_IS, corruption)
        )
    )
    assert measured["val_loss"] == clean["log_loss"]
    assert measured["f1_macro"] == clean["f1_macro"]
    assert measured["f1_macro_degraded"] == corrupted["f1_macro"]
    assert measured["val_loss_degraded"] == corrupted["log_loss"]
    assert measured["blend_loss"] == (clean["log_loss"] + corrupted["log_loss"]) / 2
    assert measured["blend"] == (clean["f1_macro"] + corrupted["f1_macro"]) / 2
    assert [event.done for event in events if isinstance(event, Progress)] == [8, 16, 21] * 2
    assert validate(model) == measured


def test_degraded_pages_are_stored_once_for_each_page_and_view(
    cached: PreparedPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    monkeypatch.setattr(degrade_module, "degrade", lambda *given: (made.append(1), degrade(*given))[1])
    corruption, index = DegradedView(cached.index.ids, 3), cached.index
    for rows, of_them in ((np.arange(2, 8), 6), (np.arange(2, 8), 0), (np.arange(4, 10), 2)):
        made.clear()
        stored = cached.view_dataset(corruption, rows, 0, NEVER).inputs[0].source
        assert len(made) == of_them
        for row in rows.tolist():
            assert (stored[row] == corruption(cached.pages[row], row)).all()
    of_another_seed = cached.view_dataset(DegradedView(index.ids, 4), rows, 0, NEVER)
    assert (of_another_seed.inputs[0].source[5] != stored[5]).any()
    renamed = replace(cached, index=replace(index, ids=np.char.add(index.ids.astype(str), "'")))
    renamed = replace(renamed, pages=replace(renamed.pages, index=renamed.index))
    other = DegradedView(renamed.index.ids, 3)  # the same files by other IDs are damaged in another way
    assert (renamed.view_dataset(other, rows, 0, NEVER).inputs[0].source[5] == other(cached.pages[5], 5)).all()


def test_damaged_copies_do_not_push_out_the_pages_they_are_made_of(
    prepared: PreparedPages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepared.pages.config.model_copy(update={"cache": str(tmp_path)})
    clean = prepare(prepared.index, prepared.preprocess, config, 0)
    monkeypatch.setattr(cache_module, "MAX_BYTES", usage(tmp_path).bytes + 48 * 48 * 3)
    for count, quick in ((5, False), (1, True)):
        view_dataset = clean.view_dataset(DegradedView(prepared.index.ids, 7), np.arange(count), 0, NEVER)
        assert view_dataset.quick == quick
        assert clean.pages.cache is not None
        assert clean.pages.cache.cache_file.path.exists()


@pytest.mark.timeout(60)
def test_pages_are_damaged_by_processes_after_this_one_has_used_several_threads(
    prepared: PreparedPages, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.rand(10**6).add_(1)  # starts the threads, which processes that are forked do not have
        config = prepared.pages.config.model_copy(update={"cache": str(tmp_path)})
        large = prepare(prepared.index, Preprocess(128), config, 0)
        torch.set_num_threads(2)
        view_dataset = large.view_dataset(DegradedView(prepared.index.ids, 7), np.arange(12), 2, NEVER)
    finally:
        torch.set_num_threads(threads)
    assert view_dataset.quick


def test_loader_processes_stay_for_the_next_epoch(prepared: PreparedPages, model: torch.nn.Module) -> None:
    validate = Validator(prepared, np.arange(20), None, runtime(2), 8, lambda event: None, NEVER)
    assert "f1_macro_degraded" not in validate(model)
    first = [process.pid for process in validate._loader.loader._iterator._workers]  # type: ignore
    validate(model)
    assert [process.pid for process in validate._loader.loader._iterator._workers] == first  # type: ignore


def test_another_layout_leaves_the_trained_weights_where_they_are(model: torch.nn.Module) -> None:
    last = resolve_runtime(RuntimeConfig(device="cpu", memory_format="channels_last", threads=1))
    before = [weight.stride() for weight in model.parameters()]
    other = placed(model, last)
    assert [weight.stride() for weight in model.parameters()] == before
    assert other is not model
    assert any(weight.stride() != stride for weight, stride in zip(other.parameters(), before, strict=True))
    assert placed(model, runtime(0)) is model
