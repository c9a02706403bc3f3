"""The YAML that the seed prints loads unchanged, and means what the seed says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from docclf_cli.commands._load import load_checked
from docclf_cli.profile.load import LoadedProfile, load_profile

Load = Callable[..., LoadedProfile]

MODEL = """
model:
  name: convnext
  model_name: convnext_tiny  # convnext_tiny, convnext_small, convnext_base, convnext_large
  dropout_rate: 0.1
  use_attention: false
  use_focal_loss: false
  pretrained: true
  alpha: 1.0  # Focal Loss alpha (use_focal_loss가 true일 때)
  gamma: 2.0  # Focal Loss gamma (use_focal_loss가 true일 때)
  attention_dim: 256  # 어텐션 차원 (use_attention이 true일 때)
"""
ENSEMBLE = """
ensemble:
  enabled: true
  method: "averaging"  # voting, averaging, weighted, stacking
  models:
    - name: "resnet50"
      checkpoint_path: "checkpoints/resnet50_best.ckpt"
      weight: 1.0
    - name: "efficientnet"
      checkpoint_path: "checkpoints/efficientnet_best.ckpt"
      weight: 1.0
    - name: "vit"
      checkpoint_path: "checkpoints/vit_best.ckpt"
      weight: 1.0

  # 테스트 타임 증강 설정
  tta:
    enabled: true
    augmentations:
      - type: "horizontal_flip"
        probability: 0.5
      - type: "rotation"
        degrees: [90, 180, 270]
"""
VOTING = """
ensemble:
  method: "voting"
  models:
    - name: "resnet50"
      checkpoint_path: "checkpoints/resnet50.ckpt"
    - name: "efficientnet"
      checkpoint_path: "checkpoints/efficientnet.ckpt"
"""
WEIGHTED = """
ensemble:
  method: "weighted"
  models:
    - name: "resnet50"
      checkpoint_path: "checkpoints/resnet50.ckpt"
      weight: 0.4
    - name: "efficientnet"
      checkpoint_path: "checkpoints/efficientnet.ckpt"
      weight: 0.6
"""
TTA = """
ensemble:
  tta:
    enabled: true
    augmentations:
      - type: "horizontal_flip"
        probability: 0.5
      - type: "color_jitter"
        brightness: 0.1
        contrast: 0.1
