"""What `auto` picks: the fastest sound numerics, within what was asked for, and without touching the run."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from docclf_cli.engine.inference.predictor import inference_runtime
from docclf_cli.engine.runtime import numerics
from docclf_cli.engine.runtime import numerics_benchmark as probe
from docclf_cli.engine.runtime.device import Numerics, resolve_runtime
from docclf_cli.engine.runtime.numerics import (
    Agreement,
    pages_to_compare,
    planned_pages,
    resolve_numerics,
)
from docclf_cli.engine.runtime.numerics_benchmark import Measured, Workload, fastest
from docclf_cli.models.factory import create_model
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import ModelConfig, Profile, RuntimeConfig
from docclf_cli.results.predictions import Predictions

FP32, FP32_LAST, BF16, BF16_LAST = (Numerics(name, last) for name in ("fp32", "bf16") for last in (False, True))
ALL = (FP32, FP32_LAST, BF16, BF16_LAST)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(numerics, "fast_precisions", lambda device: ("fp32", "bf16"))


def profile(**options: object) -> Profile:
    given = {
        "model": "test_resnet", "model.pretrained": False, "data.image_size": 32, "train.batch_size": 8,
        "runtime.compile": "off", "train.epochs": 2, **{key.replace("__", "."): value for key, value in options.items()},
    }  # fmt: skip
    return load_profile("config", options=given).profile


def workload(model: str = "test_resnet", pages: int = 10**6, training: bool = True) -> Workload:
    config = ModelConfig(name=model, model_name=model, pretrained=False)
    runtime = resolve_runtime(RuntimeConfig(device="cpu", threads=1))
    return Workload(lambda: create_model(config, 5, weights=False, image_size=32), runtime, 5, 32, 8, pages, training)


def play(
    monkeypatch: pytest.MonkeyPatch, times: dict[Numerics, float], unsound: Sequence[Numerics] = ()
) -> list[Numerics]:
    """Steps that take what `times` says; returns the list that they are noted in."""
    steps: list[Numerics] = []

    def seconds(bench: object, one: Numerics, pages: int) -> float:
        steps.append(one)
        return times[one] * pages

    monkeypatch.setattr(probe._Bench, "seconds", seconds)
    monkeypatch.setattr(probe._Bench, "sound", lambda bench, one: one not in unsound)
    return steps


def test_the_fastest_sound_numerics_are_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {FP32: 0.008, FP32_LAST: 0.006, BF16: 0.003, BF16_LAST: 0.002}
    play(monkeypatch, times)
    found = fastest(workload(), ALL)
    assert found == Measured("bf16", True, pytest.approx(4.0), pytest.approx(0.002))
    play(monkeypatch, times, unsound=[BF16_LAST])
    assert fastest(workload(), ALL).numerics == BF16  # type: ignore[union-attr]


def test_what_is_hardly_faster_does_not_replace_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, {FP32: 0.00205, FP32_LAST: 0.004, BF16: 0.002, BF16_LAST: 0.004})
    assert fastest(workload(), ALL).numerics == FP32  # type: ignore[union-attr]


def test_numerics_are_timed_for_as_long_as_they_may_win(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = play(monkeypatch, {FP32: 0.002, FP32_LAST: 0.0021, BF16: 0.003, BF16_LAST: 0.02})
    fastest(workload(), ALL)
    counts = {one: steps[2:].count(one) for one in ALL}  # the first two are the first look
    assert counts == {FP32: probe.STEPS, FP32_LAST: probe.STEPS, BF16: 3, BF16_LAST: 2}


def test_a_clear_winner_ends_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = play(monkeypatch, {FP32: 0.008, FP32_LAST: 0.006, BF16: 0.003, BF16_LAST: 0.002})
    fastest(workload(), ALL)
    assert steps.count(BF16_LAST) == 3


def test_one_disturbed_step_changes_no_pick(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {FP32: 0.008, FP32_LAST: 0.006, BF16: 0.004, BF16_LAST: 0.003}
    for disturbed in range(2, 2 + 4 * len(ALL)):
        steps = play(monkeypatch, times)
        calm = probe._Bench.seconds

        def seconds(
            bench: object,
            one: Numerics,
            pages: int,
            calm=calm,
            steps=steps,
            at=disturbed,  # type: ignore
        ) -> float:
            return calm(bench, one, pages) * (10.0 if len(steps) == at + 1 else 1.0)

        monkeypatch.setattr(probe._Bench, "seconds", seconds)
        assert fastest(workload(), ALL).numerics == BF16_LAST, disturbed  # type: ignore[union-attr]


def test_a_probe_ends_on_time_where_a_candidate_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    times = {FP32: 0.1, FP32_LAST: 0.1, BF16: 0.19, BF16_LAST: 0.19}

    def seconds(bench: object, one: Numerics, pages: int) -> float:
        nonlocal clock
        clock += 3 * times[one] * pages  # a machine that has become slower since the first look
        return times[one] * pages

    monkeypatch.setattr(probe._Bench, "seconds", seconds)
    monkeypatch.setattr(probe._Bench, "sound", lambda bench, one: True)
    monkeypatch.setattr(probe.time, "perf_counter", lambda: clock)
    assert fastest(workload(), ALL) is not None
    a_round = 3 * 8 * sum(times.values())
    assert clock < probe.MOST_SECONDS + a_round


@pytest.mark.parametrize(("pages", "step"), [(10**6, 0.05), (4000, 0.001), (10**5, 0.3)])
def test_a_probe_takes_its_share_at_most(monkeypatch: pytest.MonkeyPatch, pages: int, step: float) -> None:
    spent = 0.0

    def seconds(bench: object, one: Numerics, count: int) -> float:
        nonlocal spent
        spent += step * count
        return step * count

    monkeypatch.setattr(probe._Bench, "seconds", seconds)
    monkeypatch.setattr(probe._Bench, "sound", lambda bench, one: True)
    fastest(workload(pages=pages), ALL)
    first_look = 4 * step
    assert spent <= min(20.0, 0.05 * pages * step) + first_look


@pytest.mark.parametrize("training", [True, False])
def test_a_probe_leaves_no_trace(training: bool) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    found = fastest(workload(training=training), (FP32, FP32_LAST))
    assert found is not None
    assert found.gain > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_numbers_that_are_not_finite_or_far_off_are_unsound() -> None:
    bench = probe._Bench(workload())
    assert bench.sound(FP32_LAST)
    reference, bench._reference = bench._reference, None
    bench._logits = lambda one: reference * (1.0 if one == FP32 else 1.2)  # type: ignore
    assert not bench.sound(BF16)
    bench._logits = lambda one: reference * (1.0 if one == FP32 else float("nan"))  # type: ignore
    assert not bench.sound(BF16)


def test_a_settled_profile_leaves_nothing_open_and_settles_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "docclf")
    settled = resolve_numerics(profile(), 5, pages=40)
    assert "a usual choice" in caplog.text
    runtime = settled.runtime
    assert runtime.memory_format == "channels_last"  # the guess for short work on CPUs
    assert "auto" not in (runtime.precision, runtime.memory_format, runtime.compile, *dict(runtime.inference).values())
    assert runtime.threads == torch.get_num_threads()
    caplog.clear()
    assert resolve_numerics(settled, 5, pages=10**6) == settled
    assert caplog.text == ""


def test_a_measured_pick_is_remembered_for_the_same_work_only(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def measure(work: Workload, candidates: Sequence[Numerics]) -> Measured:
        measured.append(work)
        return Measured("bf16", True, 2.0, 0.001)

    monkeypatch.setattr(numerics, "fastest", measure)
    first = resolve_numerics(profile(train__epochs=500), 5, pages=100)
    assert (first.runtime.precision, first.runtime.memory_format) == ("bf16", "channels_last")
    assert [work.training for work in measured] == [True, False]
    assert resolve_numerics(profile(train__epochs=2), 5, pages=100).runtime == first.runtime
    assert len(measured) == 2
    resolve_numerics(profile(train__epochs=500, train__batch_size=4), 5, pages=100)
    assert len(measured) == 4
    monkeypatch.setattr(numerics, "__version__", "later")  # which may compute something another way
    resolve_numerics(profile(train__epochs=500), 5, pages=100)
    assert len(measured) == 6


def test_what_is_asked_for_is_kept() -> None:
    settled = resolve_numerics(profile(runtime__precision="bf16"), 5, pages=40).runtime
    assert settled.precision == settled.inference.precision == "bf16"
    settled = resolve_numerics(
        profile(runtime__precision="bf16", runtime__inference={"precision": "fp32"}), 5, pages=40
    ).runtime
    assert (settled.precision, settled.inference.precision) == ("bf16", "fp32")
    settled = resolve_numerics(profile(runtime__memory_format="contiguous"), 5, pages=40).runtime
    assert settled.memory_format == settled.inference.memory_format == "contiguous"


def test_compiling_has_to_repay_itself() -> None:
    measured = Measured("bf16", True, 2.0, seconds_per_page=0.1, compiled_gain=2.0, compile_seconds=60.0)
    assert not measured.repays_compiling(1000)  # saves 50 s
    assert measured.repays_compiling(1300)  # saves 65 s
    assert not replace(measured, compiled_gain=0.0).repays_compiling(10**9)
    assert replace(measured, compiled_gain=0.0).repays_a_try(12_100)  # 5 % of 1,210 s
    assert not replace(measured, compiled_gain=0.0).repays_a_try(11_900)


def test_a_missing_compiler_means_uncompiled_and_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(numerics, "compiles", lambda device: False)
    settled = resolve_numerics(profile(runtime__compile="on"), 5, pages=40)
    assert settled.runtime.compile == "off"
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


def test_pages_that_a_run_looks_at() -> None:
    plain = profile(train__epochs=3, train__batch_size=8)
    assert planned_pages(plain, 100) == (3 * 80, 3 * 2 * 20 + 20 + 80)
    folds = profile(train__epochs=3, train__batch_size=8, train__folds=5)
    assert planned_pages(folds, 100) == (5 * 3 * 80, 5 * (3 * 2 * 20 + 20 + 80))
    short = profile(train__epochs=3, train__batch_size=8, train__max_steps=5)
    assert planned_pages(short, 100, own_val=10) == (5 * 8, 2 * 10 + 10 + 90)
    assert planned_pages(plain, 10_000) == (3 * 8000, 3 * 2 * 2000 + 2000 + 2000)


def test_training_pages_are_compared_with_as_many_held_out_ones() -> None:
    assert [pages_to_compare(val) for val in (10, 500, 700, 30_000)] == [500, 500, 700, 2000]


class Kept:
    """The part of a checkpoint that decides how it is predicted with."""

    def __init__(self, runtime: dict[str, object]) -> None:
        self.profile = {"runtime": runtime}
        self.class_names = ("a", "b")
        self.preprocess = type("Size", (), {"size": 32})
        self.model_config = ModelConfig(name="test_resnet", model_name="test_resnet", pretrained=False)
        self.build = lambda: create_model(self.model_config, 2, weights=False, image_size=32).eval()


def stored(precision: str, check: str) -> dict[str, object]:
    return {
        "precision": "fp32",
        "inference": {"precision": precision, "memory_format": "channels_last", "check": check},
    }


def test_predicting_uses_the_numerics_that_were_compared_with_fp32() -> None:
    kept = Kept(stored("bf16", "off"))
    runtime = inference_runtime(RuntimeConfig(device="cpu"), kept, 10)  # type: ignore
    assert (runtime.precision, runtime.channels_last) == ("bf16", True)
    runtime = inference_runtime(RuntimeConfig(device="cpu", precision="fp32"), kept, 10)  # type: ignore
    assert (runtime.precision, runtime.channels_last) == ("fp32", True)


@pytest.mark.parametrize("check", ["on", "auto"])
def test_a_pick_that_was_not_compared_with_fp32_is_not_predicted_with(check: str) -> None:
    kept = Kept(stored("bf16", check))
    assert inference_runtime(RuntimeConfig(device="cpu"), kept, 10).precision == "fp32"  # type: ignore
    assert inference_runtime(RuntimeConfig(device="cpu", precision="bf16"), kept, 10).precision == "bf16"  # type: ignore
    assert inference_runtime(RuntimeConfig(device="cpu"), Kept({}), 10).precision == "fp32"  # type: ignore


def test_numerics_of_another_machine_are_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "fast_precisions", lambda device: ("fp32",))
    kept = Kept(stored("bf16", "off"))
    assert inference_runtime(RuntimeConfig(device="cpu"), kept, 10).precision == "fp32"  # type: ignore


def test_a_pick_is_to_be_checked_and_what_is_named_is_not() -> None:
    picked = resolve_numerics(profile(), 5, pages=40).runtime.inference
    assert (picked.precision, picked.check) == ("bf16", "on")
    named = resolve_numerics(profile(runtime__inference={"precision": "bf16"}), 5, pages=40).runtime.inference
    assert (named.precision, named.check) == ("bf16", "off")
    both = resolve_numerics(
        profile(runtime__inference={"precision": "bf16", "check": "on"}), 5, pages=40
    ).runtime.inference
    assert (both.precision, both.check) == ("bf16", "on")
    plain = resolve_numerics(profile(runtime__inference={"precision": "fp32"}), 5, pages=40).runtime.inference
    assert (plain.precision, plain.check) == ("fp32", "off")


def two(*first: float) -> Predictions:
    """Predictions for two classes, by the probability of the first; NaN for a page that could not be read."""
    probs = np.array([(value, 1 - value) for value in first])
    return Predictions(np.arange(len(first)).astype(np.str_), np.log(probs).astype(np.float32), ("a", "b"))


def test_agreement_with_fp32() -> None:
    fp32 = two(*[0.9] * 199, 0.51, np.nan)
    changed = Agreement.of(two(*[0.88] * 199, 0.49, np.nan), fp32)
    assert (changed.pages, changed.labels, changed.largest) == (200, 1, pytest.approx(0.02, abs=1e-6))
    assert changed.close  # one label of 200
    assert not replace(changed, labels=2).close
    assert not replace(changed, largest=0.051).close
    assert not Agreement(49, 0, 0.0).close
    assert not Agreement.of(two(np.nan), two(np.nan)).close
