import copy
import logging
import math
from pathlib import Path

import pytest
import timm
import torch
from torch.nn import functional as F

from docclf_cli.engine.training.optimizers import param_groups
from docclf_cli.errors import InputError
from docclf_cli.models.factory import ALIASES, create_model, pretrained_stats, resolve_name
from docclf_cli.profile.schema import ModelConfig, OptimizerConfig

# The small test relative of each family that the groups of configs/model name.
RELATIVES = ("test_resnet", "test_efficientnet", "test_vit", "test_convnext")
CONVOLUTIONAL = ("test_resnet", "test_efficientnet", "test_convnext", "test_nfnet", "test_byobnet")
IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 1])


def config(name: str, **keys: object) -> ModelConfig:
    return ModelConfig(name=name, model_name=name, pretrained=False, **keys)


def step(model: torch.nn.Module) -> float:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    loss = F.cross_entropy(model(IMAGES), TARGETS)
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("name", RELATIVES)
def test_each_family_learns_its_batch(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(config(name), 3, image_size=64)
    assert model(IMAGES).shape == (4, 3)
    losses = [step(model) for _ in range(12)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", RELATIVES)
def test_a_new_classifier_over_learned_features_prefers_no_class(name: str, tmp_path: Path) -> None:
    torch.save(create_model(config(name), 5, image_size=64).state_dict(), tmp_path / "five.pth")
    model = create_model(config(name, checkpoint_path=str(tmp_path / "five.pth")), 3, image_size=64).eval()
    assert F.cross_entropy(model(IMAGES), TARGETS).item() == pytest.approx(math.log(3), abs=0.1)
    kept = create_model(config(name, checkpoint_path=str(tmp_path / "five.pth")), 5, image_size=64)
    saved = torch.load(tmp_path / "five.pth", weights_only=True)
    assert all(torch.equal(value, saved[key]) for key, value in kept.state_dict().items())


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_are_models_of_timm(alias: str) -> None:
    assert timm.is_model(resolve_name(alias))


@pytest.mark.parametrize(
    ("name", "close"),
    [("convnext_tinny", "convnext_tiny"), ("resnet50.a1_in1kk", "resnet50.a1_in1k"), ("efficientnett", "efficientnet")],
)
def test_an_unknown_model_is_named_with_the_closest(name: str, close: str) -> None:
    with pytest.raises(InputError, match=f"unknown model '{name}', did you mean '{close}'"):
        create_model(config(name), 3)


def test_a_transformer_takes_the_image_size() -> None:
    model = create_model(config("test_vit"), 3, image_size=96)
    assert model(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


def test_dropout_and_stochastic_depth_reach_the_model() -> None:
    model = create_model(config("test_convnext", dropout_rate=0.25, drop_path_rate=0.4), 3)
    assert model.head.drop.p == 0.25
    rates = [m.drop_prob for m in model.modules() if isinstance(m, timm.layers.DropPath)]
    assert max(rates) == pytest.approx(0.4)


def test_what_timm_cannot_build_is_said() -> None:
    with pytest.raises(InputError, match=r"timm cannot build vgg11 with .*drop_path_rate=0.1"):
        create_model(config("vgg11", drop_path_rate=0.1), 3)


def test_a_model_without_a_classifier_is_refused() -> None:
    with pytest.raises(InputError, match="qwen3_vit_88m_enc has no classifier"):
        create_model(config("qwen3_vit_88m_enc"), 3)


def test_starting_from_random_weights_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "docclf"):
        create_model(config("test_resnet"), 3)
    assert "test_resnet: weights from its random initialisation" in caplog.text


def test_pretrained_stats_are_those_of_the_weights() -> None:
    assert pretrained_stats(config("efficientnet_lite0")) == ((0.5,) * 3, (0.5,) * 3, "bicubic")
    assert pretrained_stats(config("convnext"))[0] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_attention_starts_as_the_model_without_it(name: str) -> None:
    torch.manual_seed(0)
    plain = create_model(config(name), 3).eval()
    attending = create_model(config(name, use_attention=True, attention_dim=96), 3).eval()
    attending.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(attending(IMAGES), plain(IMAGES))


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_attention_learns(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(config(name, use_attention=True, attention_dim=32), 3)
    before = copy.deepcopy(model.feature_attention.state_dict())
    for _ in range(3):  # the inner layers wait until the output projection has left zero
        step(model)
    moved = {key: not torch.equal(value, before[key]) for key, value in model.feature_attention.state_dict().items()}
    assert all(moved.values()), moved


def test_attention_lets_positions_see_each_other() -> None:
    torch.manual_seed(0)
    block = create_model(config("test_resnet", use_attention=True), 3).feature_attention.eval()
    torch.nn.init.normal_(block.out.weight)
    features = torch.randn(1, block.norm.normalized_shape[0], 2, 3)
    changed = features.clone()
    changed[..., 1, 2] = torch.randn(features.shape[1])
    assert not torch.allclose(block(features)[..., 0, 0], block(changed)[..., 0, 0])


def test_attention_by_hand() -> None:
    """One head: softmax(q k / sqrt(d)) v between the positions, written out."""
    torch.manual_seed(0)
    block = create_model(config("test_resnet", use_attention=True, attention_dim=8), 3).feature_attention
    torch.nn.init.normal_(block.out.weight)
    features = torch.randn(2, block.norm.normalized_shape[0], 3, 2)
    tokens = features.permute(0, 2, 3, 1).reshape(2, 6, -1)
    query, key, value = block.qkv(block.norm(tokens)).chunk(3, dim=2)
    mixed = (query @ key.transpose(1, 2) / 8**0.5).softmax(dim=2) @ value
    expected = tokens + block.out(mixed)
    torch.testing.assert_close(block(features).permute(0, 2, 3, 1).reshape(2, 6, -1), expected)


@pytest.mark.parametrize("name", ["test_vit", "test_mambaout", "swin_tiny_patch4_window7_224"])
def test_attention_is_refused_where_there_is_no_feature_map(name: str) -> None:
    with pytest.raises(InputError, match=f"use_attention needs a convolutional feature map, and {name} has none"):
        create_model(config(name, use_attention=True), 3)


def test_a_copy_of_an_attending_model_has_weights_of_its_own() -> None:
    """The moving average of the weights is such a copy."""
    model = create_model(config("test_convnext", use_attention=True), 3).eval()
    copied = copy.deepcopy(model)
    before = copied(IMAGES)
    with torch.no_grad():
        model.stem[0].weight.add_(1.0)
        model.feature_attention.out.bias.add_(1.0)
    assert torch.equal(copied(IMAGES), before)
    assert not torch.equal(model(IMAGES), before)


def test_attention_learns_at_the_rate_of_the_head() -> None:
    model = create_model(config("test_convnext", use_attention=True), 3)
    groups = param_groups(model, OptimizerConfig(layer_decay=0.5))
    scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert scales[id(model.feature_attention.qkv.weight)] == scales[id(model.head.fc.weight)] == 1.0
    assert scales[id(model.stem[0].weight)] < 0.5
