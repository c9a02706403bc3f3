import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_cases import at_random, naming
from scipy.special import log_softmax

from docclf_cli.metrics.calibration import calibration_error, confidences, fit_temperature, reliability_bins
from docclf_cli.metrics.class_metrics import per_sample_loss


def overconfident(pages: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log probabilities whose logits are `factor` times those that labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (pages, 4))
    targets = (log_softmax(logits, axis=1) + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return log_softmax(logits * factor, axis=1), targets


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_finds_by_how_much_logits_are_too_large(factor: float) -> None:
    log_probs, targets = overconfident(20_000, factor)
    assert fit_temperature(log_probs, targets) == pytest.approx(factor, rel=0.03)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(200, 400))
def test_no_other_temperature_is_clearly_better(seed: int, pages: int) -> None:
    predictions = at_random(seed, pages, 5, skill=1.5, labels_seed=seed)
    best = fit_temperature(predictions.log_probs, predictions.targets)
    losses = [per_sample_loss(predictions, t).sum() + np.log(t) ** 2 / 2 for t in (best, best * 1.02, best / 1.02)]
    assert losses[0] == min(losses)


def test_a_few_pages_that_are_all_right_do_not_make_the_model_certain() -> None:
    sure = naming([0, 1, 2] * 10, [0, 1, 2] * 10, classes=3, sure=0.9)
    temperature = fit_temperature(sure.log_probs, sure.targets)
    assert 0.2 < temperature < 1.0
    assert confidences(sure, temperature)[0].max() < 1 - 1e-6


def test_temperature_leaves_out_what_cannot_be_scored() -> None:
    log_probs, targets = overconfident(500, 2.0)
    spoilt = np.concatenate([log_probs, np.full((1, 4), np.nan), log_probs[:1]])
    assert fit_temperature(spoilt, np.append(targets, [0, -1])) == fit_temperature(log_probs, targets)
    assert fit_temperature(np.empty((0, 4)), np.empty(0, dtype=int)) == pytest.approx(1.0)
    assert fit_temperature(np.array([[0.0, -np.inf]]), np.array([1])) == pytest.approx(1.0)


def test_reliability_by_hand() -> None:
    confidence = np.array([0.9, 0.2, 0.4, 0.8])
    low, high = reliability_bins(confidence, np.array([True, False, True, True]), bins=2)
    assert (low.pages, low.confidence, low.accuracy.value) == (2, pytest.approx(0.3), 0.5)
    assert (high.pages, high.confidence, high.accuracy.value) == (2, pytest.approx(0.85), 1.0)


@given(st.lists(st.tuples(st.sampled_from([0.3, 0.5, 0.7, 0.71, 1.0]), st.booleans()), min_size=1, max_size=80))
def test_pages_of_equal_confidence_share_a_bin(pages: list[tuple[float, bool]]) -> None:
    confidence, correct = map(np.array, zip(*pages, strict=True))
    bins = reliability_bins(confidence, correct)
    assert sum(one.pages for one in bins) == len(pages)
    assert len({one.confidence for one in bins}) == len(bins)
    for mine, other in zip(bins, reliability_bins(confidence[::-1], correct[::-1]), strict=True):
        assert (mine.pages, mine.accuracy) == (other.pages, other.accuracy)
        assert mine.confidence == pytest.approx(other.confidence)


def test_calibration_error_of_a_calibrated_model_is_near_nothing() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 3000)
    found = calibration_error(confidence, rng.random(3000) < confidence)
    assert found.low == 0.0
    assert found.value < 0.015
    assert 0.005 < found.high < 0.06


def test_calibration_error_of_an_overconfident_model() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.7, 1, 20_000)
    found = calibration_error(confidence, rng.random(20_000) < confidence - 0.1)
    assert found.value == pytest.approx(0.1, abs=0.01)
    assert 0.08 < found.low < found.value < found.high < 0.12


def test_noise_is_taken_off_on_average() -> None:
    rng = np.random.default_rng(0)
    plain, debiased = [], []
    for _ in range(60):
        confidence = rng.uniform(0.6, 1, 300)
        correct = rng.random(300) < confidence - 0.05
        debiased.append(calibration_error(confidence, correct).value)
        plain.append(
            sum(
                one.pages / 300 * abs(one.confidence - one.accuracy.value)
                for one in reliability_bins(confidence, correct)
            )
        )
    assert np.mean(plain) > 0.075
    assert np.mean(debiased) == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("confidence", [0.9, 1.0])
def test_all_right_is_not_certainly_calibrated(confidence: float) -> None:
    found = calibration_error(np.full(50, confidence), np.ones(50, dtype=bool))
    assert found.low <= found.value <= found.high
    assert found.high > 0.01
