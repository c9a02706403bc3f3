"""Faults in plain words, all at once, each with its place."""

from collections.abc import Callable

import pytest

Faults = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("train: {epochz: 1}", "train.epochz: there is no such key, did you mean 'train.epochs'?"),
        ("train: {lr: 1}", "train.lr: there is no such key, did you mean 'optimizer.lr'?"),
        ("epochs: 1", "epochs: there is no such key, did you mean 'train.epochs'?"),
        ("optimiser: adam", "optimiser: there is no such key, did you mean 'optimizer'?"),
        ("zzz: 1", "zzz: there is no such key"),
        ("ensemble: {models: [{run: a, wieght: 1}]}",
         "ensemble.models.0.wieght: there is no such key, did you mean 'ensemble.models.weight'?"),
        ("train: {epochs: 1.5}", "train.epochs: must be a whole number, not 1.5"),
        ("train: {epochs: '5'}", "train.epochs: must be a whole number, not '5'"),
        ("train: {epochs: true}", "train.epochs: must be a whole number, not true"),
        ("train: {epochs: null}", "train.epochs: must be a whole number, not null"),
        ("train: {epochs: -1}", "train.epochs: must be at least 1, not -1"),
        ("data: {image_size: 9999}", "data.image_size: must be at most 4096, not 9999"),
        ("data: {val_fraction: 1.0}", "data.val_fraction: must be less than 1, not 1.0"),
        ("optimizer: {lr: 0}", "optimizer.lr: must be greater than 0, not 0"),
        ("optimizer: {lr: .inf}", "optimizer.lr: must be a finite number, not inf"),
        ("optimizer: {lr: .nan}", "optimizer.lr: must be a finite number, not nan"),
        ("optimizer: {lr: true}", "optimizer.lr: must be a number, not true"),
        ("optimizer: {lr: fast}", "optimizer.lr: must be a number, not 'fast'"),
        ("train: {upright: 99}", "train.upright: must be at most 8 or 'auto', not 99"),
        ("train: {frozen_stages: all}", "train.frozen_stages: must be a whole number or 'auto', not 'all'"),
        ("train: {linear_probe: 0}", "train.linear_probe: must be at least 1 or 'auto', not 0"),
        ("train: {refit: NO}", "train.refit: must be true or false, not 'NO'"),
        ("name: 2024", "name: must be text (in quotes where it looks like something else), not 2024"),
        ("data: {resize_mode: stretch}", "data.resize_mode: must be one of 'letterbox', 'squash' or 'crop', not 'stretch'"),
        ("train: 3", "train: must be a mapping, not 3"),
        ("tracking: {tags: a}", "tracking.tags: must be a list, not 'a'"),
        ("scheduler: {params: 3}", "scheduler.params: must be a mapping, not 3"),
        ("augmentation: {transforms: [{p: 1}]}", "augmentation.transforms.0.name: is missing"),
        ("train: {fold: 1}", "train.fold: give folds as well, and a fold below it (they count from 0)"),
        ("train: {accumulate: 3}", "train.accumulate: must divide batch_size"),
        ("ensemble: {models: [{name: a}]}", "ensemble.models.0: give either checkpoint_path or run"),
    ],
)  # fmt: skip
def test_faults_in_plain_words(faults: Faults, text: str, wanted: str) -> None:
    assert faults(f"seed: 1\n{text}\n") == [f"p.yaml:2: {wanted}"]


def test_all_faults_are_listed_in_the_order_of_the_file_and_the_command_line_last(faults: Faults) -> None:
    text = """\
train:
  epochs: 0
  epochz: 1
model: ../../x
scheduler: [1]
data:
  root: a
  root: b
ensemble:
  models:
    - run: a
    - run: b
      weight: -1
seed: !!str x
"""
    found = faults(text, options={"train.batch_size": 0}, sets=["trian.epochs=3", "a..b=1", "train.ema={"])
    assert [fault.split(": ")[0] for fault in found] == [
        "p.yaml:2", "p.yaml:3", "p.yaml:4", "p.yaml:5", "p.yaml:8", "p.yaml:13", "p.yaml:14", "p.yaml:14",
        "--set a..b=1", "--set train.ema", "option", "--set",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["epochs", "=5", "a b=1", ".a=1", "a.=1", "a." * 5000 + "b=1", ""])
def test_set_needs_a_key_and_a_value(faults: Faults, text: str) -> None:
    assert "not of the form KEY=VALUE" in faults("seed: 1\n", sets=[text])[0]


def test_a_list_is_not_changed_by_number(faults: Faults) -> None:
    assert faults("ensemble: {models: [{run: a}]}\n", sets=["ensemble.models.0.weight=2"]) == [
        "--set: ensemble.models: must be a list, not {'0': {'weight': 2}}"
    ]


def test_values_and_lists_of_faults_are_kept_short(faults: Faults) -> None:
    found = faults("".join(f"key{number}: 1\n" for number in range(3000)) + f"seed: {'x' * 5000}\n")
    assert len(found) <= 60
    assert max(map(len, found)) < 200
