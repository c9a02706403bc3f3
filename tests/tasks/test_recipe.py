"""Which fixed profile `auto` becomes, with the devices and weights of other machines."""

from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants

from docclf_cli.errors import RemoteError
from docclf_cli.models import sources
from docclf_cli.profile.load import load_profile
from docclf_cli.tasks import recipe
from docclf_cli.tasks.recipe import choose_recipe, expected_minutes, require_weights

GIB = 2**30
CONVNEXT, LITE = "convnext_tiny", "tf_efficientnet_lite0"


def machine(
    monkeypatch: pytest.MonkeyPatch, *, gpu: int | None = None, hub: tuple[str, ...] = (), package: bool
) -> list[str]:
    """A machine with a GPU of so many GiB, a hub with some models, and perhaps the weights package; what the hub was asked."""
    asked: list[str] = []

    def origin(name: str) -> str:
        asked.append(name)
        if name not in hub:
            raise RemoteError(f"the pretrained weights of {name} cannot be fetched: no answer")
        return f"timm/{name}"

    device = torch.device("cpu" if gpu is None else "cuda")
    monkeypatch.setattr(recipe, "resolve_device", lambda name: device)
    about = SimpleNamespace(name="A GPU", total_memory=(gpu or 0) * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: about)
    monkeypatch.setattr(sources, "hub_origin", origin)
    held = SimpleNamespace(origin="a package")
    monkeypatch.setattr(sources, "find_packaged", lambda name: held if package and name == LITE else None)
    return asked


@pytest.mark.parametrize(
    ("gpu", "hub", "package", "profile", "asked"),
    [
        (80, (CONVNEXT, LITE), True, "config", [CONVNEXT]),
        (80, (), True, "laptop", [CONVNEXT]),
        (80, (), False, "scratch", [CONVNEXT]),
        (4, (CONVNEXT, LITE), True, "laptop", []),
        (None, (CONVNEXT, LITE), True, "laptop", []),
        (None, (CONVNEXT, LITE), False, "laptop", [LITE]),
        (None, (), True, "laptop", []),
        (None, (), False, "scratch", [LITE]),
    ],
)
def test_the_recipe_fits_the_machine(
    monkeypatch: pytest.MonkeyPatch,
    gpu: int | None,
    hub: tuple[str, ...],
    package: bool,
    profile: str,
    asked: list[str],
) -> None:
    said = machine(monkeypatch, gpu=gpu, hub=hub, package=package)
    found = choose_recipe(load_profile("auto"))
    assert (found.profile, said) == (profile, asked)
    assert ("a GPU (A GPU" in found.reason) == (gpu is not None)


def test_what_was_asked_for_decides_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = machine(monkeypatch, gpu=80, hub=(CONVNEXT,), package=False)
    assert choose_recipe(load_profile("auto", options={"model.pretrained": False})).profile == "scratch"
    assert choose_recipe(load_profile("auto", options={"model": "vit"})).profile == "config"
    assert choose_recipe(load_profile("auto", sets=["model.checkpoint_path=x.pth"])).profile == "config"
    assert asked == []


def test_without_the_package_the_hint_is_to_install_it_or_to_start_from_scratch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch, package=False)
    with pytest.raises(RemoteError) as caught:
        require_weights(load_profile("laptop").profile, "my pages")
    assert caught.value.hint == (
        "from scratch: docclf train 'my pages' --profile scratch; with weights: pip install 'docclf[offline-weights]', "
        "then docclf train 'my pages' --profile laptop"
    )
    assert require_weights(load_profile("scratch").profile, "x") == ""


def test_a_profile_that_has_its_weights_in_a_file_asks_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    profile = load_profile("config", options={"model.checkpoint_path": __file__}).profile
    assert require_weights(profile, "x") == __file__


def test_more_pages_and_epochs_take_longer() -> None:
    profile = load_profile("scratch", options={"runtime.device": "cpu"}).profile
    few, many = (expected_minutes(profile, 9, pages, pages // 4) for pages in (400, 4000))
    assert 0.5 < few < many
    assert expected_minutes(profile, 9, 400, 100, fits=3) > 2 * few
    short = profile.model_copy(update={"train": profile.train.model_copy(update={"max_steps": 3})})
    assert expected_minutes(short, 9, 400, 100) < few
