"""Every scheduler with every optimizer and every loss takes steps, is stored as data, and goes on the same."""

import io
from itertools import product

import pytest
import timm
import torch

from docclf_cli.engine.training.job import moving_average
from docclf_cli.engine.training.losses import LOSSES, build_loss
from docclf_cli.engine.training.optimizers import OPTIMIZERS, build_optimizer
from docclf_cli.engine.training.schedulers import SCHEDULERS, ScheduleTotals, build_schedule
from docclf_cli.profile.schema import LossConfig, ModelConfig, OptimizerConfig, SchedulerConfig, TrainConfig

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 1])


class Training:
    def __init__(self, scheduler: str, optimizer: str, loss: str) -> None:
        torch.manual_seed(0)
        self.model = timm.create_model("test_resnet", num_classes=3)
        self.loss = build_loss(LossConfig(name=loss), ModelConfig(), (1, 2, 1))
        self.optimizer = build_optimizer(OptimizerConfig(name=optimizer, lr=0.01, layer_decay=0.9), self.model)
        self.schedule = build_schedule(SchedulerConfig(name=scheduler), ScheduleTotals(0.01, 3, 1))

    def step(self, position: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.lr_at(position) * group["lr_scale"]
        self.loss.mean(self.model(IMAGES), TARGETS).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.observe({"val_loss": 1.0})

    def components(self) -> dict[str, object]:
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}


@pytest.mark.parametrize(
    ("scheduler", "optimizer", "loss"), list(product(SCHEDULERS.names(), OPTIMIZERS.names(), LOSSES.names()))
)
def test_step_and_reload(scheduler: str, optimizer: str, loss: str) -> None:
    whole = Training(scheduler, optimizer, loss)
    start = whole.model.fc.weight.detach().clone()
    whole.step(0)
    stored = io.BytesIO()
    torch.save({name: part.state_dict() for name, part in whole.components().items()}, stored)
    whole.step(1)
    assert not torch.equal(start, whole.model.fc.weight)

    resumed = Training(scheduler, optimizer, loss)
    content = torch.load(io.BytesIO(stored.getvalue()), weights_only=True)
    for name, part in resumed.components().items():
        part.load_state_dict(content[name])
    resumed.step(1)
    for ours, theirs in zip(resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_moving_average_warms_up_as_its_key_says() -> None:
    average = moving_average(torch.nn.Linear(1, 1), 0.999)
    # After t steps the next one is step t, counted from 0.
    decays = {steps: average.get_decay(steps) for steps in (32, 1000, 31_622, 31_623)}
    assert decays == pytest.approx({steps: min(1 - steps ** (-2 / 3), 0.999) for steps in decays}, abs=1e-6)
    assert (decays[32] > 0.9, decays[1000] >= 0.99, decays[31_622] < 0.999, decays[31_623]) == (True, True, True, 0.999)
    text = TrainConfig.model_fields["ema"].description or ""
    assert all(part in text for part in ("t^(-2/3)", "32 steps", "1,000", "31,623"))
