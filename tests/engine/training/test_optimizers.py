import pytest
import timm
import torch

from docclf_cli.engine.training.optimizers import OPTIMIZERS, build_optimizer, param_groups
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import OptimizerConfig


def placed(model: torch.nn.Module, config: OptimizerConfig) -> dict[str, dict[str, float]]:
    """Learning-rate scale and weight decay of each parameter, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group for group in param_groups(model, config) for p in group["params"]}


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet", "test_efficientnet", "test_vit"])
def test_every_parameter_is_in_one_group_and_only_matrices_decay(name: str) -> None:
    model = timm.create_model(name, num_classes=5)
    groups = param_groups(model, OptimizerConfig(weight_decay=0.3))
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(id(p) for p in model.parameters())
    exempt = {"pos_embed", "cls_token", "reg_token"}
    for parameter_name, group in placed(model, OptimizerConfig(weight_decay=0.3)).items():
        is_matrix = model.get_parameter(parameter_name).ndim > 1 and parameter_name not in exempt
        assert group["weight_decay"] == (0.3 if is_matrix else 0.0), parameter_name


def test_layers_towards_the_input_learn_more_slowly() -> None:
    model = timm.create_model("test_vit", num_classes=5)
    scales = {name: group["lr_scale"] for name, group in placed(model, OptimizerConfig(layer_decay=0.5)).items()}
    depth = len(model.blocks)
    assert scales["head.weight"] == 1.0
    assert scales[f"blocks.{depth - 1}.mlp.fc1.weight"] < 1.0
    for block in range(1, depth):
        assert scales[f"blocks.{block - 1}.mlp.fc1.weight"] == scales[f"blocks.{block}.mlp.fc1.weight"] / 2
    assert scales["patch_embed.proj.weight"] == min(scales.values())


def test_the_head_has_a_rate_of_its_own() -> None:
    model = timm.create_model("test_convnext", num_classes=5)
    config = OptimizerConfig(lr=1e-3, head_lr=1e-2, layer_decay=0.5)
    for name, group in placed(model, config).items():
        assert (group["lr_scale"] == pytest.approx(10.0)) == name.startswith("head.fc"), name
        assert group["lr"] == pytest.approx(1e-3 * group["lr_scale"])


def test_equal_rates_and_decays_share_a_group() -> None:
    model = timm.create_model("test_convnext", num_classes=5)
    assert len(param_groups(model, OptimizerConfig())) == 2


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_parameters_reach_the_optimizer(name: str) -> None:
    params = {"momentum": 0.5, "nesterov": False} if name == "sgd" else {"betas": [0.8, 0.9], "eps": 1e-6}
    optimizer = build_optimizer(OptimizerConfig(name=name, params=params), timm.create_model("test_resnet"))
    for key, value in params.items():
        assert optimizer.param_groups[0][key] == (tuple(value) if isinstance(value, list) else value)


def test_first_step_of_each_by_hand() -> None:
    class One(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([[2.0]]))

        def get_classifier(self) -> torch.nn.Module:
            return torch.nn.Identity()

    expected = {
        "adam": 2.0 - 0.1,  # the first step of Adam is lr, whatever the gradient
        "adamw": 2.0 * (1 - 0.1 * 0.5) - 0.1,
        "sgd": 2.0 - 0.1 * (4.0 + 0.5 * 2.0) * 1.9,  # Nesterov: gradient + 0.9 x momentum buffer
    }
    assert set(expected) == set(OPTIMIZERS.names())
    for name, value in expected.items():
        model = One()
        optimizer = build_optimizer(OptimizerConfig(name=name, lr=0.1, weight_decay=0.5), model)
        model.weight.square().sum().backward()
        optimizer.step()
        assert model.weight.item() == pytest.approx(value), name


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(InputError, match="nesterov needs momentum"):
        build_optimizer(OptimizerConfig(name="sgd", params={"momentum": 0.0}), timm.create_model("test_resnet"))
