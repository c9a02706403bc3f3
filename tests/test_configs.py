"""Every file below configs/ loads and fits the registries."""

from pathlib import Path

import pytest

from docclf_cli.commands._load import load_checked
from docclf_cli.models.factory import resolve_name
from docclf_cli.profile.groups import GROUPS
from docclf_cli.profile.layers import DEFAULT
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile

CONFIGS = Path(__file__).parent.parent / "configs"
GROUP_FILES = sorted(path for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "search_space")


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


def test_config_is_what_a_profile_leaves_out(tmp_path: Path) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text("seed: 0\n")
    assert load_profile(str(bare)).profile == load_profile("config").profile


def test_config_equals_the_schema() -> None:
    """Only the transforms of the default policy live in its file alone."""
    profile, schema = load_profile("config").profile.model_dump(), Profile().model_dump()
    assert profile["augmentation"].pop("transforms")
    assert not schema["augmentation"].pop("transforms")
    assert profile == schema


def test_config_spells_every_default_out() -> None:
    """It or the group files it names; `ensemble.enabled` has no effect, so it is not worth a line."""
    sources = load_profile("config").sources
    left_out = {key for key, source in sources.items() if source.kind == DEFAULT and key.split(".")[0] not in GROUPS}
    assert left_out == {"ensemble.enabled"}


def test_quickstart_needs_neither_a_download_nor_data_of_ones_own() -> None:
    profile = load_profile("quickstart").profile
    assert (profile.data.root, profile.model.pretrained) == ("samples", False)


def test_every_registered_block_has_its_group_file() -> None:
    from docclf_cli.engine.training.losses import LOSSES
    from docclf_cli.engine.training.optimizers import OPTIMIZERS
    from docclf_cli.engine.training.schedulers import SCHEDULERS

    for section, registry in (("loss", LOSSES), ("optimizer", OPTIMIZERS), ("scheduler", SCHEDULERS)):
        assert {path.stem for path in CONFIGS.glob(f"{section}/*.yaml")} == set(registry.names())
