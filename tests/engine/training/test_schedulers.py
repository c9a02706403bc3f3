import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.engine.training.schedulers import SCHEDULERS, Schedule, ScheduleTotals, build_schedule
from docclf_cli.errors import InputError
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import SchedulerConfig

TOTALS = ScheduleTotals(base_lr=0.1, epochs=12, steps_per_epoch=10)
lrs = torch.optim.lr_scheduler


def schedule(name: str, totals: ScheduleTotals = TOTALS, **params: object) -> Schedule:
    return build_schedule(SchedulerConfig(name=name, params=params), totals)


def curve(built: Schedule, count: int) -> list[float]:
    return [built.lr_at(position) for position in range(count)]


def torch_curve(make, count: int) -> list[float]:
    """The learning rates of a torch scheduler, position by position."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=TOTALS.base_lr)
    scheduler, rates = make(optimizer), []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("cosine", "epoch"),
        ("step", "epoch"),
        ("exponential", "epoch"),
        ("plateau", "epoch"),
        ("warmup_cosine", "step"),
        ("warmup_linear", "step"),
        ("cosine_warm_restart", "epoch"),
    ],
)
def test_each_says_its_unit(name: str, unit: str) -> None:
    assert SCHEDULERS.get(name).facts["unit"] == schedule(name).unit == unit


def test_cosine_by_hand() -> None:
    assert curve(schedule("cosine", T_max=4, eta_min=0.02), 5) == pytest.approx(
        [0.1, 0.02 + 0.04 * (1 + math.sqrt(0.5)), 0.06, 0.02 + 0.04 * (1 - math.sqrt(0.5)), 0.02]
    )


def test_cosine_takes_the_length_of_the_run_and_holds_its_end() -> None:
    assert curve(schedule("cosine"), 13) == pytest.approx(torch_curve(lambda o: lrs.CosineAnnealingLR(o, 12), 13))
    assert curve(schedule("cosine", T_max=5, eta_min=0.01), 12)[5:] == pytest.approx([0.01] * 7)


def test_step() -> None:
    rates = curve(schedule("step", step_size=5, gamma=0.5), 12)
    assert rates == pytest.approx([0.1] * 5 + [0.05] * 5 + [0.025] * 2)
    assert rates == pytest.approx(torch_curve(lambda o: lrs.StepLR(o, 5, 0.5), 12))


def test_step_falls_twice_in_a_run_of_any_length_unless_told_otherwise() -> None:
    assert curve(schedule("step"), 12) == pytest.approx([0.1] * 4 + [0.01] * 4 + [0.001] * 4)


def test_exponential() -> None:
    rates = curve(schedule("exponential"), 12)
    assert rates == pytest.approx([0.1 * 0.95**epoch for epoch in range(12)])
    assert rates == pytest.approx(torch_curve(lambda o: lrs.ExponentialLR(o, 0.95), 12))


@given(warmup=st.integers(0, 50), end=st.integers(51, 130), low=st.floats(0, 0.1), start=st.floats(0, 0.1))
def test_warmups_follow_their_formulas_at_every_step(warmup: int, end: int, low: float, start: float) -> None:
    params = {"warmup_steps": warmup, "max_steps": end, "min_lr": low, "warmup_start_lr": start}
    cosine, linear = schedule("warmup_cosine", **params), schedule("warmup_linear", **params)
    for step in range(TOTALS.steps + 20):
        progress = min((step - warmup) / (end - warmup), 1)
        if step < warmup:
            expected = [start + (0.1 - start) * step / warmup] * 2
        else:
            expected = [low + (0.1 - low) * 0.5 * (1 + math.cos(math.pi * progress)), 0.1 + (low - 0.1) * progress]
        assert [cosine.lr_at(step), linear.lr_at(step)] == pytest.approx(expected)


def test_warmups_by_hand() -> None:
    linear = schedule("warmup_linear", warmup_steps=2, max_steps=6, min_lr=0.02)
    assert curve(linear, 8) == pytest.approx([0, 0.05, 0.1, 0.08, 0.06, 0.04, 0.02, 0.02])


def test_a_warmup_left_to_itself_is_five_percent_of_the_run_and_ends_with_it() -> None:
    for name in ("warmup_cosine", "warmup_linear"):
        rates = curve(schedule(name), TOTALS.steps + 1)
        assert rates.index(max(rates)) == 6
        assert rates[0] == rates[-1] == 0


def test_a_warmup_that_outlasts_the_run_is_honoured_and_said(caplog: pytest.LogCaptureFixture) -> None:
    built = schedule("warmup_cosine", warmup_steps=1000, max_steps=10000)
    assert built.lr_at(100) == pytest.approx(0.01)
    assert "warm-up of 1000 steps outlasts the run of 120" in caplog.text


def test_a_warmup_must_end_before_the_schedule_does() -> None:
    with pytest.raises(InputError, match=r"warmup_steps \(50\) must be less than max_steps \(50\)"):
        schedule("warmup_linear", warmup_steps=50, max_steps=50)


@pytest.mark.parametrize(("first", "growth"), [(3, 1), (2, 2), (10, 2), (1, 3)])
def test_warm_restarts_keep_cycling(first: int, growth: int) -> None:
    built = schedule("cosine_warm_restart", T_0=first, T_mult=growth, eta_min=0.01)
    expected = torch_curve(lambda o: lrs.CosineAnnealingWarmRestarts(o, first, growth, 0.01), 45)
    assert curve(built, 45) == pytest.approx(expected)


def test_cycles_end_where_the_next_begins() -> None:
    built = schedule("cosine_warm_restart", T_0=2, T_mult=2)
    assert [epoch for epoch in range(31) if built.ends_cycle(epoch)] == [2, 6, 14, 30]
    assert not any(schedule("cosine").ends_cycle(epoch) for epoch in range(20))


metrics = st.lists(st.floats(-2, 2, allow_nan=False).map(lambda x: round(x, 2)) | st.just(math.nan), max_size=40)


@given(metrics, st.sampled_from(["min", "max"]), st.integers(0, 3), st.floats(0, 0.2))
def test_plateau_follows_the_recurrence_of_torch(
    values: list[float], mode: str, patience: int, threshold: float
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = lrs.ReduceLROnPlateau(optimizer, mode, 0.5, patience, threshold=threshold, min_lr=0.004, eps=0)
    ours = schedule("plateau", mode=mode, factor=0.5, patience=patience, threshold=threshold, min_lr=0.004)
    for epoch, value in enumerate(values):
        theirs.step(value)
        ours.observe({"val_loss": value})
        assert ours.lr_at(epoch + 1) == optimizer.param_groups[0]["lr"]


def test_plateau_by_hand() -> None:
    built = schedule("plateau", patience=1, factor=0.1)
    rates = []
    for loss in (1.0, 0.5, 0.6, 0.6, 0.6, 0.6, 0.4):
        built.observe({"val_loss": loss})
        rates.append(built.lr_at(0))
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_plateau_wants_scores_to_rise_and_losses_to_fall() -> None:
    score = schedule("plateau", monitor="f1_macro", patience=0)
    for value in (0.5, 0.6, 0.7):
        score.observe({"f1_macro": value})
    assert score.lr_at(0) == 0.1
    score.observe({"f1_macro": 0.6})
    assert score.lr_at(0) == pytest.approx(0.01)


def test_plateau_goes_on_from_its_state() -> None:
    values = [1.0, 1.1, 1.2, 0.9, 1.0, 1.1, 1.2]
    whole, first, second = (schedule("plateau", patience=1) for _ in range(3))
    for value in values:
        whole.observe({"val_loss": value})
    for value in values[:3]:
        first.observe({"val_loss": value})
    second.load_state_dict(first.state_dict())
    for value in values[3:]:
        second.observe({"val_loss": value})
    assert second.state_dict() == whole.state_dict()


def test_plateau_names_a_figure_that_is_not_measured() -> None:
    with pytest.raises(InputError, match="'f1' is not available"):
        schedule("plateau", monitor="f1").observe({"f1_macro": 0.5})


def test_plateau_accepts_verbose_and_says_that_it_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    schedule("plateau", mode="min", factor=0.1, patience=10, verbose=False)
    assert "verbose has no effect" in caplog.text


@pytest.mark.parametrize("name", SCHEDULERS.names())
def test_position_alone_decides(name: str) -> None:
    built = schedule(name)
    forwards = curve(built, 30)
    assert [built.lr_at(position) for position in reversed(range(30))] == forwards[::-1]
    assert built.foreseeable == (name != "plateau")


@pytest.mark.parametrize("name", SCHEDULERS.names())
def test_a_run_of_one_step_has_a_schedule(name: str) -> None:
    built = schedule(name, ScheduleTotals(0.1, 1, 1))
    assert built.lr_at(0) == 0.1


def test_parameters_are_checked() -> None:
    assert [key for key, _ in SCHEDULERS.get("step").faults({"step_size": 0, "gama": 0.1})] == ["step_size", "gama"]
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        schedule("cosin")


@pytest.mark.parametrize("name", ["warmup_cosine", "warmup_linear", "cosine"])
def test_a_run_that_is_cut_short_has_its_whole_schedule(name: str) -> None:
    options = {"train.epochs": 30, "train.max_steps": 120, "optimizer.lr": 0.1, "scheduler": name}
    profile = load_profile("config", options=options).profile
    totals = ScheduleTotals.of_run(profile, 40)
    assert (totals.steps, totals.epochs) == (120, 3)
    built = build_schedule(profile.scheduler, totals)
    end = totals.steps if built.unit == "step" else totals.epochs
    assert built.lr_at(end) == pytest.approx(0, abs=1e-9)
    assert max(curve(built, end)) == pytest.approx(0.1)


def test_a_run_that_ends_within_an_epoch_has_begun_it() -> None:
    profile = load_profile("config", options={"train.epochs": 30, "train.max_steps": 121}).profile
    totals = ScheduleTotals.of_run(profile, 40)
    assert (totals.steps, totals.epochs) == (121, 4)
    uncut = load_profile("config", options={"train.epochs": 3, "train.max_steps": 500}).profile
    assert (ScheduleTotals.of_run(uncut, 40).steps, ScheduleTotals.of_run(uncut, 40).epochs) == (120, 3)
