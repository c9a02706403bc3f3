"""Paths of a profile, absolute and as typed."""

from pathlib import Path

import pytest

from docclf_cli.profile.paths import absolute, absolute_paths, typed_paths
from docclf_cli.profile.schema import DataConfig, EnsembleConfig, MemberConfig, ModelConfig, Profile


def test_every_path_is_absolute_and_words_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    profile = Profile(
        data=DataConfig(root="data/../pages", groups="~/groups.csv", relabel="/r.csv", val="val.csv", images="images"),
        model=ModelConfig(checkpoint_path="weights.pth"),
        ensemble=EnsembleConfig(
            models=(MemberConfig(run="runs/a"), MemberConfig(checkpoint_path="s3://bucket/b.ckpt"))
        ),
    )
    found = absolute_paths(profile)
    data = found.data
    assert (data.root, data.groups, data.relabel) == (f"{tmp_path}/pages", "/home/someone/groups.csv", "/r.csv")
    assert (data.val, data.images, data.cache) == (f"{tmp_path}/val.csv", f"{tmp_path}/images", "auto")
    assert found.model.checkpoint_path == f"{tmp_path}/weights.pth"
    assert found.ensemble.models[0].run == f"{tmp_path}/runs/a"
    assert found.ensemble.models[1].checkpoint_path == "s3://bucket/b.ckpt"
    assert absolute_paths(found) == found
    assert typed_paths(found) == {}
    typed = typed_paths(profile)
    assert typed[f"{tmp_path}/pages"] == "data/../pages"
    assert sorted(typed.values()) == ["data/../pages", "images", "runs/a", "val.csv", "weights.pth", "~/groups.csv"]


def test_samples_are_no_path_and_links_stay(tmp_path: Path) -> None:
    assert absolute_paths(Profile(data=DataConfig(root="samples"))).data.root == "samples"
    (tmp_path / "link").symlink_to(tmp_path)
    assert absolute(str(tmp_path / "link" / "x")) == f"{tmp_path}/link/x"
