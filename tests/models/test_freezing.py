"""What of a network stays as it is in training: its first stages, the statistics of its batch norms."""

import copy
from pathlib import Path

import pytest
import timm
import torch
from tiny import draw_pages, no_plots, stop_when, tiny_profile

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.engine.runtime.folded_norms import folded, pairs_to_fold
from docclf_cli.errors import InputError
from docclf_cli.events import Event, StepDone
from docclf_cli.models.factory import create_model
from docclf_cli.models.freezing import Freezing, first_stages, set_mode
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import ModelConfig
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("test_resnet", "layer2.0.conv1.weight"),
        ("test_efficientnet", "blocks.2.0.conv_exp.weight"),
        ("test_mambaout", "stages.1.downsample.norm.weight"),
        ("test_vit", "cls_token"),
        ("tf_efficientnet_lite0", "blocks.2.0.conv_pw.weight"),
        ("mobilenetv3_small_100", "blocks.1.0.conv_pw.weight"),
    ],
)
def test_stages_that_see_every_fourth_pixel_are_frozen_by_themselves(name: str, first: str) -> None:
    model = timm.create_model(name, num_classes=5)
    set_mode(model, Freezing(stages="auto"))
    assert next(name for name, parameter in model.named_parameters() if parameter.requires_grad) == first
    before = copy.deepcopy(model.state_dict())
    torch.nn.functional.cross_entropy(model(torch.randn(4, 3, 160, 160)), torch.arange(4)).backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
    frozen = {id(module) for module in first_stages(model, "auto")}
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert torch.equal(module.running_mean, before[f"{path}.running_mean"]) == (id(module) in frozen), path  # type: ignore[arg-type]
    set_mode(model, Freezing())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


def test_stages_are_counted_from_the_stem() -> None:
    model = timm.create_model("test_resnet", num_classes=5)
    assert first_stages(model, 0) == []
    set_mode(model, Freezing(stages=1))
    assert {name.split(".")[0] for name, one in model.named_parameters() if not one.requires_grad} == {"conv1", "bn1"}
    set_mode(model, Freezing(stages=5))
    assert {name for name, one in model.named_parameters() if one.requires_grad} == {"fc.weight", "fc.bias"}
    with pytest.raises(InputError, match=r"train\.frozen_stages: 6 would leave nothing to train, .* has 6 stages"):
        set_mode(model, Freezing(stages=6))


def test_only_norms_that_are_frozen_are_folded() -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=5)
    model.train()(torch.randn(4, 3, 64, 64) * 2 + 1)
    pairs = pairs_to_fold(model, 64, Runtime(torch.device("cpu")))
    set_mode(model, Freezing(stages=2))

    def step(network: torch.nn.Module) -> dict[str, torch.Tensor]:
        logits = network(torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
        torch.nn.functional.cross_entropy(logits, torch.arange(6) % 5).backward()
        grads = {name: one.grad for name, one in network.named_parameters() if one.grad is not None}
        return {"logits": logits.detach(), **grads}

    expected = step(copy.deepcopy(model))
    before = model.layer1[0].bn1.running_mean.clone(), model.layer2[0].bn1.running_mean.clone()
    with folded(pairs):
        found = step(model)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        assert torch.allclose(found[key], gradient, rtol=1e-3, atol=1e-5), key
    assert torch.equal(model.layer1[0].bn1.running_mean, before[0])
    assert not torch.equal(model.layer2[0].bn1.running_mean, before[1])


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 10)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights with statistics of its own."""
    torch.manual_seed(0)
    model = create_model(ModelConfig(name="test_resnet", model_name="test_resnet", pretrained=False), 3, image_size=32)
    model.train()(torch.randn(8, 3, 32, 32))
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize(
    ("key", "value", "stays"),
    [
        ("train__batch_norm", "frozen", STATISTICS),
        ("train__frozen_stages", 2, ("conv1.", "bn1.", "layer1.")),
    ],
)
@pytest.mark.usefixtures("no_plots")
def test_what_is_frozen_stays_and_the_rest_learns(
    pages: Path, weights: Path, tmp_path: Path, key: str, value: str | int, stays: tuple[str, ...]
) -> None:
    options: dict[str, object] = {"model__checkpoint_path": str(weights), key: value}
    result = train(tiny_profile(pages, tmp_path / "runs", name="whole", **options))
    before, after = torch.load(weights), Checkpoint.load(result.run / "best.ckpt").model
    kept = [name for name in before if name.endswith(stays) or name.startswith(stays)]
    assert kept
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert not torch.equal(before["layer2.0.conv1.weight"], after["layer2.0.conv1.weight"])
    assert result.val.metrics["accuracy"].value > 0.5  # of three classes

    def moment(event: Event) -> bool:
        return isinstance(event, StepDone) and event.step == 6

    folder = stop_when(tiny_profile(pages, tmp_path / "runs", name="cut", **options), moment)
    again = train(load_profile(str(folder / "profile.yaml")).profile, resume=folder)
    resumed = Checkpoint.load(again.run / "best.ckpt").model
    assert all(torch.equal(resumed[name], tensor) for name, tensor in after.items())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"train__batch_norm": "frozen"}, r"train\.batch_norm: frozen keeps the statistics of pretrained weights"),
        ({"train__frozen_stages": 2}, r"train\.frozen_stages: 2 keeps pretrained weights, and this run has none"),
    ],
)
def test_what_nothing_has_learned_cannot_be_kept(
    pages: Path, tmp_path: Path, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        train(tiny_profile(pages, tmp_path / "runs", **options))


@pytest.mark.usefixtures("no_plots")
def test_a_network_that_begins_at_random_freezes_nothing_by_itself(pages: Path, tmp_path: Path) -> None:
    result = train(tiny_profile(pages, tmp_path / "runs", train__frozen_stages="auto", train__epochs=1))
    stored = load_profile(str(result.run / "profile.yaml")).profile
    assert stored.train.frozen_stages == 0