"""
# Contents of the seed's configs/scheduler/NAME.yaml, and what they mean.
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "cosine": (
        "_target_: src.schedulers.cosine.CosineScheduler\nT_max: 100\neta_min: 0.0\n",
        {"T_max": 100, "eta_min": 0.0},
    ),
    "step": (
        "_target_: src.schedulers.step.StepScheduler\nstep_size: 30\ngamma: 0.1\n",
        {"step_size": 30, "gamma": 0.1},
    ),
    "warmup_cosine": (
        "_target_: src.schedulers.warmup_cosine.WarmupCosineScheduler\nwarmup_steps: 1000\nmax_steps: 10000\n"
        "min_lr: 0.0\nwarmup_start_lr: 0.0\n",
        {"warmup_steps": 1000, "max_steps": 10000, "min_lr": 0.0, "warmup_start_lr": 0.0},
    ),
    "plateau": (
        "_target_: src.schedulers.plateau.PlateauScheduler\nmode: min\nfactor: 0.1\npatience: 10\nverbose: false\n",
        {"mode": "min", "factor": 0.1, "patience": 10, "verbose": False},
    ),
    "cosine_warm_restart": (
        "_target_: src.schedulers.cosine_warm_restart.CosineWarmRestartScheduler\nT_0: 10\nT_mult: 2\n"
        "eta_min: 0.000001\n",
        {"T_0": 10, "T_mult": 2, "eta_min": 1e-6},
    ),
}


def test_scheduler_by_name(load: Load) -> None:
    assert load('scheduler:\n  name: "cosine"  # cosine, step, exponential\n').profile.scheduler.name == "cosine"


def test_scheduler_with_params(load: Load) -> None:
    text = 'scheduler:\n  name: "cosine_warm_restart"\n  params:\n    T_0: 10\n    T_mult: 2\n    eta_min: 0.000001\n'
    assert load(text).profile.scheduler.params == {"T_0": 10, "T_mult": 2, "eta_min": 1e-6}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_scheduler_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    text, params = SCHEDULERS[name]
    (tmp_path / "configs/scheduler").mkdir(parents=True)
    (tmp_path / f"configs/scheduler/{name}.yaml").write_text(text)
    scheduler = load_checked("config", {"scheduler": name}, ()).profile.scheduler
    assert (scheduler.name, scheduler.params) == (name, params)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_scheduler_files_as_a_section(load: Load, name: str) -> None:
    text, params = SCHEDULERS[name]
    scheduler = load("scheduler:\n" + "".join(f"  {line}\n" for line in text.splitlines())).profile.scheduler
    assert scheduler.name == name
    assert params.items() <= scheduler.params.items()


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("convnext", {"model_name": "convnext_tiny"}),
        ("convnext_small", {"model_name": "convnext_small"}),
        ("convnext_base", {"model_name": "convnext_base"}),
        ("convnext_large", {"model_name": "convnext_large"}),
        ("convnext_with_attention", {"use_attention": True}),
        ("convnext_with_focal", {"use_focal_loss": True}),
    ],
)
def test_models_on_the_command_line(model: str, wanted: dict[str, Any]) -> None:
    loaded = load_checked("config", {"model": model}, ())
    assert wanted.items() <= loaded.profile.model.model_dump().items()
    assert (loaded.profile.loss.name == "focal") is (model == "convnext_with_focal")


def test_model_section(load: Load) -> None:
    model = load(MODEL).profile.model
    assert (model.name, model.model_name, model.dropout_rate, model.attention_dim) == (
        "convnext", "convnext_tiny", 0.1, 256,
    )  # fmt: skip
    assert (model.use_attention, model.use_focal_loss, model.pretrained, model.alpha, model.gamma) == (
        False, False, True, 1.0, 2.0,
    )  # fmt: skip


def test_ensemble(load: Load) -> None:
    ensemble = load(ENSEMBLE).profile.ensemble
    assert ensemble.method == "averaging"
    assert [(member.name, member.checkpoint_path, member.weight) for member in ensemble.models] == [
        ("resnet50", "checkpoints/resnet50_best.ckpt", 1.0),
        ("efficientnet", "checkpoints/efficientnet_best.ckpt", 1.0),
        ("vit", "checkpoints/vit_best.ckpt", 1.0),
    ]
    assert ensemble.tta.enabled
    assert [(view.type, view.params) for view in ensemble.tta.augmentations or ()] == [
        ("horizontal_flip", {"probability": 0.5}),
        ("rotation", {"degrees": [90, 180, 270]}),
    ]


def test_voting_and_weighted(load: Load) -> None:
    voting, weighted = load(VOTING).profile.ensemble, load(WEIGHTED).profile.ensemble
    assert (voting.method, [member.weight for member in voting.models]) == ("voting", [1.0, 1.0])
    assert (weighted.method, [member.weight for member in weighted.models]) == ("weighted", [0.4, 0.6])


def test_tta(load: Load) -> None:
    tta = load(TTA).profile.ensemble.tta
    assert tta.enabled
    assert [(view.type, view.params) for view in tta.augmentations or ()] == [
        ("horizontal_flip", {"probability": 0.5}),
        ("color_jitter", {"brightness": 0.1, "contrast": 0.1}),
    ]


def test_schedulers_on_the_command_line() -> None:
    for name in ("cosine", "step", "warmup_cosine", "cosine_warm_restart"):
        assert load_profile("config", options={"scheduler": name}).profile.scheduler.name == name
