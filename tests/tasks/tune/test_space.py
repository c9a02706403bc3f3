"""What a search space means for a profile, and which faults are said."""

from pathlib import Path

import pytest

from docclf_cli.errors import ProfileError
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile
from docclf_cli.tasks.tune.space import Parameter, read_space


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("laptop").profile


def space(tmp_path: Path, text: str, profile: Profile) -> dict[str, Parameter]:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return {one.key: one for one in read_space(str(path), profile)}


def test_the_shipped_space_lies_around_every_profile(profile: Profile) -> None:
    for start in (profile, load_profile("config").profile, load_profile("scratch").profile):
        found = {one.key: one for one in read_space("default", start)}
        lr, size = found["optimizer.lr"], found["data.image_size"]
        assert (lr.low, lr.high, lr.log) == (start.optimizer.lr / 4, start.optimizer.lr * 4, True)
        assert size.low < start.data.image_size < size.high
        assert (start.data.image_size - size.low) % 32 == 0
        assert found["train.epochs"].high == start.train.epochs
        assert start.augmentation.name in found["augmentation"].choices


def test_the_start_is_always_one_of_the_values(tmp_path: Path, profile: Profile) -> None:
    text = "train: {batch_size: {low: 64, high: 128, step: 32}}\naugmentation: {choices: [none]}\ntrain.x: 1\n"
    found = space(tmp_path, text.replace("train.x: 1\n", ""), profile)
    assert found["train.batch_size"].low == profile.train.batch_size
    assert found["augmentation"].choices == (profile.augmentation.name, "none")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{}", "names no key to vary"),
        ("optimizer: {lr: {low: 1}}", "give low and high"),
        ("optimizer: {lr: {low: 1e-4, high: 1e-3, choices: [1]}}", "give one of choices, times, or low and high"),
        ("optimizer: {rate: {low: 1, high: 2}}", r":1: optimizer\.rate: is no key of a profile"),
        ("data: {root: {choices: [a, b]}}", "cannot be varied"),
        ("seed: {low: 1, high: 5}", "cannot be varied"),
        ("augmentation: {low: 1, high: 2}", "give choices"),
        ("optimizer: {lr: 3}", "must be a mapping"),
        ("optimizer: {lr: {low: a, high: 2}}", "valid number"),
    ],
)
def test_faults_are_said_with_their_line(tmp_path: Path, profile: Profile, text: str, fault: str) -> None:
    with pytest.raises(ProfileError, match=fault):
        space(tmp_path, text, profile)
