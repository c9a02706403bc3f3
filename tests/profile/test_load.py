"""Precedence, sources, and written profiles."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from docclf_cli.errors import ProfileError
from docclf_cli.profile.layers import leaves
from docclf_cli.profile.load import LoadedProfile, dump_profile, load_profile
from docclf_cli.profile.schema import Profile

Load = Callable[..., LoadedProfile]


def test_each_layer_wins_over_the_one_below_and_is_named_as_the_source(load: Load) -> None:
    loaded = load(
        "optimizer:\n  name: sgd\n  weight_decay: 0.5\ntrain:\n  epochs: 3\n  batch_size: 4\n  ema: 0.9\n",
        options={"train.epochs": 5, "train.batch_size": 5},
        sets=["train.batch_size=6"],
    )
    train, optimizer = loaded.profile.train, loaded.profile.optimizer
    assert (train.accumulate, optimizer.lr, optimizer.weight_decay) == (1, 0.01, 0.5)
    assert (train.ema, train.epochs, train.batch_size) == (0.9, 5, 6)
    assert [
        loaded.sources[key].kind
        for key in ("train.accumulate", "optimizer.lr", "optimizer.weight_decay", "train.epochs", "train.batch_size")
    ] == ["default", "group file", "profile", "option", "--set"]
    assert loaded.sources["optimizer.lr"].where.endswith("configs/optimizer/sgd.yaml:3")
    assert loaded.sources["train.ema"].where.endswith("p.yaml:7")


@pytest.mark.parametrize("name", ["config", "quickstart", "ensemble"])
def test_every_value_has_a_source(name: str) -> None:
    loaded = load_profile(name, sets=["scheduler.params.min_lr=1e-6"])
    assert set(loaded.sources) == {key for key, _ in leaves(loaded.profile.model_dump(mode="json"))}


def test_set_reads_values_as_yaml(load: Load) -> None:
    profile = load("seed: 1\n", sets=["optimizer.lr=1e-3", "tracking.tags=[a, 'on']", "train.ema=null"]).profile
    assert (profile.optimizer.lr, profile.tracking.tags, profile.train.ema) == (1e-3, ("a", "on"), None)


def test_set_takes_a_section_as_a_mapping(load: Load) -> None:
    text = "scheduler: {name: cosine_warm_restart, T_0: 7}\n"
    scheduler = load(text, sets=["scheduler={name: step, gamma: 0.5}"]).profile.scheduler
    assert (scheduler.name, scheduler.params) == ("step", {"step_size": None, "gamma": 0.5})


def test_sections_that_are_left_empty_are_left_out(load: Load) -> None:
    text = "train:\n  # epochs: 3\nmodel:\nensemble:\n  tta:\nscheduler:\n  name: cosine\n  params:\n"
    loaded = load(text)
    assert loaded.profile.train == Profile().train
    assert loaded.profile.scheduler.params == {"T_max": None, "eta_min": 0.0}


def test_a_profile_is_found_by_name_here_first_then_among_the_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs/optimizer").mkdir(parents=True)
    (tmp_path / "configs/quickstart.yaml").write_text("seed: 77\noptimizer: mine\n")
    (tmp_path / "configs/optimizer/mine.yaml").write_text("name: sgd\nlr: 0.25\n")
    (tmp_path / "config").write_text("a file that happens to have a profile's name\n")
    mine = load_profile("quickstart")
    assert (mine.profile.seed, mine.profile.optimizer.name, mine.profile.optimizer.lr) == (77, "sgd", 0.25)
    assert mine.sources["optimizer.lr"].where == "configs/optimizer/mine.yaml:2"
    assert load_profile("config").profile.seed == 0


@pytest.mark.parametrize("name", ["quikstart", "../configs/config", "nowhere/x.yaml", "x" * 5000, "a\0b", "", "."])
def test_a_profile_that_is_not_there(name: str) -> None:
    with pytest.raises(ProfileError, match="there is no profile") as caught:
        load_profile(name)
    assert "quickstart" in caught.value.hint


def test_the_default_folder_can_be_another(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 5\n")
    assert load_profile("mine", default_dir=tmp_path).profile.seed == 5


def test_a_key_without_effect_is_said_to_have_none(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "docclf"):
        written = dump_profile(load("ensemble: {enabled: false}\n").profile)
        assert "ensemble.enabled has no effect" in caplog.text
        caplog.clear()
        load(written)
        load_profile("config")
        assert caplog.text == ""


@pytest.mark.parametrize("name", ["config", "quickstart", "ensemble"])
def test_a_written_profile_loads_as_the_same_profile(load: Load, name: str) -> None:
    profile = load_profile(name).profile
    assert load(dump_profile(profile)).profile == profile


def test_a_written_profile_does_not_depend_on_group_files(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = load_profile("config", options={"scheduler": "cosine"}).profile
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs/scheduler").mkdir(parents=True)
    (tmp_path / "configs/scheduler/cosine.yaml").write_text("T_max: 5\nlast_epoch: 3\n")
    assert load(dump_profile(profile)).profile == profile
    assert load(dump_profile(profile), options={"scheduler": "cosine"}).profile.scheduler.params["last_epoch"] == 3


def test_a_written_profile_leaves_out_what_names_the_run(load: Load) -> None:
    written = dump_profile(load("name: a\noutput: b\nseed: 3\n").profile)
    profile = load(written).profile
    assert (profile.name, profile.output, profile.seed) == (None, "runs", 3)


def test_plain_readers_of_yaml_read_a_written_profile_too() -> None:
    tags = ["no", "on", "1e-4", "12:30", "~", "가"]
    profile = Profile.model_validate({"tracking": {"tags": tags}, "runtime": {"compile": "off"}, "seed": 3})
    values = yaml.safe_load(dump_profile(profile))
    assert values["tracking"]["tags"] == list(profile.tracking.tags)
    assert values["runtime"]["compile"] == "off"


texts = st.text(max_size=20)
numbers = st.floats(min_value=1e-300, max_value=1e300)
plain = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | texts
names = st.from_regex(r"[a-z]\w{0,8}", fullmatch=True).filter(lambda name: name not in ("name", "params"))
params = st.dictionaries(names, plain | st.lists(plain, max_size=3), max_size=4)
profiles = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**64),
        "data": st.fixed_dictionaries({"root": texts, "val": st.none() | texts, "val_fraction": st.floats(0, 0.99)}),
        "model": st.fixed_dictionaries({"name": st.sampled_from(["convnext", "resnet18"]), "alpha": numbers}),
        "optimizer": st.fixed_dictionaries({"name": st.sampled_from(["sgd", "x"]), "lr": numbers, "params": params}),
        "scheduler": st.fixed_dictionaries({"name": st.sampled_from(["cosine", "x"]), "params": params}),
        "augmentation": st.fixed_dictionaries(
            {"name": names, "transforms": st.lists(params.map(lambda values: {**values, "name": "x"}), max_size=3)}
        ),
        "ensemble": st.fixed_dictionaries(
            {"models": st.lists(st.fixed_dictionaries({"run": texts, "weight": numbers}), max_size=2)}
        ),
        "tracking": st.fixed_dictionaries({"tags": st.lists(texts, max_size=3)}),
    },
)


@settings(deadline=None, max_examples=60)
@given(profiles)
def test_any_profile_survives_being_written(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    profile = Profile.model_validate(values)
    path = tmp_path_factory.mktemp("p") / "p.yaml"
    path.write_text(dump_profile(profile), encoding="utf-8", newline="")
    assert load_profile(str(path)).profile == profile


keys = st.sampled_from(
    ["train", "model", "name", "epochs", "data", "x", "scheduler", "params", "loss", "_target_", "resolved", "ensemble",
     "models", "tta", "augmentations", "augmentation", "transforms", "use_focal_loss", "1", "a.b", ""]
)  # fmt: skip
documents = st.dictionaries(
    keys, st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4))
)


@settings(deadline=None, max_examples=100)
@given(documents, st.lists(st.text(max_size=30) | st.builds("{}={}".format, keys, texts), max_size=2))
def test_any_document_loads_or_says_what_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any], sets: list[str]
) -> None:
    path = tmp_path_factory.mktemp("p") / "p.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    try:
        load_profile(str(path), sets=sets)
    except ProfileError as error:
        assert all(error.faults)
