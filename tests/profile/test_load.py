"""Profiles: groups, precedence, the seed's own spellings, faults."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.errors import ProfileError
from docclf_cli.profile.load import dump_profile, load_profile
from docclf_cli.profile.schema import Profile


def _load(tmp_path: Path, text: str, **options: Any) -> Profile:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return load_profile(str(path), **options).profile


def _faults(tmp_path: Path, text: str | bytes) -> tuple[str, ...]:
    path = tmp_path / "p.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ProfileError) as caught:
        load_profile(str(path))
    return caught.value.faults


def test_a_bare_name_loads_its_group_file(tmp_path: Path) -> None:
    profile = _load(tmp_path, "model: convnext_with_attention\nscheduler: step\n")
    assert profile.model.use_attention
    assert profile.scheduler.name == "step"


def test_keys_beside_a_name_override_the_group_file(tmp_path: Path) -> None:
    profile = _load(tmp_path, "optimizer: {name: sgd, lr: 0.5, momentum: 0.1}\n")
    assert (profile.optimizer.lr, profile.optimizer.params) == (0.5, {"momentum": 0.1, "nesterov": True})


def test_an_option_replaces_the_section_whole(tmp_path: Path) -> None:
    text = "scheduler: {name: cosine_warm_restart, params: {T_0: 7}}\n"
    profile = _load(tmp_path, text, options={"scheduler": "cosine"})
    assert profile.scheduler.name == "cosine"
    assert "T_0" not in profile.scheduler.params


def test_precedence_and_sources(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("train:\n  epochs: 3\n  batch_size: 4\n")
    loaded = load_profile(str(path), options={"train.epochs": 5}, sets=["train.batch_size=6", "optimizer.lr=1e-3"])
    assert (loaded.profile.train.epochs, loaded.profile.train.batch_size, loaded.profile.optimizer.lr) == (5, 6, 1e-3)
    assert str(loaded.sources["train.epochs"]) == "option"
    assert str(loaded.sources["train.batch_size"]) == "--set"
    assert loaded.sources["model.dropout_rate"].kind == "group file"


def test_any_timm_model_goes_by_its_own_name() -> None:
    assert load_profile("config", options={"model": "resnet18"}).profile.model.model_name == "resnet18"


SEED_BLOCKS: list[tuple[str, dict[str, Any]]] = [
    ('scheduler:\n  name: "cosine"\n', {"scheduler.name": "cosine"}),
    (
        'scheduler:\n  name: "cosine_warm_restart"\n  params:\n    T_0: 10\n    T_mult: 2\n    eta_min: 0.000001\n',
        {"scheduler.params": {"T_0": 10, "T_mult": 2, "eta_min": 1e-6}},
    ),
    (
        "scheduler:\n  _target_: src.schedulers.step.StepScheduler\n  step_size: 30\n  gamma: 0.1\n",
        {"scheduler.name": "step", "scheduler.params": {"step_size": 30, "gamma": 0.1}},
    ),
    (
        "scheduler:\n  _target_: src.schedulers.warmup_cosine.WarmupCosineScheduler\n  warmup_steps: 1000\n"
        "  max_steps: 10000\n  min_lr: 0.0\n  warmup_start_lr: 0.0\n",
        {"scheduler.name": "warmup_cosine", "scheduler.params.warmup_steps": 1000},
    ),
    (
        "scheduler:\n  _target_: src.schedulers.plateau.PlateauScheduler\n  mode: min\n  factor: 0.1\n"
        "  patience: 10\n  verbose: false\n",
        {"scheduler.name": "plateau", "scheduler.params.patience": 10},
    ),
    (
        "model:\n  name: convnext\n  model_name: convnext_tiny\n  dropout_rate: 0.1\n  use_attention: false\n"
        "  use_focal_loss: false\n  pretrained: true\n  alpha: 1.0\n  gamma: 2.0\n  attention_dim: 256\n",
        {"model.model_name": "convnext_tiny", "model.attention_dim": 256},
    ),
    (
        'ensemble:\n  enabled: true\n  method: "averaging"\n  models:\n    - name: "resnet50"\n'
        '      checkpoint_path: "checkpoints/resnet50_best.ckpt"\n      weight: 1.0\n  tta:\n    enabled: true\n'
        '    augmentations:\n      - type: "horizontal_flip"\n        probability: 0.5\n      - type: "rotation"\n'
        "        degrees: [90, 180, 270]\n",
        {"ensemble.method": "averaging", "ensemble.tta.enabled": True},
    ),
]


@pytest.mark.parametrize(("text", "expected"), SEED_BLOCKS)
def test_blocks_of_the_seed_mean_what_they_say(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    values = _load(tmp_path, text).model_dump()
    for key, wanted in expected.items():
        found: Any = values
        for part in key.split("."):
            found = found[part]
        assert found == wanted, key


def test_views_of_the_seed_keep_their_parameters(tmp_path: Path) -> None:
    views = _load(tmp_path, SEED_BLOCKS[-1][0]).ensemble.tta.augmentations
    assert views is not None
    assert views[1].params == {"degrees": [90, 180, 270]}


BAD: list[tuple[str | bytes, str]] = [
    ("", "is empty"),
    ("- a\n", "holds a list"),
    ("train: [1\n", ":2: not YAML"),
    ("train:\n\tepochs: 1\n", "spaces, not tabs"),
    (b"\xc7\xd1", "not UTF-8"),
    ("train: {epochs: 1, epochs: 2}\n", "given twice"),
    ("train: {epochz: 1}\n", "did you mean 'train.epochs'"),
    ("train: {epochs: 1.5}\n", "must be a whole number"),
    ("train: {epochs: -1}\n", "must be at least 1"),
    ("optimizer: {name: adamw, lr: .nan}\n", "must be"),
    ("optimizer: {name: adamw, lr: .inf}\n", "must be a finite number"),
    ("train: {refit: NO}\n", "must be true or false"),
    ("seed: !!python/object/apply:os.system [ls]\n", "not allowed"),
    ("model: ../../x\n", "'../../x' is not a name"),
    ("scheduler: {_target_: system}\n", "names no scheduler"),
    ("train: 3\n", "must be a mapping"),
    ("data: {resize_mode: stretch}\n", "must be one of"),
    ("a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
     "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n", "aliases"),
    ("a: " + "[" * 80 + "]" * 80 + "\n", "nested deeper"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), BAD, ids=[str(wanted) for _, wanted in BAD])
def test_faults_are_named(tmp_path: Path, text: str | bytes, wanted: str) -> None:
    assert any(wanted in fault for fault in _faults(tmp_path, text)), _faults(tmp_path, text)


def test_all_faults_are_listed_with_their_lines(tmp_path: Path) -> None:
    faults = _faults(tmp_path, "train:\n  epochs: 0\n  epochz: 1\nseed: x\n")
    assert len(faults) == 3
    assert any(":2: train.epochs" in fault for fault in faults)


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("NO", "NO"), ("12:30", "12:30"), ("010", 10), ("~", None)]
)
def test_plain_values_mean_what_people_mean(text: str, value: Any) -> None:
    from docclf_cli.profile.yaml_reader import read_value

    assert read_value(text, "test") == value


def test_a_written_profile_loads_as_the_same_profile(tmp_path: Path) -> None:
    for name in ("config", "quickstart", "ensemble"):
        profile = load_profile(name).profile
        assert _load(tmp_path, dump_profile(profile)) == profile


@given(st.text(max_size=30))
def test_any_text_survives_a_written_profile(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    profile = Profile.model_validate({"data": {"root": text}})
    path = tmp_path_factory.mktemp("p") / "p.yaml"
    path.write_text(dump_profile(profile), encoding="utf-8")
    assert load_profile(str(path)).profile.data.root == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["train", "model", "name", "epochs", "data", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_any_document_loads_or_is_a_profile_error(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    path = tmp_path_factory.mktemp("p") / "p.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    try:
        load_profile(str(path))
    except ProfileError as error:
        assert error.faults
