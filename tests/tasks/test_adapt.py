"""`adapt` on a run that takes a second."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_process import Outcome
from member_runs import make_folds, make_run, predictions_of
from PIL import Image
from tiny import draw_pages, no_plots, tiny_profile

from docclf_cli.data.samples.samples import render_samples
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import info_of
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import CheckpointError, DocclfError, InputError, Interrupted
from docclf_cli.metrics.calibration import fit_temperature
from docclf_cli.metrics.novelty import NoveltyModel
from docclf_cli.results.export import AdaptResult
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.adapt import adapt
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]
Docclf = Callable[..., Outcome]
EVERYTHING = 1.0  # of macro-F1 may be lost


def arriving(folder: Path, count: int) -> Path:
    """Darker pages of the three tones, one below the other in two folders."""
    rng = np.random.default_rng(1)
    for number in range(count):
        path = folder / str(number % 2) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        page = np.clip((60, 130, 200)[number % 3] * 0.6 + rng.normal(0, 20, (40, 30, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(page).save(path)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, no_plots: None) -> Path:
    folder = tmp_path_factory.mktemp("adapt")
    draw_pages(folder / "pages", 20)
    return train(tiny_profile(folder / "pages", folder / "runs", name="mine", optimizer__lr=2e-2)).run


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = arriving(tmp_path_factory.mktemp("scans"), 39)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def adapted(run: Path, scans: Path) -> AdaptResult:
    return adapt(run, str(scans), max_loss=EVERYTHING)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """The run once more, without what was adapted, and without what takes time to learn again."""
    folder = Path(shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("adapted*", "predictions")))
    replace(Checkpoint.load(folder / "best.ckpt"), novelty={}, orientation={}).save(folder / "best.ckpt")
    return folder


def untouched(folder: Path) -> set[str]:
    """Names in a folder apart from caches of what was asked before."""
    return {path.name for path in folder.iterdir() if path.name != "predictions"}


def test_only_statistics_change_and_what_hangs_on_them_is_learned_again(run: Path, adapted: AdaptResult) -> None:
    assert adapted.file == run / "adapted.ckpt"
    assert (adapted.pages, adapted.unreadable, adapted.prior) == (39, 1, 1024)
    old, new = Checkpoint.load(run / "best.ckpt"), Checkpoint.load(adapted.file)
    changed = {name for name, tensor in new.model.items() if not torch.equal(tensor, old.model[name])}
    assert {name.rsplit(".", 1)[1] for name in changed} == {"running_mean", "running_var"}
    assert len(changed) == 2 * adapted.layers > 10
    ours, theirs = NoveltyModel.from_arrays(old.novelty), NoveltyModel.from_arrays(new.novelty)
    assert ours is not None and theirs is not None
    assert len(theirs.held_out.log_odds) == len(ours.held_out.log_odds)
    assert theirs.held_out.log_odds != ours.held_out.log_odds
    assert old.orientation.keys() == new.orientation.keys() > set()
    assert not np.array_equal(old.orientation["centre"], new.orientation["centre"])
    assert not new.training and not info_of(adapted.file).saw_all
    assert "the score of unknown pages, which side is up" in adapted.sentences[0]


def test_held_out_pages_are_scored_as_the_new_checkpoint_scores_them(run: Path, adapted: AdaptResult) -> None:
    before, after = (predictions_of(TrainedModel.load(path), "val") for path in (run / "best.ckpt", adapted.file))
    assert adapted.difference.pages == len(after) == 24
    assert adapted.difference.value == pytest.approx(adapted.held_out_after - adapted.held_out_before)
    assert adapted.difference.low <= adapted.difference.value <= adapted.difference.high
    assert adapted.temperature == pytest.approx(fit_temperature(after.log_probs, after.labels), rel=1e-3)
    assert not np.allclose(before.log_probs, after.log_probs, atol=1e-3)
    assert Checkpoint.load(adapted.file).metrics["f1_macro"] == adapted.held_out_after
    assert 0.3 < adapted.confidence_before <= 1 and 0.3 < adapted.confidence_after <= 1


def test_a_checkpoint_says_where_its_statistics_are_from(run: Path, scans: Path, adapted: AdaptResult) -> None:
    found = Checkpoint.load(adapted.file).adapted
    assert found == {
        "checkpoint": str(run / "best.ckpt"), "sha256": info_of(run / "best.ckpt").sha256, "pages_of": str(scans), "pages": 39,
        "prior": 1024.0, "layers": adapted.layers,
    }  # fmt: skip
    assert not Checkpoint.load(run / "best.ckpt").adapted
    with pytest.raises(InputError, match="adapted already") as caught:
        adapt(adapted.file, str(scans))
    assert str(run / "best.ckpt") in caught.value.hint


def test_an_infinite_prior_keeps_every_weight_and_every_prediction(copy: Path, scans: Path) -> None:
    result = adapt(copy, str(scans), prior=math.inf)
    old, new = Checkpoint.load(copy / "best.ckpt"), Checkpoint.load(result.file)
    assert result.layers == 0 and result.difference.value == 0
    assert all(torch.equal(tensor, old.model[name]) for name, tensor in new.model.items())
    assert new.temperature == pytest.approx(old.temperature, rel=1e-3)
    assert result.confidence_after == pytest.approx(result.confidence_before, abs=1e-3)


def test_without_a_prior_the_first_layer_has_the_moments_of_the_pages(copy: Path, scans: Path) -> None:
    result = adapt(copy, str(scans), prior=0, max_loss=EVERYTHING)
    checkpoint = Checkpoint.load(copy / "best.ckpt")
    model, preprocess = checkpoint.build(), checkpoint.preprocess
    from docclf_cli.data.images.page_files import PageReader

    reader = PageReader(10**7, False)
    pages = [reader.read(path, None, 0, preprocess) for path in sorted(scans.glob("*/*.png"))]
    images = torch.from_numpy(np.stack(pages)).permute(0, 3, 1, 2) / 255
    images = (images - torch.tensor(preprocess.mean)[:, None, None]) / torch.tensor(preprocess.std)[:, None, None]
    conv = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
    name = next(name for name in checkpoint.model if name.endswith("running_mean"))
    with torch.no_grad():
        values = conv(images)
    found = Checkpoint.load(result.file).model
    assert torch.allclose(found[name], values.mean(dim=(0, 2, 3)), atol=1e-4)
    variance = found[name.replace("mean", "var")]
    assert torch.allclose(variance, values.var(dim=(0, 2, 3), correction=0), rtol=1e-3)


def test_a_loss_on_held_out_pages_writes_nothing(copy: Path, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def labelled_by_the_run(requests: list[PredictionRequest], **options: Any) -> list[Predictions]:
        new, old = get_predictions(requests, **options)
        wrong = replace(new, log_probs=np.roll(old.log_probs, 1, axis=1))
        return [replace(one, targets=old.predicted()) for one in (wrong, old)]

    monkeypatch.setattr("docclf_cli.tasks.adapt.get_predictions", labelled_by_the_run)
    before = untouched(copy)
    with pytest.raises(
        CheckpointError, match=r"macro-F1 by -1\.000 \(95 % -.* 24 held-out pages.*more than 0\.083; nothing"
    ) as caught:
        adapt(copy, str(scans))
    assert caught.value.exit_code == 4 and "--max-loss" in caught.value.hint
    assert untouched(copy) == before
    assert adapt(copy, str(scans), max_loss=1.0).held_out_after == 0


def test_a_stop_writes_nothing(run: Path, scans: Path, tmp_path: Path) -> None:
    stop, before = StopFlag(), untouched(run)

    def at_the_end(event: object) -> None:
        if "which side is up" in str(event):
            stop.signal_number = 15

    with pytest.raises(Interrupted):
        adapt(run, str(scans), max_loss=EVERYTHING, output=tmp_path / "new.ckpt", emit=at_the_end, stop=stop)
    assert untouched(run) == before and not list(tmp_path.iterdir())


def test_what_cannot_be_adapted_is_refused_in_one_line(run: Path, scans: Path, copy: Path, tmp_path: Path) -> None:
    root = render_samples(tmp_path / "samples", pages_per_class=2, test_pages_per_class=1)
    folds = make_folds(tmp_path / "folds", root, 2, seed=1)
    alone = tmp_path / "alone" / "best.ckpt"
    alone.parent.mkdir()
    shutil.copy(run / "best.ckpt", alone)
    vit = replace(
        Checkpoint.load(make_run(tmp_path / "vit", root, seed=1) / "best.ckpt"),
        model_config=_vit(),
        model=_vit_weights(),
    )
    vit.save(tmp_path / "vit" / "best.ckpt")
    few = arriving(tmp_path / "few", 31)
    (tmp_path / "empty").mkdir()
    (copy / "adapted.ckpt").write_text("mine")
    cases: list[tuple[Path, object, dict[str, Any], str]] = [
        (tmp_path / "vit", scans, {}, "test_vit has no batch norms"),
        (folds, scans, {}, "is a folds run"),
        (alone, scans, {}, "no split.csv beside the checkpoint"),
        (
            run / "best.ckpt",
            few,
            {"output": tmp_path / "new.ckpt"},
            "31 readable pages, and statistics need at least 32",
        ),
        (run / "best.ckpt", tmp_path / "empty", {"output": tmp_path / "new.ckpt"}, "empty"),
        (run / "best.ckpt", tmp_path / "nowhere", {"output": tmp_path / "new.ckpt"}, "nowhere"),
        (run / "best.ckpt", scans, {"prior": -1.0}, "--prior: -1"),
        (run / "best.ckpt", scans, {"prior": math.nan}, "--prior: nan"),
        (copy, scans, {}, "adapted.ckpt exists already"),
        (copy, scans, {"output": tmp_path / "empty"}, "is a folder"),
        (copy, scans, {"output": copy / "best.ckpt", "overwrite": True}, "is the checkpoint itself"),
    ]
    for checkpoint, source, options, text in cases:
        with pytest.raises(DocclfError) as caught:
            adapt(checkpoint, str(source), **options)
        assert text in caught.value.message
        assert "\n" not in caught.value.message and caught.value.hint
    assert not (tmp_path / "new.ckpt").exists()
    assert (copy / "adapted.ckpt").read_text() == "mine"
    assert adapt(copy, str(scans), max_loss=EVERYTHING, overwrite=True).file == copy / "adapted.ckpt"
    fold = folds / "fold-0"
    assert adapt(fold / "best.ckpt", str(scans), max_loss=EVERYTHING).file == fold / "adapted.ckpt"
    shutil.rmtree(root)
    with pytest.raises(InputError, match="without its training and held-out pages"):
        adapt(make_run_of(tmp_path / "vit"), str(scans))


def make_run_of(folder: Path) -> Path:
    """The run with a network that has batch norms, whose pages are gone."""
    other = Checkpoint.load(folder / "best.ckpt")
    torch.manual_seed(0)
    from docclf_cli.models.factory import create_model

    config = other.model_config.model_copy(update={"name": "test_resnet", "model_name": "test_resnet"})
    weights = create_model(config, len(other.class_names), weights=False, image_size=other.preprocess.size).state_dict()
    replace(other, model_config=config, model=weights).save(folder / "best.ckpt")
    return folder


def _vit() -> Any:
    from docclf_cli.profile.schema import ModelConfig

    return ModelConfig(name="test_vit", model_name="test_vit", pretrained=False)


def _vit_weights() -> Any:
    from docclf_cli.data.samples.samples import KINDS
    from docclf_cli.models.factory import create_model

    return create_model(_vit(), len(KINDS), weights=False, image_size=32).state_dict()


def test_predict_and_evaluate_take_it_as_any_other(
    docclf: Docclf, run: Path, scans: Path, adapted: AdaptResult
) -> None:
    outcome = docclf("predict", adapted.file, scans, "--json", "-o", run.parent / "out.csv", "--max-unreadable", "1")
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["pages"] == 40
    table = (run.parent / "out.csv").read_text().splitlines()
    assert "unknown" in table[0] and len(table) == 41
    outcome = docclf("evaluate", adapted.file, "--json", "--output", run.parent / "evaluated")
    assert outcome.code == 0, outcome.stderr
    metrics = json.loads(outcome.stdout)["scores"]["metrics"]
    assert metrics["f1_macro"]["value"] == pytest.approx(adapted.held_out_after)
