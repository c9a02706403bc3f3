"""Every file below configs/ loads and fits the registries."""

from pathlib import Path

import pytest

from docclf_cli.commands._load import load_checked
from docclf_cli.models.factory import resolve_name
from docclf_cli.profile.load import GROUPS, load_profile

CONFIGS = Path(__file__).parent.parent / "configs"
GROUP_FILES = sorted(CONFIGS.glob("*/*.yaml"))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_profiles_load(path: Path) -> None:
    load_checked(path.stem, {}, ())


@pytest.mark.parametrize("path", GROUP_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_group_files_load(path: Path) -> None:
    assert path.parent.name in GROUPS
    profile = load_checked("config", {path.parent.name: path.stem}, ()).profile
    assert getattr(profile, path.parent.name).name == path.stem
    if path.parent.name == "model":
        resolve_name(profile.model.model_name)


def test_config_spells_out_the_defaults(tmp_path: Path) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text("seed: 0\n")
    assert load_profile(str(bare)).profile == load_profile("config").profile


def test_every_registered_block_has_its_group_file() -> None:
    from docclf_cli.training.losses import LOSSES
    from docclf_cli.training.optimizers import OPTIMIZERS
    from docclf_cli.training.schedulers import SCHEDULERS

    for section, registry in (("loss", LOSSES), ("optimizer", OPTIMIZERS), ("scheduler", SCHEDULERS)):
        assert {path.stem for path in CONFIGS.glob(f"{section}/*.yaml")} == set(registry.names())
