import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from docclf_cli.engine.training.losses import LOSSES, Loss, build_loss, resolve_loss
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import LossConfig, ModelConfig

COUNTS = (60, 30, 10)
PLAIN = ModelConfig()
FOCAL_MODEL = ModelConfig(use_focal_loss=True, alpha=0.5, gamma=3.0)


def loss(name: str, **params: object) -> Loss:
    return build_loss(LossConfig(name=name, params=params), PLAIN, COUNTS)


def batch(seed: int = 0, n: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, 3, generator=generator)
    soft = torch.rand(n, 3, generator=generator)
    return logits, torch.randint(0, 3, (n,), generator=generator), soft / soft.sum(1, keepdim=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_cross_entropy_is_that_of_torch(smoothing: float, weights: list[float] | None) -> None:
    logits, hard, soft = batch()
    ours = loss("cross_entropy", label_smoothing=smoothing, class_weights=weights)
    theirs = {"weight": None if weights is None else torch.tensor(weights), "label_smoothing": smoothing}
    torch.testing.assert_close(ours(logits, hard), F.cross_entropy(logits, hard, reduction="none", **theirs))
    torch.testing.assert_close(ours(logits, soft), F.cross_entropy(logits, soft, reduction="none", **theirs))
    torch.testing.assert_close(ours.mean(logits, hard), F.cross_entropy(logits, hard, **theirs))


def test_focal_by_hand() -> None:
    logits = torch.tensor([[0.9, 0.1], [0.5, 0.5]], dtype=torch.float64).log()
    values = loss("focal", alpha=0.25, gamma=2.0)(logits, torch.tensor([0, 1]))
    expected = [-0.25 * 0.1**2 * math.log(0.9), -0.25 * 0.5**2 * math.log(0.5)]
    assert values.tolist() == pytest.approx(expected)


def test_focal_by_hand_with_a_mixed_target() -> None:
    logits = torch.tensor([[0.8, 0.2]]).log()
    value = loss("focal", alpha=2.0, gamma=1.0)(logits, torch.tensor([[0.7, 0.3]]))
    assert value.item() == pytest.approx(-2.0 * (0.7 * 0.2 * math.log(0.8) + 0.3 * 0.8 * math.log(0.2)))


@given(st.floats(0.1, 5), st.integers(0, 1000))
def test_focal_at_gamma_zero_is_alpha_times_cross_entropy(alpha: float, seed: int) -> None:
    logits, hard, soft = batch(seed)
    for targets in (hard, soft):
        torch.testing.assert_close(
            loss("focal", alpha=alpha, gamma=0.0)(logits, targets), alpha * loss("cross_entropy")(logits, targets)
        )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_a_certain_page_gives_finite_gradients(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss("focal", gamma=gamma)(logits, torch.tensor([0, 0])).sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES.names())
def test_hard_targets_are_soft_targets_with_one_class(name: str) -> None:
    logits, hard, _ = batch()
    built = loss(name, label_smoothing=0.1, class_weights="balanced")
    one_hot = F.one_hot(hard, 3).float()
    torch.testing.assert_close(built(logits, hard), built(logits, one_hot))
    torch.testing.assert_close(built.weights(hard), built.weights(one_hot))


def test_balanced_weights() -> None:
    weights = loss("cross_entropy", class_weights="balanced").weights(torch.tensor([0, 1, 2]))
    assert weights.tolist() == pytest.approx([100 / (3 * 60), 100 / (3 * 30), 100 / (3 * 10)])


def test_a_class_without_pages_weighs_nothing() -> None:
    config = LossConfig(name="cross_entropy", params={"class_weights": "balanced"})
    weights = build_loss(config, PLAIN, (30, 0, 10)).weights(torch.tensor([0, 1, 2]))
    assert weights.tolist() == pytest.approx([40 / 60, 0, 40 / 20])


def test_the_mean_over_parts_is_the_mean_over_the_whole() -> None:
    logits, hard, _ = batch(n=9)
    built = loss("cross_entropy", class_weights=[1.0, 3.0, 0.2])
    components = [
        (built(logits[rows], hard[rows]).sum(), built.weights(hard[rows]).sum()) for rows in (slice(0, 2), slice(2, 9))
    ]
    whole = sum(part for part, _ in components) / sum(weight for _, weight in components)
    torch.testing.assert_close(whole, built.mean(logits, hard))


def test_a_mixed_page_weighs_as_its_classes_do() -> None:
    built = loss("cross_entropy", class_weights=[1.0, 3.0, 0.0])
    assert built.weights(torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])).tolist() == [2.0, 0.0]


def test_weights_must_be_one_a_class() -> None:
    with pytest.raises(InputError, match="2 weights for 3 classes"):
        loss("cross_entropy", class_weights=[1.0, 2.0])


@pytest.mark.parametrize("weights", ["balancd", [1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [1.0, "a", 2.0], 3])
def test_weights_of_another_kind_are_refused(weights: object) -> None:
    ((key, text),) = LOSSES.get("focal").faults({"class_weights": weights})
    assert key == "class_weights"
    assert text.startswith("must be 'balanced' or a list")


@pytest.mark.parametrize(
    "named", [LossConfig(), LossConfig(name="focal"), LossConfig(name="focal", params={"gamma": 3.0})]
)
def test_the_model_section_can_ask_for_the_focal_loss(named: LossConfig) -> None:
    logits, hard, _ = batch()
    torch.testing.assert_close(
        build_loss(named, FOCAL_MODEL, COUNTS)(logits, hard), loss("focal", alpha=0.5, gamma=3.0)(logits, hard)
    )


def test_what_the_loss_section_adds_to_it_stays() -> None:
    resolved = resolve_loss(LossConfig(name="focal", params={"class_weights": "balanced"}), FOCAL_MODEL)
    assert resolved.params == {"class_weights": "balanced", "alpha": 0.5, "gamma": 3.0}


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (LossConfig(name="focal", params={"gamma": 2.0}), "loss.params.gamma is 2.0, and model.gamma"),
        (
            LossConfig(name="cross_entropy", params={"label_smoothing": 0.1}),
            "model.use_focal_loss asks for the focal loss",
        ),
    ],
)
def test_contradictions_are_refused(named: LossConfig, told: str) -> None:
    with pytest.raises(InputError, match=told):
        build_loss(named, FOCAL_MODEL, COUNTS)


def test_without_use_focal_loss_alpha_and_gamma_of_the_model_mean_nothing() -> None:
    named = LossConfig(name="focal", params={"gamma": 1.0})
    assert resolve_loss(named, ModelConfig(alpha=0.5, gamma=3.0)) is named
